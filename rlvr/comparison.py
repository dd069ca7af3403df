"""Finished runs of several variants, compared: accuracy with intervals, cost, waste, and a verdict in words.

A variant is what is compared (an algorithm, a learning rate); it has one run a seed. Everything here reads run folders and computes.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq

from rlvr.crossed import CrossedComparison, compare_crossed, holm
from rlvr.errors import RlvrError
from rlvr.run_record import HeldOut, RunRecord
from rlvr.statistics import Estimate, mean_estimate

SIGNIFICANCE = 0.05
TRACKED = {
    "waste": ("groups/waste_fraction", "groups sampled that no update used"),
    "truncated": ("completion/truncated_fraction", "completions cut off"),
    "failures": ("rollouts/infra_failures", "verifier failures a step"),
    "entropy": ("entropy", "entropy, nats/token"),
    "clip low": ("clip_low_fraction", "tokens clipped below"),
    "clip high": ("clip_high_fraction", "tokens clipped above"),
    "length": ("completion/tokens_mean", "tokens a completion"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """One of the ways to train that are compared."""

    name: str
    runs: tuple[RunRecord, ...]
    """One a seed, in the order of seeds."""

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(int(run.config.get("seed", 0)) for run in self.runs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """Held-out accuracy on the way: mean over seeds, and the lowest and the highest seed."""

    label: str
    accuracy: float
    lowest: float
    highest: float
    tokens: float
    """Tokens sampled up to then, mean over seeds."""
    minutes: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class VariantResult:
    name: str
    seeds: tuple[int, ...]
    accuracy: Estimate
    """Held-out accuracy at the end, mean over seeds; the interval is over tasks, for these runs."""
    per_seed: tuple[float, ...]
    curve: tuple[CurvePoint, ...]
    """Every evaluation that all seeds have, in order."""
    tokens: float
    minutes: float
    tracked: Mapping[str, float]
    """Means over steps and seeds, keys of `TRACKED`."""
    tokens_to_target: tuple[float | None, ...]
    """Tokens each seed sampled until its first evaluation at the target accuracy; None where it never got there."""

    @property
    def cost(self) -> str:
        """Mean of `tokens_to_target`, where all seeds got there: a mean over those that were fast would flatter."""
        reached = [tokens for tokens in self.tokens_to_target if tokens is not None]
        if len(reached) < len(self.tokens_to_target):
            return f"reached by {len(reached)} of {len(self.tokens_to_target)} seeds" if reached else "not reached"
        return f"{_mean(reached):,.0f}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    baseline: str
    candidate: str
    statistics: CrossedComparison
    adjusted_p: float | None
    """Holm's, over all pairs of the comparison."""
    verdict: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    variants: tuple[VariantResult, ...]
    pairs: tuple[Pair, ...]
    target: float
    """Accuracy for `tokens_to_target`."""
    tasks: int
    """Held-out tasks that every run scored; all final accuracies are over these."""
    unscored: int = 0
    """Held-out tasks left out because the verifier failed on them in one of the runs."""

    def left_out(self) -> str | None:
        """A sentence where tasks were left out."""
        if not self.unscored:
            return None
        return (
            f"{self.unscored} of {self.tasks + self.unscored} held-out tasks are left out of the final accuracies: in one of the runs "
            "the verifier failed on them (`explanation` in evaluations/)."
        )

    def to_json(self) -> dict[str, Any]:
        return json.loads(json.dumps(dataclasses.asdict(self)))


