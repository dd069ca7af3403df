"""A sequence whose tasks are made when they are asked for: task i is a pure function of the arguments and i."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, overload

from rlvr_verifiers.types import Task

Side = Literal["train", "eval"]
EVAL_SHARE = 0.2
"""Share of all problems that is held out."""


def side_of(key: str, eval_share: float = EVAL_SHARE) -> Side:
    """The side of a problem, from its hash in hex: whatever the seeds and sizes of two sets, no problem is on both sides."""
    return "eval" if int(key[:8], 16) < eval_share * 2**32 else "train"


class ProceduralTasks(Sequence[Task]):
    def __init__(self, make: Callable[[int], Task], indices: range) -> None:
        self._make = make
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> ProceduralTasks: ...
    def __getitem__(self, index: int | slice) -> Task | ProceduralTasks:
        if isinstance(index, slice):
            return ProceduralTasks(self._make, self._indices[index])
        return self._make(self._indices[index])

    def sampled(self, count: int) -> Sequence[Task]:
        """At most `count` tasks, evenly spaced: enough to see whether a generator's golds are sound."""
        return self[:: max(1, -(-len(self) // count))]
