"""What happened in a run, in words: one headline, and for each phase what stood in the way of learning."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rlvr.config.load import parse_config
from rlvr.config.schema import Config
from rlvr.diagnosis import diagnose_all
from rlvr.errors import RlvrError
from rlvr.progress import time_split
from rlvr.run_record import HeldOut, RunRecord

STEPS_IN_THIRDS = 9  # a stage with fewer steps is one phase
NOTABLE_CHANGE = 0.15  # relative
NOTABLE_WASTE = 0.25


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of steps of one stage, described."""

    stage: str
    first: int
    last: int
    facts: tuple[str, ...]
    """What happened."""
    findings: tuple[str, ...]
    """What stood in the way, most important first, each with its remedy."""

    @property
    def title(self) -> str:
        return (
            f"{self.stage}, steps {self.first} to {self.last}"
            if self.last > self.first
            else f"{self.stage}, step {self.first}"
        )


def headline(run: RunRecord) -> str:
    """One sentence on how the run ended."""
    state = "" if run.summary is not None else "Not finished (no summary.json yet). "
    held_out = [found for found in run.held_out if found.name == "heldout"]
    if not held_out:
        steps = {stage: len(run.steps(stage)) for stage in run.stages}
        done = ", ".join(f"{count} steps of {stage}" for stage, count in steps.items()) or "No step yet"
        return f"{state}{done}; no held-out evaluation, so nothing says how good the policy is."
    first, last = held_out[0], held_out[-1]
    if first is last:
        return f"{state}Held-out accuracy {interval(last)} after {last.label}."
    start = f"{accuracy(first.value)} ({first.label})"
    return f"{state}Held-out accuracy went from {start} to {interval(last)} ({last.label}){_gain(run, first)}."


def _gain(run: RunRecord, first: HeldOut) -> str:
    """The paired gain over the first evaluation, where the finished run computed one."""
    gain = ((run.summary or {}).get("gains") or {}).get(first.label)
    if not gain:
        return ""
    d = gain["difference"]
    return f", {100 * d['value']:+.1f} points [{100 * d['low']:+.1f}, {100 * d['high']:+.1f}] task by task, p = {gain['p_value']:.4f}"


def phases(run: RunRecord) -> list[Phase]:
    """Every stage in thirds (or whole, where it is short), described from the mean of its metrics."""
    config = config_of(run)
    return [_phase(stage, part, config) for stage in run.stages for part in _thirds(run.steps(stage))]


def config_of(run: RunRecord) -> Config | None:
    """The run's config as this version reads it; None where it cannot (written by another version)."""
    try:
        return parse_config(run.config, where=str(run.path))
    except RlvrError:
        return None


def _thirds(steps: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    if len(steps) < STEPS_IN_THIRDS:
        yield steps
        return
    cuts = [round(len(steps) * part / 3) for part in range(4)]
    yield from (steps[a:b] for a, b in itertools.pairwise(cuts))


def _phase(stage: str, steps: Sequence[Mapping[str, Any]], config: Config | None) -> Phase:
    mean = means(steps)
    findings = diagnose_all(mean, config) if config is not None and stage == "rl" else []
    return Phase(
        stage=stage,
        first=steps[0]["step"],
        last=steps[-1]["step"],
        facts=tuple(_facts(steps, mean)),
        findings=(*findings, *_said_most(steps, findings)),
    )


def _said_most(steps: Sequence[Mapping[str, Any]], findings: Sequence[str]) -> Iterator[str]:
    """What single steps complained of most, where the mean of the phase has nothing to say."""
    said = Counter(record["diagnosis"].split(":")[0] for record in steps if record.get("diagnosis"))
    if said and not findings:
        text, count = said.most_common(1)[0]
        if 2 * count >= len(steps):
            yield f"{count} of {len(steps)} steps say: {text}"


def _facts(steps: Sequence[Mapping[str, Any]], mean: Mapping[str, float]) -> Iterator[str]:
    for name, what, scale, unit in (
        ("reward/mean", "mean reward", 1.0, ""),
        ("nll", "negative log-likelihood", 1.0, " nats a token"),
        ("completion/tokens_mean", "length of completions", 1.0, " tokens"),
        ("entropy", "entropy", 1.0, " nats a token"),
    ):
        if (change := _change(steps, name)) is not None:
            yield f"{what} {_moved(*change, scale, unit)}"
    if "groups/sampled" in mean:
        yield (
            f"{percent(mean['groups/all_wrong'])} of the groups all wrong, {percent(mean['groups/all_right'])} all right, "
            f"{percent(1 - mean['groups/zero_variance'])} with something to learn from"
        )
    if mean.get("groups/waste_fraction", 0.0) >= NOTABLE_WASTE:
        yield f"{percent(mean['groups/waste_fraction'])} of the sampled groups did not enter an update"
    if split := time_split(mean):
        phase, share = max(split, key=lambda part: part[1])
        yield f"{mean['time/step_s']:.1f} s a step, most of it ({percent(share)}) in {phase}"


def _change(steps: Sequence[Mapping[str, Any]], name: str) -> tuple[float, float] | None:
    """Mean over the first and the last third of the steps."""
    values = [record[name] for record in steps if isinstance(record.get(name), float) and math.isfinite(record[name])]
    if not values:
        return None
    width = max(1, len(values) // 3)
    return math.fsum(values[:width]) / width, math.fsum(values[-width:]) / width


def _moved(before: float, after: float, scale: float, unit: str) -> str:
    before, after = before * scale, after * scale
    if abs(after - before) < NOTABLE_CHANGE * max(abs(before), abs(after), 1e-12):
        return f"stayed near {_short(after)}{unit}"
    return f"{'rose' if after > before else 'fell'} from {_short(before)} to {_short(after)}{unit}"


def means(steps: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Mean of every metric over steps; a reason that a step did not see counts 0 there, an absent metric is left out."""
    names = {name for record in steps for name, value in record.items() if isinstance(value, float) and name != "time"}
    result: dict[str, float] = {}
    for name in names:
        values = [record[name] for record in steps if name in record]
        width = len(steps) if name.startswith("reasons/") else len(values)
        result[name] = math.fsum(values) / width
    return result


def interval(found: HeldOut) -> str:
    return f"{accuracy(found.value)} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def accuracy(value: float) -> str:
    return f"{100 * value:.1f} %"


def percent(share: float) -> str:
    return f"{100 * share:.1f} %" if 0 < abs(share) < 0.1 else f"{100 * share:.0f} %"


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
