"""Every alarm rings on a run made to trip it, and on none of the others; a healthy run rings nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

import pytest

from rlvr.alarms import RULES, Alarm, AlarmWatch, HeldOutThen, History, first_alarms, mean_over, ringing
from rlvr.config.schema import AlarmName
from rlvr.repetition import ends_in_a_loop
from tests.made_runs import step_metrics

STEPS, WINDOW = 30, 5


def run(
    change: Callable[[float], dict[str, float]], held_out: Callable[[float], float] = lambda t: 0.3 + 0.4 * t
) -> list[Any]:
    """Records of a run whose reward and held-out accuracy rise; `change` gets the time from 0 to 1."""
    records: list[Any] = []
    for step in range(1, STEPS + 1):
        t = step / STEPS
        values = {**step_metrics(0.3 + 0.4 * t), "reward/std": 0.45, "completion/repeated_fraction": 0.02, **change(t)}
        records.append({"stage": "rl", "step": step, **values})
        if step % 10 == 0:
            records.append({"stage": "rl", "step": step, "heldout/accuracy": held_out(t)})
    return records


BAD: dict[str, list[Any]] = {
    "reward_hacking": run(lambda t: {}, held_out=lambda t: 0.4 - 0.1 * t),
    "length_explosion": run(lambda t: {"completion/tokens_mean": 20 + 60 * t**2, "completion/truncated_fraction": 0.4 * t}),
    "entropy_collapse": run(lambda t: {"entropy": 0.6 * 0.01**t}),
    "engine_gap": run(lambda t: {"engine_gap": 0.01 + 0.4 * t}),
    "reason_shift": run(lambda t: {"reasons/mismatch": 0.6 * (1 - t), "reasons/no_answer": 0.6 * t, "reasons/ok": 0.4}),
    "zero_signal": run(lambda t: {"groups/zero_variance": 0.25 + 0.72 * t}),
    "repeated_text": run(lambda t: {"completion/repeated_fraction": 0.5 * t}),
}
FINE: dict[str, list[Any]] = {
    "reward_hacking": run(lambda t: {"reward/mean": 0.5}, held_out=lambda t: 0.4 - 0.1 * t),  # both stand still
    "length_explosion": run(lambda t: {"completion/tokens_mean": 20 + 30 * t}),  # longer answers, none cut
    "entropy_collapse": run(lambda t: {"entropy": 0.6 - 0.4 * t}),
    "engine_gap": run(lambda t: {"engine_gap": 1.0 if t == 0.5 else 0.05}),  # one odd step
    "reason_shift": run(lambda t: {"reasons/mismatch": 0.7 * (1 - t), "reasons/ok": 0.3 + 0.7 * t}),  # it learns
    "zero_signal": run(lambda t: {"groups/zero_variance": 0.25 + 0.5 * t}),
    "repeated_text": run(lambda t: {"completion/repeated_fraction": 0.1}),
}


def test_every_alarm_can_be_a_stop_condition() -> None:
    assert set(RULES) == set(get_args(AlarmName)) == set(BAD) == set(FINE)


@pytest.mark.parametrize("name", sorted(RULES))
def test_it_rings_on_its_run_and_only_on_that(name: str) -> None:
    alarms = first_alarms(BAD[name], WINDOW)
    assert [alarm.name for alarm in alarms] == [name]
    assert 2 * WINDOW <= alarms[0].step <= STEPS
    assert str(alarms[0]).startswith(f"alarm {name}: ")
    assert [alarm.name for alarm in ringing(BAD[name], WINDOW)] == [name]


@pytest.mark.parametrize("name", sorted(RULES))
def test_it_is_silent_on_a_run_that_only_looks_like_it(name: str) -> None:
    assert first_alarms(FINE[name], WINDOW) == []


def test_a_short_run_and_one_without_numbers_ring_nothing() -> None:
    assert ringing(BAD["engine_gap"][: 2 * WINDOW - 1], WINDOW) == []
    assert ringing([{"stage": "rl", "step": n, "groups/sampled": 1.0} for n in range(1, 20)], WINDOW) == []


def by_the_file(records: list[Any], window: int) -> list[Alarm]:
    """The definition: slices of all records there are, nothing kept from one step to the next."""
    steps = [r for r in records if r["stage"] == "rl" and "groups/sampled" in r]
    if len(steps) < 2 * window:
        return []
    held_out = [
        HeldOutThen(
            e["step"],
            e["heldout/accuracy"],
            mean_over("reward/mean", [r for r in steps if r["step"] <= e["step"]][-window:]),
        )
        for e in records
        if e["stage"] == "rl" and "heldout/accuracy" in e
    ]
    ends = (held_out[0], held_out[-1]) if len(held_out) > 1 else None
    history = History(window=window, early=steps[:window], late=steps[-window:], held_out=ends)
    said = {name: rule(history) for name, rule in RULES.items()}
    return [Alarm(name, steps[-1]["step"], text) for name, text in said.items() if text is not None]


@pytest.mark.parametrize("window", [1, 5, 14])
@pytest.mark.parametrize("name", sorted(RULES))
def test_a_stream_rings_as_the_file_does_after_every_record(name: str, window: int) -> None:
    sft: list[Any] = [{"stage": "sft", "step": 1, "loss": 1.0}, {"stage": "sft", "step": 0, "heldout/accuracy": 0.9}]
    for records in (sft + BAD[name], FINE[name]):
        watch = AlarmWatch(window)
        for end, record in enumerate(records, start=1):
            watch.add(record)
            assert watch.ringing() == by_the_file(records[:end], window)
    resumed = AlarmWatch(window, BAD[name][:20])
    for record in BAD[name][20:]:
        resumed.add(record)
    assert resumed.ringing() == ringing(BAD[name], window)


class Counted(Mapping[str, Any]):
    """A record that counts how often something of it is read."""

    reads = 0

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values_of = values

    def __getitem__(self, name: str) -> Any:
        Counted.reads += 1
        return self.values_of[name]

    def __iter__(self) -> Iterator[str]:
        Counted.reads += 1
        return iter(self.values_of)

    def __len__(self) -> int:
        return len(self.values_of)


def test_a_late_step_costs_no_more_than_an_early_one() -> None:
    watch = AlarmWatch(WINDOW)
    costs: list[int] = []
    for step in range(1, 2001):
        before = Counted.reads
        watch.add(Counted({"stage": "rl", "step": step, **step_metrics(0.5)}))
        watch.ringing()
        costs.append(Counted.reads - before)
    assert costs[2 * WINDOW] > 0
    assert set(costs[2 * WINDOW :]) == {costs[2 * WINDOW]}


@pytest.mark.parametrize(
    ("ids", "loops"),
    [
        ([*range(50), *[7, 8] * 12], True),
        ([*range(50), *[7, 8] * 12, 2], True),  # with an end-of-turn behind it
        ([1] * 24, True),
        ([1] * 23, False),
        ([*range(32)] * 3, True),
        ([*range(33)] * 3, False),
        ([*range(100)], False),
        ([1, 2, 3] * 20 + [*range(10, 20)], False),  # it got out of the loop
        ([], False),
    ],
)
def test_loops_at_the_end_are_seen(ids: list[int], loops: bool) -> None:
    assert ends_in_a_loop(ids) is loops
