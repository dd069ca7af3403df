"""Held-out evaluations of a run go wherever metrics go."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from rlvr import train
from rlvr.config.load import parse_config
from rlvr.evaluation import Evaluation, summarise
from rlvr.interrupt import StopRequest
from rlvr.preference.data import PairTasks
from rlvr.redaction import Redactor
from rlvr.run import Run
from rlvr.run_folder import RunFolder, read_metrics
from tests.made_runs import made_rollout

ARITHMETIC = [{"source": "arithmetic"}]


class Kept:
    """A tracker that remembers."""

    def __init__(self) -> None:
        self.logged: dict[tuple[int, str], float] = {}

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.logged |= {(step, name): value for name, value in metrics.items()}

    def close(self) -> None: ...


def test_trackers_get_what_metrics_jsonl_gets_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rollouts = [made_rollout(str(n), "two", float(n % 2)) for n in range(4)]

    async def evaluated(*_: Any, label: str, **__: Any) -> Evaluation:
        return summarise(label, rollouts)

    monkeypatch.setattr(train, "evaluate", evaluated)
    config = parse_config(
        {
            "model": {"name": "m"},
            "rl": {"tasks": ARITHMETIC, "steps": 2},
            "eval": {"tasks": ARITHMETIC, "retention": ARITHMETIC},
        }
    )
    tracker = Kept()
    folder = RunFolder.create(tmp_path, "run", Redactor({}))
    run = Run(config=config, policy=cast(Any, None), folder=folder, trackers=(tracker,), stop=StopRequest())
    tasks = [rollout.task for rollout in rollouts]
    data = train.Data(sft=[], preference=PairTasks(), reward_model=PairTasks(), rl=None, held_out=tasks, retention=tasks)
    exam = train.Exam(run, cast(Any, None), data)
    asyncio.run(exam.take("rl", 2))
    written = {
        (record["step"], f"{record['stage']}/{name}"): value
        for record in read_metrics(folder.path / "metrics.jsonl")
        for name, value in record.items()
        if "/" in name
    }
    assert tracker.logged == written
    assert {(2, "rl/heldout/accuracy"), (2, "rl/retention/accuracy_low")} <= tracker.logged.keys()
    tracker.logged.clear()
    asyncio.run(exam.take("rl", 2))  # as after a resume: it stands in the run folder
    assert not tracker.logged
