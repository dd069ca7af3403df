"""A run folder as it is read: by `report`, `compare`, `watch`, `rollouts` and the model card. Nothing here writes.

Works on a finished run, on one in progress and on a copy from another machine; it never imports torch.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from rlvr.config.schema import AlarmsConfig
from rlvr.errors import RlvrError
from rlvr.run_folder import CONFIG, MANIFEST, METRICS, PART_NAME, SUMMARY, read_metrics

STEP_MARK = "time/step_s"  # every record of a step has it, no record of an evaluation does


@dataclasses.dataclass(frozen=True, kw_only=True)
class RolloutFile:
    """One parquet file of rollouts; `evaluation` is None for training and else its name (`heldout`, `retention`)."""

    path: Path
    stage: str
    step: int
    evaluation: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeldOut:
    """One evaluation as metrics.jsonl has it; fractions."""

    name: str
    stage: str
    step: int
    value: float
    low: float
    high: float
    tokens: float
    """Completion tokens sampled for training up to then."""
    seconds: float
    """Seconds spent in training steps up to then."""

    @property
    def label(self) -> str:
        return f"{self.stage} {self.step}" if self.stage == "rl" else self.stage


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What a run folder says about its run."""

    path: Path
    name: str
    config: Mapping[str, Any]
    manifest: Mapping[str, Any]
    metrics: tuple[Mapping[str, Any], ...]
    """Records of metrics.jsonl, oldest first."""
    summary: Mapping[str, Any] | None
    """None while the run is not finished."""

    def steps(self, stage: str) -> list[Mapping[str, Any]]:
        """Records of finished steps, without evaluations."""
        return [record for record in self.metrics if record["stage"] == stage and STEP_MARK in record]

    @property
    def stages(self) -> list[str]:
        """Stages that have at least one finished step, in order."""
        return list(dict.fromkeys(record["stage"] for record in self.metrics if STEP_MARK in record))

    @functools.cached_property
    def held_out(self) -> tuple[HeldOut, ...]:
        """Evaluations in the order in which they were made."""
        found: list[HeldOut] = []
        tokens = seconds = 0.0
        for record in self.metrics:
            if STEP_MARK in record:
                tokens += record.get("tokens/generated", 0.0)
                seconds += record[STEP_MARK]
            for key in record:
                name, slash, rest = key.partition("/")
                if slash and rest == "accuracy" and f"{name}/accuracy_low" in record:
                    value, low, high = (record[f"{name}/accuracy{end}"] for end in ("", "_low", "_high"))
                    found.append(
                        HeldOut(
                            name=name,
                            stage=record["stage"],
                            step=record["step"],
                            value=value,
                            low=low,
                            high=high,
                            tokens=tokens,
                            seconds=seconds,
                        )
                    )
        return tuple(found)

    def rollout_files(self) -> list[RolloutFile]:
        """Training and evaluation rollouts, in the order of stage and step."""
        found: list[RolloutFile] = []
        for folder in ("rollouts", "evaluations"):
            for path in sorted((self.path / folder).glob("*.parquet")):
                match = PART_NAME.fullmatch(path.name)
                if match is None:
                    continue
                stage, step = match["stage"], int(match["step"])
                name = path.stem.removeprefix(f"{stage}-{match['step']}").removeprefix("-")
                evaluation = (name or "heldout") if folder == "evaluations" else None
                found.append(RolloutFile(path=path, stage=stage, step=step, evaluation=evaluation))
        return found


def read_run(path: Path) -> RunRecord:
    """Reads a run folder. Raises `RlvrError` where it is none, or a file of it is damaged."""
    if not (path / METRICS).is_file():
        inside = sorted(file.parent.name for file in path.glob(f"*/{METRICS}"))
        hint = f"did you mean {path / inside[-1]}?" if inside else "give the folder that `rlvr train` printed"
        raise RlvrError(f"{path} is not a run folder ({METRICS} not found): {hint}")
    return RunRecord(
        path=path,
        name=path.resolve().name,
        config=_mapping(path / CONFIG, yaml.safe_load) or {},
        manifest=_mapping(path / MANIFEST, json.loads) or {},
        metrics=tuple(read_metrics(path / METRICS)),
        summary=_mapping(path / SUMMARY, json.loads),
    )


def alarm_window(run: RunRecord) -> int:
    """Steps that the run's alarms average over; runs made before there were alarms get the default."""
    return int((run.config.get("alarms") or {}).get("window") or AlarmsConfig().window)


def read_runs(paths: Sequence[Path]) -> list[RunRecord]:
    """Several runs, each under a name of its own: folders of the same name keep as much of their path as tells them apart."""
    runs = [read_run(path) for path in paths]
    resolved = [run.path.resolve() for run in runs]
    if len(set(resolved)) < len(resolved):
        twice = next(path for path in resolved if resolved.count(path) > 1)
        raise RlvrError(f"{twice} is given twice; name each run once")
    return [dataclasses.replace(run, name=_short_name(path, resolved)) for run, path in zip(runs, resolved, strict=True)]


def _short_name(path: Path, others: Sequence[Path]) -> str:
    for depth in range(1, len(path.parts)):
        tail = path.parts[-depth:]
        if sum(other.parts[-depth:] == tail for other in others) == 1:
            return "/".join(tail)
    return str(path)


def _mapping(path: Path, parse: Any) -> dict[str, Any] | None:
    """The file's mapping, or None where there is no such file."""
    if not path.is_file():
        return None
    try:
        value = parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RlvrError(f"{path} cannot be read: {' '.join(str(error).split())}; repair it, or copy the run again") from None
    if not isinstance(value, dict):
        raise RlvrError(f"{path} holds {type(value).__name__} and not a mapping; repair it, or copy the run again")
    return value
