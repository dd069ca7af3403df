"""Tables of the report, counted over every rollout of the run folders, embedded or not."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq

from rlvr.run_name import flat
from rlvr.run_record import RolloutFile, RunRecord

BINS = 10
COLUMNS = ("data_source", "verifier", "score", "passed", "reason")
EARLY_AND_LATE = 3  # the first and the last third of the training steps
HIDDEN_DIFFERENCES = ("run_name", "output_dir")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """Scores of one task source by one verifier, in training or in one evaluation."""

    run: str
    where: str
    source: str
    verifier: str
    rollouts: int
    failures: int
    """Rollouts that our own verifier failed on; they have no score."""
    mean: float
    passed: float
    low: float
    high: float
    bars: tuple[int, ...]
    """Scores in `BINS` equal bins from `low` to `high`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReasonRow:
    """How often one reason code occurs in training; shares of rollouts."""

    run: str
    reason: str
    count: int
    share: float
    early: float
    late: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """A config key on which runs differ, and its value in each."""

    key: str
    values: tuple[str, ...]


def score_tables(runs: Sequence[RunRecord]) -> tuple[list[ScoreRow], list[ReasonRow]]:
    """Score distributions and reasons, in one pass over the rollout files."""
    scores: list[ScoreRow] = []
    reasons: list[ReasonRow] = []
    for run in runs:
        files = run.rollout_files()
        found: dict[tuple[str, str, str], list[tuple[float | None, bool]]] = {}
        counts: list[tuple[RolloutFile, Counter[str]]] = []
        for file in files:
            present = [name for name in COLUMNS if name in pq.read_schema(file.path).names]
            columns = pq.read_table(file.path, columns=present).to_pydict()
            verifiers = columns.get("verifier") or [""] * len(columns["score"])
            for source, verifier, score, passed in zip(
                columns["data_source"], verifiers, columns["score"], columns["passed"], strict=True
            ):
                found.setdefault((file.evaluation or "training", source or "tasks", verifier), []).append((score, passed))
            if file.evaluation is None:
                counts.append((file, Counter(columns["reason"])))
        scores += [_score_row(run.name, *key, values) for key, values in sorted(found.items(), key=_training_first)]
        reasons += _reason_rows(run.name, counts)
    return scores, reasons


def _training_first(item: tuple[tuple[str, str, str], Any]) -> tuple[bool, tuple[str, str, str]]:
    return item[0][0] != "training", item[0]


def _score_row(run: str, where: str, source: str, verifier: str, values: Sequence[tuple[float | None, bool]]) -> ScoreRow:
    scored = [(score, passed) for score, passed in values if score is not None and math.isfinite(score)]
    numbers = [score for score, _ in scored]
    low, high = min([0.0, *numbers]), max([1.0, *numbers])
    bars = [0] * BINS
    for score in numbers:
        bars[min(BINS - 1, int((score - low) / (high - low) * BINS))] += 1
    return ScoreRow(
        run=run,
        where=where,
        source=source,
        verifier=verifier,
        rollouts=len(values),
        failures=len(values) - len(scored),
        mean=math.fsum(numbers) / max(1, len(numbers)),
        passed=sum(passed for _, passed in scored) / max(1, len(scored)),
        low=low,
        high=high,
        bars=tuple(bars),
    )


def _reason_rows(run: str, counts: Sequence[tuple[RolloutFile, Counter[str]]]) -> list[ReasonRow]:
    width = max(1, len(counts) // EARLY_AND_LATE)
    total = _added(part for _, part in counts)
    early, late = _added(part for _, part in counts[:width]), _added(part for _, part in counts[-width:])
    return [
        ReasonRow(
            run=run,
            reason=reason,
            count=count,
            share=count / total.total(),
            early=early[reason] / max(1, early.total()),
            late=late[reason] / max(1, late.total()),
        )
        for reason, count in total.most_common()
    ]


def _added(parts: Iterable[Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for part in parts:
        total += part
    return total


def config_differences(configs: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """Keys whose values are not the same in all configs; a key that a config lacks shows as a dash."""
    flattened = [flat(config) for config in configs]
    keys = sorted({key for config in flattened for key in config} - {*HIDDEN_DIFFERENCES})
    missing = object()
    rows: list[Difference] = []
    for key in keys:
        values = [config.get(key, missing) for config in flattened]
        if any(value != values[0] for value in values[1:]):
            rows.append(Difference(key=key, values=tuple("-" if v is missing else _shown(v) for v in values)))
    return rows


def config_rows(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The whole config, one row a key."""
    return [(key, _shown(value)) for key, value in flat(config).items()]


def provenance_rows(run: RunRecord) -> list[tuple[str, str]]:
    """Where a run's numbers come from: command, commit, versions, machine, hashes."""
    manifest = run.manifest
    rows = [("run folder", str(run.path)), ("started", str(manifest.get("started", "unknown")))]
    rows.append(("command", " ".join(map(str, manifest.get("command") or []))))
    for where, commit in (manifest.get("git") or {}).items():
        rows.append((f"commit ({where.replace('_', ' ')})", _commit(commit)))
    for section, word in (
        ("versions", "version of"),
        ("verifiers", "verifier"),
        ("hashes", "hash of"),
        ("sandbox", "sandbox"),
    ):
        rows += [(f"{word} {name.replace('_', ' ')}", str(value)) for name, value in _items(manifest, section)]
    rows += [(f"machine {name.replace('_', ' ')}", _shown(value)) for name, value in _items(manifest, "machine")]
    if resumed := manifest.get("resumed"):
        rows.append(("resumed", f"{len(resumed)} times, last {resumed[-1].get('started', 'unknown')}"))
    return [(name, value) for name, value in rows if value]


def _items(manifest: Mapping[str, Any], section: str) -> list[tuple[str, Any]]:
    return list((manifest.get(section) or {}).items())


def _commit(commit: Mapping[str, Any] | None) -> str:
    if not commit:
        return "none (an installed copy)"
    return f"{commit['commit']}{' with uncommitted changes' if commit.get('dirty') else ''}"


def _shown(value: Any) -> str:
    return "true" if value is True else "false" if value is False else "null" if value is None else str(value)
