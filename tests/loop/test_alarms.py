"""An alarm named in `alarms.stop_on` ends the run with its state saved; without the name it is only told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlvr.alarms import ringing
from rlvr.checkpoint import latest_checkpoint
from rlvr.errors import RlvrError
from rlvr.run_folder import RunFolder, read_metrics
from tests.loop.test_failures import Write, run, write

__all__ = ["write"]  # a fixture


def test_a_run_without_signal_stops_where_it_is_asked_to(write: Write, tmp_path: Path) -> None:
    recipe = write(body="return 0.0", alarms={"window": 1})
    folder = run(recipe, "rl.steps=3")
    said = [json.loads(line).get("diagnosis", "") for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [text.startswith("alarm zero_signal: 100 % of the groups") for text in said] == [False, True, True]
    with pytest.raises(RlvrError, match=r"stopped at step 2, alarm zero_signal: .*State is saved"):
        run(recipe, "rl.steps=3", f"output_dir={tmp_path / 'other'}", "alarms.stop_on=[zero_signal]")
    saved = latest_checkpoint(tmp_path / "other" / "run" / "checkpoints")
    assert saved is not None
    assert saved.step == 2


def test_a_run_reads_its_metrics_once_and_says_what_the_file_says(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    read = RunFolder.metrics
    monkeypatch.setattr(RunFolder, "metrics", lambda folder: reads.append(1) or read(folder))
    tasks = [{"source": "jsonl", "args": {"path": str(tmp_path / "tasks.jsonl")}}]
    examined = {"tasks": tasks, "every": 1, "samples": 2, "max_completion_tokens": 5}
    folder = run(write(body="return 0.0", alarms={"window": 1}, eval=examined), "rl.steps=4")
    assert len(reads) == 1
    records = read_metrics(folder / "metrics.jsonl")
    steps = [i for i, record in enumerate(records) if record["stage"] == "rl" and "diagnosis" in record]
    said = {records[i]["step"]: records[i]["diagnosis"] for i in steps}
    for i in steps:
        alarms = ringing(records[: i + 1], 1)
        assert not alarms or said[records[i]["step"]] == str(alarms[0])
    assert said[4].startswith("alarm zero_signal")