def compare_runs(variants: Sequence[Variant], target: float | None = None, baseline: str | None = None) -> Comparison:
    """Compares finished runs: each pair of variants, or every other one with `baseline`, so that fewer tests share the error.

    `target` is an accuracy; by default the lowest final mean, which every variant reached on average. Raises `RlvrError` where runs are
    not comparable: other seeds, other held-out tasks, another model.
    """
    _check_comparable(variants)
    numbers = _pairs([variant.name for variant in variants], baseline)
    finals, unscored = _scored_by_all([[_final_accuracies(run) for run in variant.runs] for variant in variants])
    means = [[_mean(list(tasks.values())) for tasks in seeds] for seeds in finals]
    goal = min(_mean(seeds) for seeds in means) if target is None else target
    tested = [compare_crossed(finals[a], finals[b]) for a, b in numbers]
    results = tuple(_result(v, f, goal) for v, f in zip(variants, finals, strict=True))
    adjusted = iter(holm([found.p_value for found in tested if found.p_value is not None]))
    pairs: list[Pair] = []
    for (a, b), found in zip(numbers, tested, strict=True):
        p = None if found.p_value is None else next(adjusted)
        verdict = _verdict(results[a], results[b], found, p, tests=len(numbers))
        pairs.append(
            Pair(baseline=variants[a].name, candidate=variants[b].name, statistics=found, adjusted_p=p, verdict=verdict)
        )
    return Comparison(variants=results, pairs=tuple(pairs), target=goal, tasks=len(finals[0][0]), unscored=len(unscored))


def _pairs(names: Sequence[str], baseline: str | None) -> list[tuple[int, int]]:
    """Which variants are tested against each other, as (baseline, candidate)."""
    if baseline is None:
        return list(itertools.combinations(range(len(names)), 2))
    if baseline not in names:
        raise RlvrError(f"--baseline {baseline}: the variants are {', '.join(names)}")
    first = names.index(baseline)
    return [(first, other) for other in range(len(names)) if other != first]


def _check_comparable(variants: Sequence[Variant]) -> None:
    if len(variants) < 2:
        raise RlvrError("a comparison needs at least two variants; all of these runs have the same config but for the seed")
    first = variants[0]
    for variant in variants:
        if len(set(variant.seeds)) < len(variant.seeds):
            raise RlvrError(f"{variant.name} has a seed twice ({_listed(variant.seeds)}); give one run a seed")
        if set(variant.seeds) != set(first.seeds):
            raise RlvrError(
                f"{first.name} has seeds {_listed(first.seeds)} and {variant.name} {_listed(variant.seeds)}: give the same of each"
            )
    reference = first.runs[0]
    for run in (run for variant in variants for run in variant.runs):
        if run.summary is None:
            raise RlvrError(f"{run.path} is not finished: continue it with rlvr train --resume, or leave it out")
        for what in ("held_out", "model"):
            hashes = [(r.manifest.get("hashes") or {}).get(what) for r in (reference, run)]
            if hashes[0] != hashes[1]:
                raise RlvrError(
                    f"{reference.path} and {run.path} differ in their {what} (hashes in manifest.json): not comparable"
                )


def _scored_by_all(finals: Sequence[Sequence[Mapping[str, float]]]) -> tuple[list[list[dict[str, float]]], set[str]]:
    """The accuracies on tasks that every run scored, and the tasks left out. Raises `RlvrError` where no task is left."""
    runs = [run for seeds in finals for run in seeds]
    unscored = {task for run in runs for task, accuracy in run.items() if math.isnan(accuracy)}
    if not any(task not in unscored for task in runs[0]):
        raise RlvrError("no held-out task was scored by every run: verifiers failed; read `explanation` in evaluations/")
    kept = [[{task: a for task, a in run.items() if task not in unscored} for run in seeds] for seeds in finals]
    return kept, unscored


def _final_accuracies(run: RunRecord) -> dict[str, float]:
    """Task id -> share of passed samples at the last held-out evaluation, NaN where the verifier failed on all of them."""
    files = [file for file in run.rollout_files() if file.evaluation == "heldout"]
    if not files:
        raise RlvrError(f"{run.path} has no held-out evaluation: add an eval section, or leave the run out")
    order = {stage: number for number, stage in enumerate(run.config.get("stages") or [])}
    last = max(files, key=lambda file: (order.get(file.stage, -1), file.step))
    columns = pq.read_table(last.path, columns=["task_id", "score", "passed"]).to_pydict()
    outcomes: dict[str, list[bool]] = {}
    for task, score, passed in zip(columns["task_id"], columns["score"], columns["passed"], strict=True):
        scored = outcomes.setdefault(task, [])
        if score is not None:
            scored.append(passed)
    return {task: sum(passed) / len(passed) if passed else math.nan for task, passed in sorted(outcomes.items())}


