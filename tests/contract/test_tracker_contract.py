"""Every tracker keeps the metrics of both stages, whose steps both begin at 1, inside the run folder."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rlvr.trackers import TRACKERS, open_trackers

LOGGED = {"sft/loss": [0.5, 0.25], "rl/loss": [0.75, 1.0]}
Kept = dict[str, list[float]]


def kept_by_tensorboard(folder: Path) -> Kept:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {tag: [float(make_ndarray(e.tensor_proto)) for e in events.Tensors(tag)] for tag in events.Tags()["tensors"]}


def kept_by_wandb(folder: Path) -> Kept:
    """wandb offers no reader of its offline file: history items stand in it as a name followed by JSON text, and once more in
    the summary.
    """
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    kept: Kept = {}
    for name, value in re.findall(rb"((?:sft|rl)/loss)\x82\x01.(0\.\d+|1)", file.read_bytes(), re.DOTALL):
        kept.setdefault(name.decode(), []).append(float(value))
    return {name: list(dict.fromkeys(values)) for name, values in kept.items()}


@pytest.mark.parametrize(("name", "kept"), [("tensorboard", kept_by_tensorboard), ("wandb", kept_by_wandb)])
def test_both_stages_are_kept_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kept: Callable[[Path], Kept]
) -> None:
    pytest.importorskip(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    (tracker,) = open_trackers([name], tmp_path, {"seed": 1}, warn=pytest.fail)
    for stage in ("sft", "rl"):
        for step, value in enumerate(LOGGED[f"{stage}/loss"], start=1):
            tracker.log(step, {f"{stage}/loss": value})
    tracker.close()
    deadline = time.monotonic() + 20  # wandb's writer process may finish after `finish` has returned
    while kept(tmp_path) != LOGGED and time.monotonic() < deadline:
        time.sleep(0.1)
    assert kept(tmp_path) == LOGGED


def test_every_tracker_is_in_this_suite() -> None:
    assert set(TRACKERS) == {"tensorboard", "wandb"}
