"""When a box's CPU time is looked at, and what is found."""

from __future__ import annotations

import itertools

import pytest

from rlvr_sandbox import cpu_limit
from rlvr_sandbox.cpu_limit import CpuLimit


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(cpu_limit, "time", clock)
    monkeypatch.setattr(cpu_limit, "_CORES", 4)
    return clock


def run(clock: Clock, rate: float, limit_s: float, processes: int) -> tuple[float, int]:
    """Seconds until a box that uses `rate` seconds a second is stopped, and how often it was looked at."""
    begin = clock.now
    limit = CpuLimit(lambda: (clock.now - begin) * rate, limit_s, processes)
    for looks in itertools.count(1):
        clock.now += limit.pause_s()
        if limit.over():
            return clock.now - begin, looks
    raise AssertionError


def test_a_box_on_every_core_is_stopped_at_the_first_look(clock: Clock) -> None:
    assert run(clock, rate=4.0, limit_s=2.0, processes=32) == (pytest.approx(0.5), 1)


def test_a_box_on_one_core_is_looked_at_ever_sooner(clock: Clock) -> None:
    seconds, looks = run(clock, rate=1.0, limit_s=2.0, processes=32)
    assert 2.0 <= seconds <= 2.02
    assert looks < 25


def test_as_many_processes_as_may_live_bound_how_fast_it_grows(clock: Clock) -> None:
    assert run(clock, rate=1.0, limit_s=2.0, processes=1) == (pytest.approx(2.0), 1)


def test_an_idle_box_is_hardly_looked_at(clock: Clock) -> None:
    limit = CpuLimit(lambda: 0.0, 4.0, 32)
    looks = 0
    while clock.now < 200.0:
        clock.now += limit.pause_s()
        assert not limit.over()
        looks += 1
    assert looks <= 101


def test_where_nobody_counts_there_is_nothing_to_look_at() -> None:
    limit = CpuLimit(None, 1.0, 1)
    assert limit.pause_s() == float("inf")
    assert not limit.over()
