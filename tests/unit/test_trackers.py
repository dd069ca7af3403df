"""Trackers are optional, get no secrets, and never stop a run."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from rlvr import trackers
from rlvr.errors import RlvrError
from rlvr.redaction import REDACTED
from rlvr.trackers import open_trackers, wandb_mode


class Recorder:
    """A tracker that fails from a given step on."""

    def __init__(self, folder: Path, config: Mapping[str, object]) -> None:
        self.config = config
        self.steps: list[int] = []
        self.closed = False

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        if step >= 3:
            raise ConnectionError("no route to host")
        self.steps.append(step)

    def close(self) -> None:
        self.closed = True


def test_a_failing_tracker_is_named_once_and_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Recorder] = []
    monkeypatch.setitem(
        trackers.TRACKERS, "recorder", lambda folder, config: made.append(Recorder(folder, config)) or made[-1]
    )
    warnings: list[str] = []
    (tracker,) = open_trackers(["recorder"], tmp_path, {"api_key": "x", "seed": 1}, warn=warnings.append)
    for step in range(1, 6):
        tracker.log(step, {"loss": 1.0})
    tracker.close()
    assert made[0].config == {"api_key": REDACTED, "seed": 1}
    assert made[0].steps == [1, 2]
    assert warnings == ["recorder failed at step 3 and is switched off (no route to host); metrics.jsonl goes on"]


def test_a_healthy_tracker_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(tmp_path, {})
    monkeypatch.setitem(trackers.TRACKERS, "recorder", lambda folder, config: recorder)
    (tracker,) = open_trackers(["recorder"], tmp_path, {}, warn=pytest.fail)
    tracker.close()
    assert recorder.closed


@pytest.mark.parametrize(("name", "module"), [("tensorboard", "tensorboard.summary"), ("wandb", "wandb")])
def test_a_missing_package_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RlvrError, match=rf"names {name}, which cannot be imported .*`pip install 'rlvr\[track\]'"):
        open_trackers([name], tmp_path, {}, warn=pytest.fail)


def test_an_unknown_tracker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RlvrError, match="'mlflow'; there are tensorboard, wandb"):
        open_trackers(["mlflow"], tmp_path, {}, warn=pytest.fail)


def test_wandb_never_waits_for_a_login(tmp_path: Path) -> None:
    assert wandb_mode({"WANDB_MODE": "disabled", "WANDB_API_KEY": "k"}) is None
    assert wandb_mode({"WANDB_API_KEY": "k"}) == "online"
    absent = tmp_path / "none"
    assert wandb_mode({"NETRC": str(absent)}) == "offline"
    credentials = tmp_path / "netrc"
    credentials.write_text("machine api.wandb.ai login user password p\n")
    credentials.chmod(0o600)
    assert wandb_mode({"NETRC": str(credentials)}) == "online"
