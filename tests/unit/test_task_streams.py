"""Streams: seeded order by epoch, weights, and a place that is saved and restored exactly."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlvr_tasks.errors import TaskError
from rlvr_tasks.protocol import TaskSource
from rlvr_tasks.stream import MixStream, TaskStream
from rlvr_verifiers.types import Task


def tasks(count: int, prefix: str = "t") -> tuple[Task, ...]:
    return tuple(
        Task(id=f"{prefix}{n}", prompt=({"role": "user", "content": str(n)},), verifier="math", answer="1")
        for n in range(count)
    )


def take(source: TaskSource, count: int) -> list[str]:
    return [next(source).id for _ in range(count)]


def mix(sizes: Sequence[int], seed: int) -> MixStream:
    streams = [TaskStream(tasks(size, f"s{n}-"), seed=seed + n) for n, size in enumerate(sizes)]
    return MixStream(streams, weights=[1.0 + n for n in range(len(sizes))], seed=seed)


@given(
    size=st.integers(1, 9), seed=st.integers(), before=st.integers(0, 40), after=st.integers(1, 40), shuffle=st.booleans()
)
def test_a_restored_stream_goes_on_as_the_saved_one(size: int, seed: int, before: int, after: int, shuffle: bool) -> None:
    stream = TaskStream(tasks(size), seed=seed, shuffle=shuffle)
    take(stream, before)
    state = json.loads(json.dumps(stream.state()))
    expected = take(stream, after)
    other = TaskStream(tasks(size), seed=seed, shuffle=shuffle)
    take(other, after)  # restoring must not depend on where the stream was
    other.restore(state)
    assert take(other, after) == expected


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4), seed=st.integers(), before=st.integers(0, 40))
def test_a_restored_mix_goes_on_as_the_saved_one(sizes: list[int], seed: int, before: int) -> None:
    stream = mix(sizes, seed)
    take(stream, before)
    state = json.loads(json.dumps(stream.state()))
    expected = take(stream, 20)
    other = mix(sizes, seed)
    other.restore(state)
    assert take(other, 20) == expected


@given(size=st.integers(1, 30), seed=st.integers())
def test_every_epoch_holds_every_task_once(size: int, seed: int) -> None:
    stream = TaskStream(tasks(size), seed=seed)
    for _ in range(3):
        assert sorted(take(stream, size)) == sorted(task.id for task in tasks(size))


def test_epochs_and_seeds_differ_in_order_and_runs_do_not() -> None:
    stream = TaskStream(tasks(50), seed=1)
    first, second = take(stream, 50), take(stream, 50)
    assert first != second
    assert first == take(TaskStream(tasks(50), seed=1), 50)
    assert first != take(TaskStream(tasks(50), seed=2), 50)


def test_the_order_of_a_seed_never_changes() -> None:
    """A run that is resumed with a newer release sees the same tasks."""
    assert take(TaskStream(tasks(6), seed=7), 6) == ["t2", "t0", "t5", "t1", "t4", "t3"]


def test_without_shuffling_the_order_is_that_of_the_data() -> None:
    assert take(TaskStream(tasks(3), seed=1, shuffle=False), 7) == ["t0", "t1", "t2", "t0", "t1", "t2", "t0"]


def test_a_mix_follows_its_weights() -> None:
    streams = [TaskStream(tasks(7, "a"), seed=0), TaskStream(tasks(5, "b"), seed=0)]
    drawn = Counter(name[0] for name in take(MixStream(streams, weights=[3, 1], seed=0), 4000))
    assert 0.72 < drawn["a"] / 4000 < 0.78


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 2}, "made with seed 2"),
        ({"size": 9}, "made with size 9"),
        ({"last_id": "other"}, "last_id"),
        ({"kind": "mix"}, "kind"),
        ({"position": 99}, "position 99 of 5"),
        ({"position": -1}, "damaged"),
        ({"epoch": "1"}, "damaged"),
        ({"epoch": None}, "damaged"),
    ],
)
def test_a_state_of_something_else_is_refused(change: dict[str, Any], words: str) -> None:
    stream = TaskStream(tasks(5), seed=1)
    expected = take(TaskStream(tasks(5), seed=1), 5)
    with pytest.raises(TaskError, match=words):
        stream.restore({**stream.state(), **change})
    assert take(stream, 5) == expected, "a refused state must leave the stream as it was"


@pytest.mark.parametrize("change", [{"weights": [1.0]}, {"streams": []}, {"streams": None}, {"drawn": True}])
def test_a_mix_refuses_the_state_of_another_mix(change: dict[str, Any]) -> None:
    stream = mix([2, 3], 0)
    with pytest.raises(TaskError):
        stream.restore({**stream.state(), **change})


def test_nothing_to_draw_from_is_refused() -> None:
    with pytest.raises(TaskError, match="at least one task"):
        TaskStream((), seed=0)
    for weights in ([], [0.0], [-1.0], [float("nan")], [float("inf")], [1.0, 1.0]):
        with pytest.raises(TaskError):
            MixStream([TaskStream(tasks(1), seed=0)], weights=weights, seed=0)


def test_both_streams_are_task_sources() -> None:
    assert isinstance(TaskStream(tasks(1), seed=0), TaskSource)
    assert isinstance(mix([1], 0), TaskSource)
