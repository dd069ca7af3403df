"""What gives tasks to a training run.

A plug-in (entry point group `rlvr.tasks`, or `module:function`) is a function with named, annotated arguments. It may return
a finite `Sequence[Task]`, which is then shuffled by epoch, or an endless `TaskSource` of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from rlvr_verifiers.types import Task


@runtime_checkable
class TaskSource(Protocol):
    """An endless iterator of tasks that can be put back where it was."""

    def __iter__(self) -> Iterator[Task]: ...

    def __next__(self) -> Task: ...

    def state(self) -> dict[str, Any]:
        """Where the source stands, as plain JSON data: the next task after `restore(state)` is the next task now."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continues at `state`. Raises TaskError where the state belongs to another source or to other data."""
        ...


SourceFunction = Callable[..., Sequence[Task] | TaskSource]
