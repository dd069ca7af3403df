"""Which curves the report draws, and the numbers behind them. Metrics that no chart names are drawn too, under "more"."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rlvr.run_record import STEP_MARK, RunRecord

NOT_CURVES = ("stage", "step", "time", "diagnosis")
MOST_POINTS = 4000  # a longer run is thinned to at most so many steps a curve


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chart:
    """One small chart. `metrics` are names in metrics.jsonl; one that ends in `/` stands for all that start with it."""

    title: str
    metrics: tuple[str, ...]
    unit: str = ""
    note: str = ""
    stacked: bool = False


CHARTS = (
    Chart(title="Reward", metrics=("reward/mean",), note="What verifiers said, mean over everything sampled."),
    Chart(title="Training accuracy", metrics=("accuracy",), unit="%", note="Completions that passed."),
    Chart(
        title="Accuracy by source",
        metrics=("accuracy/",),
        unit="%",
        note="Completions that passed, by the tasks' data_source.",
    ),
    Chart(
        title="Groups",
        metrics=("groups/all_wrong", "groups/all_right", "groups/zero_variance"),
        unit="%",
        note="Groups with equal rewards give no gradient.",
    ),
    Chart(title="Waste", metrics=("groups/waste_fraction",), unit="%", note="Groups sampled that did not enter an update."),
    Chart(title="Completion length", metrics=("completion/tokens_mean", "completion/tokens_max"), unit="tokens"),
    Chart(
        title="Cut off", metrics=("completion/truncated_fraction",), unit="%", note="Completions that hit the token limit."
    ),
    Chart(
        title="Repeated text",
        metrics=("completion/repeated_fraction",),
        unit="%",
        note="Completions that end in a loop.",
    ),
    Chart(title="Reasons", metrics=("reasons/",), unit="%", stacked=True, note="What verifiers gave as reason."),
    Chart(title="Entropy", metrics=("entropy",), unit="nats/token"),
    Chart(title="Clipped tokens", metrics=("clip_low_fraction", "clip_high_fraction"), unit="%"),
    Chart(title="Gradient norm", metrics=("grad_norm",)),
    Chart(title="Loss", metrics=("loss", "nll"), note="On-policy RL loss is near 0 by construction."),
    Chart(title="KL to the reference", metrics=("kl",), unit="nats/token"),
    Chart(title="Policy change in a batch", metrics=("approx_kl",), unit="nats/token"),
    Chart(title="Engine against learner", metrics=("engine_gap",), unit="nats/token", note="Should stay small and flat."),
    Chart(title="Speed", metrics=("tokens_per_s",), unit="tokens/s"),
    Chart(title="Seconds a step", metrics=(STEP_MARK,), unit="s"),
)


def curves(runs: Sequence[RunRecord], variants: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """Plain data for the page: charts with the metrics they have, and each run's colour, variant and columns by stage.

    `variants`: name and number of runs of each, in the order of `runs`; runs of one variant differ in their seed and share its colour.
    """
    stages = list(dict.fromkeys(stage for run in runs for stage in run.stages))
    numbers = variant_numbers(variants)
    data = [{**_columns(run), "colour": number, "variant": number} for run, number in zip(runs, numbers, strict=True)]
    return {
        "variants": [name for name, _ in variants],
        "charts": [chart for stage in reversed(stages) for chart in _charts_of(stage, data)],
        "runs": data,
        "phases": ["rollout", "wasted", "verify", "update", "sync", "other"],
    }


def variant_numbers(variants: Sequence[tuple[str, int]]) -> list[int]:
    """Of each run, the number of its variant."""
    return [number for number, (_, count) in enumerate(variants) for _ in range(count)]


def _charts_of(stage: str, data: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    present = list(dict.fromkeys(name for run in data for name in run["stages"].get(stage, {}).get("metrics", {})))
    used: set[str] = set()
    charts: list[dict[str, Any]] = []
    for chart in CHARTS:
        names = [
            n for wanted in chart.metrics for n in present if n == wanted or (wanted.endswith("/") and n.startswith(wanted))
        ]
        used |= set(names)
        if chart.stacked:  # what went well at the bottom, then the most frequent
            names.sort(key=lambda name: (not name.endswith("/ok"), -_mean_of(name, stage, data)))
        if names:
            charts.append({**dataclasses.asdict(chart), "metrics": names, "stage": stage, "more": False})
    rest = [name for name in present if name not in used]
    for family in dict.fromkeys(name.split("/")[0] for name in rest):
        for name in [name for name in rest if name.split("/")[0] == family]:
            unit = "%" if name.endswith("fraction") else "s" if name.endswith("_s") else ""
            blank = {"note": "", "stacked": False}
            charts.append({**blank, "title": name, "metrics": [name], "unit": unit, "stage": stage, "more": True})
    return charts


def _mean_of(metric: str, stage: str, data: Sequence[Mapping[str, Any]]) -> float:
    columns = [run["stages"][stage]["metrics"].get(metric, []) for run in data if stage in run["stages"]]
    return math.fsum(value for column in columns for value in column if value is not None)


def _columns(run: RunRecord) -> dict[str, Any]:
    stages: dict[str, Any] = {}
    for stage in run.stages:
        steps = run.steps(stage)
        tokens, minutes = _running(steps, "tokens/generated", 1.0), _running(steps, STEP_MARK, 1 / 60)
        picked = _picked(len(steps))
        names = sorted({name for record in steps for name in record} - {*NOT_CURVES})
        stages[stage] = {
            "step": [steps[i]["step"] for i in picked],
            "tokens": [tokens[i] for i in picked],
            "minutes": [minutes[i] for i in picked],
            "metrics": {name: [_number(steps[i].get(name)) for i in picked] for name in names},
            "split": _time_split([steps[i] for i in picked]),
        }
    held_out = [
        {
            **{key: getattr(found, key) for key in ("name", "stage", "step", "label", "value", "low", "high", "tokens")},
            "minutes": found.seconds / 60,
        }
        for found in run.held_out
    ]
    return {"name": run.name, "stages": stages, "heldOut": held_out}


def _time_split(steps: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Seconds of each step by phase. Rollout and verification of groups that no update used count as wasted."""
    split: dict[str, list[float]] = {name: [] for name in ("rollout", "wasted", "verify", "update", "sync", "other")}
    for record in steps:
        seconds = {name: _number(record.get(f"time/{name}_s")) or 0.0 for name in ("rollout", "verify", "update", "sync")}
        waste = _number(record.get("groups/waste_fraction")) or 0.0
        other = max(0.0, (_number(record.get(STEP_MARK)) or 0.0) - math.fsum(seconds.values()))
        parts = {
            "rollout": seconds["rollout"] * (1 - waste),
            "wasted": (seconds["rollout"] + seconds["verify"]) * waste,
            "verify": seconds["verify"] * (1 - waste),
            "update": seconds["update"],
            "sync": seconds["sync"],
            "other": other,
        }
        for name, value in parts.items():
            split[name].append(round(value, 3))
    return split


def _running(steps: Sequence[Mapping[str, Any]], name: str, scale: float) -> list[float]:
    total, sums = 0.0, []
    for record in steps:
        total += scale * (_number(record.get(name)) or 0.0)
        sums.append(round(total, 4))
    return sums


def _picked(count: int) -> list[int]:
    if count <= MOST_POINTS:
        return list(range(count))
    return sorted({round(i * (count - 1) / (MOST_POINTS - 1)) for i in range(MOST_POINTS)})


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and math.isfinite(value) else None
