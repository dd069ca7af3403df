"""Endless, seeded streams of tasks whose place can be saved and restored exactly.

Order is a pure function of seed and epoch, and the choice between sources one of seed and draw number. So a state is a few
integers, whatever the size of the data, and does not depend on the history of a random generator.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from rlvr_tasks.errors import TaskError
from rlvr_tasks.protocol import TaskSource
from rlvr_verifiers.types import Task


class HasId(Protocol):
    """What a stream needs to know of its items."""

    @property
    def id(self) -> str: ...


Item = TypeVar("Item", bound=HasId)


class TaskStream(Generic[Item]):
    """Passes over a finite sequence (of tasks, or of what was made from them) for ever, each epoch in its own seeded order."""

    def __init__(self, tasks: Sequence[Item], *, seed: int, shuffle: bool = True) -> None:
        if not tasks:
            raise TaskError("a stream needs at least one task; check the source and its limit")
        self._tasks = tasks
        self._seed = seed
        self._shuffle = shuffle
        self._epoch = 0
        self._position = 0
        self._order: Sequence[int] = self._order_of(0)

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        if self._position == len(self._order):
            self._epoch += 1
            self._position = 0
            self._order = self._order_of(self._epoch)
        task = self._tasks[self._order[self._position]]
        self._position += 1
        return task

    def state(self) -> dict[str, Any]:
        return {**self._identity(), "epoch": self._epoch, "position": self._position}

    def restore(self, state: Mapping[str, Any]) -> None:
        _require_same(self._identity(), state)
        epoch, position = _count(state, "epoch"), _count(state, "position")
        if position > len(self._tasks):
            raise TaskError(
                f"saved task state has position {position} of {len(self._tasks)} tasks; the checkpoint is damaged"
            )
        self._epoch, self._position = epoch, position
        self._order = self._order_of(epoch)

    def _identity(self) -> dict[str, Any]:
        return {
            "kind": "tasks",
            "seed": self._seed,
            "shuffle": self._shuffle,
            "size": len(self._tasks),
            "first_id": self._tasks[0].id,
            "last_id": self._tasks[-1].id,
        }

    def _order_of(self, epoch: int) -> Sequence[int]:
        if not self._shuffle:
            return range(len(self._tasks))
        order = list(range(len(self._tasks)))
        random.Random(f"tasks/{self._seed}/{epoch}").shuffle(order)
        return order


class MixStream:
    """Draws each task from one of several streams, with probability proportional to its weight."""

    def __init__(self, streams: Sequence[TaskSource], *, weights: Sequence[float], seed: int) -> None:
        if not streams or len(streams) != len(weights):
            raise TaskError(
                f"a mix needs one weight for each stream; found {len(streams)} streams and {len(weights)} weights"
            )
        if any(not 0 < weight < float("inf") for weight in weights):
            raise TaskError(f"weights of a mix must be positive and finite; found {list(weights)}")
        self._streams = tuple(streams)
        self._weights = tuple(float(weight) for weight in weights)
        self._seed = seed
        self._drawn = 0

    def __iter__(self) -> Iterator[Task]:
        return self

    def __next__(self) -> Task:
        (stream,) = random.Random(f"mix/{self._seed}/{self._drawn}").choices(self._streams, self._weights)
        task = next(stream)
        self._drawn += 1
        return task

    def state(self) -> dict[str, Any]:
        return {**self._identity(), "drawn": self._drawn, "streams": [stream.state() for stream in self._streams]}

    def restore(self, state: Mapping[str, Any]) -> None:
        _require_same(self._identity(), state)
        drawn, parts = _count(state, "drawn"), state.get("streams")
        if not isinstance(parts, Sequence) or len(parts) != len(self._streams):  # pyright: ignore[reportUnknownArgumentType]
            raise TaskError(f"saved task state lacks the {len(self._streams)} streams of the mix; the checkpoint is damaged")
        for stream, part in zip(self._streams, parts, strict=True):  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
            stream.restore(part)  # pyright: ignore[reportUnknownArgumentType]
        self._drawn = drawn

    def _identity(self) -> dict[str, Any]:
        return {"kind": "mix", "seed": self._seed, "weights": list(self._weights)}


def _require_same(identity: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    for name, value in identity.items():
        if state.get(name) != value:
            raise TaskError(
                f"saved task state was made with {name} {state.get(name)!r}, but the run now has {value!r}; "
                "resume with the same data, weights and seed, or start a new run"
            )


def _count(state: Mapping[str, Any], name: str) -> int:
    value = state.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TaskError(f"saved task state has {name} {value!r}; a whole number is expected, the checkpoint is damaged")
    return value
