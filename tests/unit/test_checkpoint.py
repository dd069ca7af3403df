"""Checkpoint folders: complete or invisible, ordered by when they were written, replaced without a gap."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from rlvr.checkpoint import checkpoints, latest_checkpoint, prune_checkpoints, replace_folder


def make(root: Path, name: str, age_s: int) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "state.json").write_text("{}")
    (folder / "learner.pt").write_text("x")
    os.utime(folder / "state.json", (1_000_000 - age_s, 1_000_000 - age_s))
    return folder


def names(root: Path) -> list[str]:
    return [checkpoint.path.name for checkpoint in checkpoints(root)]


def test_order_is_that_of_writing_whatever_happens_in_the_folders_later(tmp_path: Path) -> None:
    make(tmp_path, "sft-000009", 30)
    make(tmp_path, "rl-000001", 20)
    make(tmp_path, "rl-000002", 10)
    (tmp_path / "sft-000009" / "learner.pt").unlink()  # touches the oldest folder's own time
    assert names(tmp_path) == ["sft-000009", "rl-000001", "rl-000002"]
    newest = latest_checkpoint(tmp_path)
    assert newest is not None
    assert (newest.stage, newest.step) == ("rl", 2)


def test_drafts_and_strangers_are_not_checkpoints(tmp_path: Path) -> None:
    make(tmp_path, ".rl-000003.writing", 0)
    make(tmp_path, "notes", 0)
    assert names(tmp_path) == []
    assert latest_checkpoint(tmp_path / "missing") is None


def test_a_removal_cut_short_leaves_nothing_that_looks_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (1, 2, 3):
        make(tmp_path, f"rl-{step:06d}", 30 - step)
    remove = shutil.rmtree

    def killed(path: Any, **options: Any) -> None:
        if Path(path).exists():
            (Path(path) / "learner.pt").unlink()
            raise KeyboardInterrupt
        remove(path, **options)

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        prune_checkpoints(tmp_path, 2)
    assert names(tmp_path) == ["rl-000002", "rl-000003"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    for text in ("x", "newer"):
        (make(tmp_path, "draft", 0) / "learner.pt").write_text(text)
        replace_folder(tmp_path / "draft", tmp_path / "best")
        assert (tmp_path / "best" / "learner.pt").read_text() == text
        assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_the_best_is_exported_unless_a_later_stage_trained_on(tmp_path: Path) -> None:
    from rlvr.export import _weights_of  # pyright: ignore[reportPrivateUsage] - the rest of it needs a model

    def exported(which: str = "best") -> str:
        return _weights_of(tmp_path, which, ["sft", "rl", "reward_model"])[1]

    make(tmp_path, "best", 50)
    assert exported() == "the best policy on held-out tasks"
    make(tmp_path / "checkpoints", "sft-000004", 40)
    assert exported() == "the best policy on held-out tasks"
    make(tmp_path / "checkpoints", "rl-000004", 30)
    assert exported() == "the best policy on held-out tasks"
    make(tmp_path / "checkpoints", "reward_model-000002", 20)
    assert exported() == "checkpoint reward_model-000002"
    assert exported("rl-000004") == "checkpoint rl-000004"
