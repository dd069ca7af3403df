"""The whole loop on a tiny real model with the `hf` engine: exact resume after Ctrl-C and after a kill."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import yaml

from tests.loop.tiny_runs import finish, rlvr, trail, wait_for, write_sft_then_rl


@pytest.fixture(scope="module")
def recipe(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sft_then_rl(tmp_path_factory.mktemp("recipe"), tiny_model_dir)


def test_a_run_leaves_everything_a_score_can_be_traced_with(straight: Path) -> None:
    manifest = json.loads((straight / "manifest.json").read_text())
    assert manifest["versions"]["torch"]
    assert manifest["hashes"]["model"].startswith("sha256:")
    assert yaml.safe_load((straight / "config.yaml").read_text())["rl"]["algorithm"]["clip_high"] == 0.28
    stages = [(r["stage"], r["step"]) for r in trail(straight) if "loss" in r]
    assert stages == [("sft", 1), ("sft", 2), ("sft", 3), ("rl", 1), ("rl", 2), ("rl", 3), ("rl", 4)]
    assert sorted(p.name for p in (straight / "checkpoints").iterdir()) == ["rl-000003", "rl-000004"]
    assert len(list((straight / "rollouts").glob("rl-*.parquet"))) == 4
    labels = [e["label"] for e in json.loads((straight / "summary.json").read_text())["evaluations"]]
    assert labels == ["base", "sft", "rl 2", "rl 4"]
    assert (straight / "best" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("at", ["sft-000001", "rl-000002"])
def test_a_cut_off_run_ends_like_the_straight_one(recipe: Path, straight: Path, how: signal.Signals, at: str) -> None:
    name = f"cut-{how.name}-{at}"
    run = recipe.parent / "runs" / name
    process = rlvr("train", str(recipe), f"run_name={name}")
    wait_for(run / "checkpoints" / at, process)
    process.send_signal(how)
    output, _ = process.communicate(timeout=120)
    if how is signal.SIGINT:
        assert process.returncode == 130, output
        assert "the state is saved, continue with --resume" in output
    finish(rlvr("train", str(recipe), f"run_name={name}", "--resume"))
    assert trail(run) == trail(straight)
    assert (run / "summary.json").read_text() == (straight / "summary.json").read_text()
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        assert (run / "checkpoints/rl-000004/adapter" / file).read_bytes() == (
            straight / "checkpoints/rl-000004/adapter" / file
        ).read_bytes()


def test_resume_refuses_another_experiment(recipe: Path, straight: Path) -> None:
    output = finish(rlvr("train", str(recipe), "run_name=straight", "--resume", "rl.group_size=8"), code=1)
    assert "rl.group_size was 4, is 8" in output
    assert "Traceback" not in output


def test_a_run_is_never_overwritten(recipe: Path, straight: Path) -> None:
    output = finish(rlvr("train", str(recipe), "run_name=straight"), code=1)
    assert "exists already: continue that run with --resume" in output
