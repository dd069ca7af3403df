"""The whole loop on a GPU with either engine: it learns from what was sampled, and goes on after a kill."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.loop.tiny_runs import finish, rlvr, trail, wait_for, write_sft_then_rl

DEVICE = "cuda"


@pytest.fixture(scope="module")
def recipe(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sft_then_rl(tmp_path_factory.mktemp("recipe"), tiny_model_dir)


@pytest.mark.parametrize("engine", ["hf", pytest.param("vllm", marks=pytest.mark.vllm)])
def test_a_run_that_is_killed_goes_on(recipe: Path, engine: str) -> None:
    if engine == "vllm":
        pytest.importorskip("vllm")
    settings = [
        f"run_name={engine}",
        f"engine.kind={engine}",
        "engine.kv_cache_gib=0.5",
        "model.dtype=bfloat16",
        f"device={DEVICE}",
    ]
    run = recipe.parent / "runs" / engine
    process = rlvr("train", str(recipe), *settings)
    wait_for(run / "checkpoints/rl-000001", process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=120)
    finish(rlvr("train", str(recipe), *settings, "--resume"))
    records = [record for record in trail(run) if "loss" in record]
    steps = [(record["stage"], record["step"]) for record in records]
    assert steps == [("sft", 1), ("sft", 2), ("sft", 3), ("rl", 1), ("rl", 2), ("rl", 3), ("rl", 4)]
    assert all(record["grad_norm"] > 0 for record in records)
    learnt = [record for record in records if record["stage"] == "rl"]
    assert all(record["sync/gap_mean"] < 0.1 and record["sync/adapter_use"] > 0.9 for record in learnt)
    manifest = json.loads((run / "manifest.json").read_text())
    assert DEVICE == "cpu" or manifest["machine"]["gpus"]
    assert (run / "summary.json").is_file()
