"""An alarm named in `alarms.stop_on` ends the run with its state saved; without the name it is only told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlvr.checkpoint import latest_checkpoint
from rlvr.errors import RlvrError
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
