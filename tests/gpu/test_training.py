"""The whole loop on a GPU with either engine: it learns from what was sampled, and goes on after a kill."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.loop.tiny_runs import finish, rlvr, source, trail, wait_for, write_parity_tasks, write_recipe

DEVICE = "cuda"
STEPS = 3


@pytest.fixture(scope="module")
def recipe(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    write_parity_tasks(folder, 12)
    tasks = source(folder / "tasks.jsonl")
    return write_recipe(
        folder,
        tiny_model_dir,
        stages=["sft", "rl"],
        sft={"tasks": tasks, "steps": 2, "batch_size": 4, "optimizer": {"learning_rate": 1e-2}},
        rl={
            "algorithm": {"preset": "dapo", "overlong_buffer_tokens": 2, "kl_coef": 0.05},
            "tasks": tasks,
            "steps": STEPS,
            "prompts_per_step": 4,
            "group_size": 4,
            "max_completion_tokens": 6,
            "max_prompt_tokens": 64,
            "optimizer": {"learning_rate": 1e-2},
        },
        eval={"tasks": tasks, "max_completion_tokens": 6, "every": 2},
        device=DEVICE,
    )


@pytest.mark.parametrize("engine", ["hf", pytest.param("vllm", marks=pytest.mark.vllm)])
def test_a_run_that_is_killed_goes_on(recipe: Path, engine: str) -> None:
    if engine == "vllm":
        pytest.importorskip("vllm")
    settings = [f"run_name={engine}", f"engine.kind={engine}", "engine.kv_cache_gib=0.5", "model.dtype=bfloat16"]
    run = recipe.parent / "runs" / engine
    process = rlvr("train", str(recipe), *settings)
    wait_for(run / "checkpoints/rl-000001", process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=120)
    finish(rlvr("train", str(recipe), *settings, "--resume"))
    records = [record for record in trail(run) if "loss" in record]
    assert [(record["stage"], record["step"]) for record in records] == [
        ("sft", 1),
        ("sft", 2),
        ("rl", 1),
        ("rl", 2),
        ("rl", 3),
    ]
    assert all(record["grad_norm"] > 0 for record in records)
    learnt = [record for record in records if record["stage"] == "rl"]
    assert all(record["sync/gap_mean"] < 0.1 and record["sync/adapter_use"] > 0.9 for record in learnt)
    manifest = json.loads((run / "manifest.json").read_text())
    assert DEVICE == "cpu" or manifest["machine"]["gpus"]
    assert (run / "summary.json").is_file()