def _result(variant: Variant, finals: Sequence[Mapping[str, float]], target: float) -> VariantResult:
    tasks = list(finals[0])
    by_task = [_mean([run[task] for run in finals]) for task in tasks]
    steps = [run.steps("rl") for run in variant.runs]
    held_out = [[found for found in run.held_out if found.name == "heldout"] for run in variant.runs]
    return VariantResult(
        name=variant.name,
        seeds=variant.seeds,
        accuracy=mean_estimate(by_task),
        per_seed=tuple(_mean(list(run.values())) for run in finals),
        curve=tuple(_curve(held_out)),
        tokens=_mean([sum(record.get("tokens/generated", 0.0) for record in run) for run in steps]),
        minutes=_mean([sum(record["time/step_s"] for record in run) / 60 for run in steps]),
        tracked={
            key: _mean([record[name] for run in steps for record in run if math.isfinite(record.get(name, math.nan))])
            for key, (name, _) in TRACKED.items()
            if any(name in record for run in steps for record in run)
        },
        tokens_to_target=tuple(next((f.tokens for f in found if f.value >= target), None) for found in held_out),
    )


def _curve(held_out: Sequence[Sequence[HeldOut]]) -> list[CurvePoint]:
    points: list[CurvePoint] = []
    for label in dict.fromkeys(f.label for f in held_out[0]):
        known = [f for f in (next((f for f in run if f.label == label), None) for run in held_out) if f is not None]
        if len(known) < len(held_out):
            continue
        values = [f.value for f in known]
        points.append(
            CurvePoint(
                label=label,
                accuracy=_mean(values),
                lowest=min(values),
                highest=max(values),
                tokens=_mean([f.tokens for f in known]),
                minutes=_mean([f.seconds for f in known]) / 60,
            )
        )
    return points


def _verdict(a: VariantResult, b: VariantResult, found: CrossedComparison, p: float | None, *, tests: int) -> str:
    d = found.difference
    better, worse = (b, a) if d.value >= 0 else (a, b)
    size = f"{100 * abs(d.value):.1f} points of held-out accuracy"
    low, high = (d.low, d.high) if d.value >= 0 else (-d.high, -d.low)
    interval = f"95 % interval {100 * low:+.1f} to {100 * high:+.1f}"
    if p is None:
        return (
            f"One seed cannot tell {a.name} from {b.name}: of these two runs {better.name} is ahead by {size}, {interval} over tasks "
            f"({_p(found.these_runs.p_value)} for these runs), and another seed may turn it round. Give --seeds 3 or more."
        )
    # The p-value is Holm's, the interval each pair's own: one may hold 0 where the other does not.
    shared = f" after adjustment for {tests} tests, the interval without" if tests > 1 else ""
    design = f"{_p(p)}{shared}, {len(a.seeds)} seeds, {d.n} tasks"
    if p >= SIGNIFICANCE:
        reach = 100 * (d.high - d.low) / 2
        return (
            f"No difference shown between {a.name} and {b.name}: {better.name} is ahead by {size}, {interval} ({design}). With so many "
            f"seeds and tasks a difference below about {reach:.0f} points would not show."
        )
    return f"{better.name} is better than {worse.name} by {size} at the end, {interval} ({design}). {_cost(better, worse)}".strip()


def _cost(better: VariantResult, worse: VariantResult) -> str:
    if not better.tokens or not worse.tokens or 0.8 < better.tokens / worse.tokens < 1.25:
        return ""
    ratio = better.tokens / worse.tokens
    return f"It sampled {ratio:.1f} times the tokens." if ratio > 1 else f"It sampled {1 / ratio:.1f} times fewer tokens."


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, sorted(values)))
