"""Alarms: slow changes over many steps that mean a run goes wrong, where a single step looks harmless (rlvr/diagnosis.py).

Each rule compares the mean of the last `window` steps with that of the first, and returns its sentence or None. They are computed from
the records of metrics.jsonl alone, so a finished run, a run in progress and a copy of its folder give the same alarms. `AlarmWatch` takes
the records one by one and keeps two windows of them, so a step of a long run costs no more than one of a short run.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rlvr.diagnosis import LARGE_ENGINE_GAP

REWARD_RISE = 0.25  # in standard deviations of single rewards
LENGTH_FACTOR, LENGTH_FACTOR_CUT, MORE_CUT = 3.0, 1.5, 0.2
ENTROPY_LEFT, LOW_ENTROPY = 0.2, 0.05  # share of the start; nats a token
REASONS_MOVED, FEWEST_FAILED = 0.5, 0.1
NO_SIGNAL = 0.9
MANY_LOOPS = 0.3

Record = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Alarm:
    name: str
    step: int
    """The step at which it rang."""
    message: str

    def __str__(self) -> str:
        return f"alarm {self.name}: {self.message}"


@dataclasses.dataclass(frozen=True, slots=True)
class HeldOutThen:
    """A held-out evaluation, and the reward over the window of steps before it."""

    step: int
    accuracy: float
    reward: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class History:
    """What the rules read: the first and the last `window` steps, the first and the last evaluation."""

    window: int
    early: Sequence[Record]
    late: Sequence[Record]
    held_out: tuple[HeldOutThen, HeldOutThen] | None
    """None before there are two evaluations."""

    def first(self, name: str) -> float:
        return mean_over(name, self.early)

    def last(self, name: str) -> float:
        return mean_over(name, self.late)


class AlarmWatch:
    """The alarms of a run whose records arrive in order; memory and time a record do not depend on how many there were."""

    def __init__(self, window: int, records: Iterable[Record] = ()) -> None:
        self._window = window
        self._count = 0
        self._early: list[Record] = []
        self._late: deque[Record] = deque(maxlen=window)
        self._held_out: list[HeldOutThen] = []  # the first and the last
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        """Takes the next record of metrics.jsonl into account; stages other than `rl` have no alarms."""
        if record["stage"] != "rl":
            return
        if "groups/sampled" in record:
            self._count += 1
            self._late.append(record)
            if len(self._early) < self._window:
                self._early.append(record)
        if "heldout/accuracy" in record:
            reward = mean_over("reward/mean", self._late)
            self._held_out[1:] = [HeldOutThen(record["step"], record["heldout/accuracy"], reward)]

    def ringing(self) -> list[Alarm]:
        """Alarms that ring now; none before there are two windows of steps."""
        if self._count < 2 * self._window:
            return []
        evaluations = (self._held_out[0], self._held_out[1]) if len(self._held_out) > 1 else None
        history = History(window=self._window, early=self._early, late=self._late, held_out=evaluations)
        said = ((name, rule(history)) for name, rule in RULES.items())
        return [Alarm(name, self._late[-1]["step"], message) for name, message in said if message is not None]


def ringing(records: Iterable[Record], window: int) -> list[Alarm]:
    """Alarms that ring after the last of these records."""
    return AlarmWatch(window, records).ringing()


def first_alarms(records: Iterable[Record], window: int) -> list[Alarm]:
    """Every alarm of a run, at the step at which it rang first, in the order of steps."""
    watch = AlarmWatch(window)
    found: dict[str, Alarm] = {}
    for record in records:
        watch.add(record)
        if record["stage"] == "rl":
            for alarm in watch.ringing():
                found.setdefault(alarm.name, alarm)
    return list(found.values())


def _reward_hacking(h: History) -> str | None:
    if h.held_out is None:
        return None
    before, now = h.held_out
    spread = h.last("reward/std")
    rise = now.reward - before.reward
    if not rise > REWARD_RISE * (spread if spread > 0 else 0.4) or now.accuracy > before.accuracy:
        return None
    return (
        f"the reward rose from {before.reward:.2f} to {now.reward:.2f} since step {before.step}, held-out accuracy did not "
        f"({100 * before.accuracy:.1f} to {100 * now.accuracy:.1f} %): read the best-scored rollouts, the verifier may be fooled"
    )


def _length_explosion(h: History) -> str | None:
    before, now = h.first("completion/tokens_mean"), h.last("completion/tokens_mean")
    more_cut = h.last("completion/truncated_fraction") - h.first("completion/truncated_fraction")
    if not (now >= LENGTH_FACTOR * before or (now >= LENGTH_FACTOR_CUT * before and more_cut >= MORE_CUT)):
        return None
    return (
        f"completions grew from {before:.0f} to {now:.0f} tokens, {100 * h.last('completion/truncated_fraction'):.0f} % are cut: set "
        "rl.algorithm.overlong_buffer_tokens, or lower the learning rate"
    )


def _entropy_collapse(h: History) -> str | None:
    before, now = h.first("entropy"), h.last("entropy")
    if not (now < ENTROPY_LEFT * before and now < LOW_ENTROPY):
        return None
    return (
        f"entropy fell from {before:.3f} to {now:.3f} nats a token, so completions of a group are nearly the same: raise "
        "rl.algorithm.clip_high, lower the learning rate, or set entropy_coef"
    )


def _engine_gap(h: History) -> str | None:
    gap = min((r.get("engine_gap", math.nan) for r in h.late), default=math.nan)
    if not gap > LARGE_ENGINE_GAP:
        return None
    return f"engine and learner have disagreed by {gap:.2f} or more nats a token for {h.window} steps: see engine_gap in docs/metrics.md"


def _reason_shift(h: History) -> str | None:
    before, now = (_failures(part) for part in (h.early, h.late))
    if min(math.fsum(before.values()), math.fsum(now.values())) < FEWEST_FAILED:
        return None
    shares = [{name: value / math.fsum(mix.values()) for name, value in mix.items()} for mix in (before, now)]
    change = {name: shares[1].get(name, 0.0) - shares[0].get(name, 0.0) for name in {*before, *now}}
    if math.fsum(map(abs, change.values())) / 2 < REASONS_MOVED:
        return None
    most = max(sorted(change), key=lambda name: change[name])
    return (
        f"completions fail for other reasons than at the start: `{most}` went from {100 * shares[0].get(most, 0):.0f} to "
        f"{100 * shares[1].get(most, 0):.0f} % of the failures; read some of these rollouts"
    )


def _zero_signal(h: History) -> str | None:
    share = h.last("groups/zero_variance")
    if not share >= NO_SIGNAL:
        return None
    return (
        f"{100 * share:.0f} % of the groups of {h.window} steps had equal rewards throughout ({100 * h.last('groups/all_wrong'):.0f} % all "
        f"wrong, {100 * h.last('groups/all_right'):.0f} % all right): choose tasks of middling difficulty"
    )


def _repeated_text(h: History) -> str | None:
    share = h.last("completion/repeated_fraction")
    if not share >= MANY_LOOPS:
        return None
    return f"{100 * share:.0f} % of the completions end in a loop: lower the learning rate, or look at whether repetition is rewarded"


RULES: dict[str, Callable[[History], str | None]] = {
    "reward_hacking": _reward_hacking,
    "length_explosion": _length_explosion,
    "entropy_collapse": _entropy_collapse,
    "engine_gap": _engine_gap,
    "reason_shift": _reason_shift,
    "zero_signal": _zero_signal,
    "repeated_text": _repeated_text,
}


def _failures(steps: Sequence[Record]) -> dict[str, float]:
    """Mean share of each reason but `ok`."""
    names = {name for r in steps for name in r if name.startswith("reasons/") and name != "reasons/ok"}
    return {name.removeprefix("reasons/"): math.fsum(r.get(name, 0.0) for r in steps) / len(steps) for name in names}


def mean_over(name: str, steps: Sequence[Record]) -> float:
    """Mean over the steps that have it; NaN where none has, which no rule is moved by."""
    values = [r[name] for r in steps if name in r]
    return math.fsum(values) / len(values) if values else math.nan
