"""The whole loop on a tiny real model with the `hf` engine: exact resume after Ctrl-C and after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

VERIFIER = '''
def score(task, completion):
    """Rewards an arbitrary property of the text that about half of all random completions have."""
    return float(sum(map(ord, completion.content)) % 2)
'''


def write_parity_tasks(folder: Path, number: int) -> None:
    """`tasks.jsonl`, with demonstrations, and the verifier that its tasks name."""
    (folder / "parity.py").write_text(VERIFIER)
    rows = [
        {
            "id": f"t{n}",
            "prompt": f"Say something about {n}.",
            "verifier": f"{folder}/parity.py:score",
            "answer": "",
            "info": {"demonstration": f"It is {n}."},
        }
        for n in range(number)
    ]
    (folder / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def recipe(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    write_parity_tasks(folder, 12)
    tasks = [{"source": "jsonl", "args": {"path": str(folder / "tasks.jsonl")}}]
    config = {
        "model": {"name": str(tiny_model_dir), "dtype": "float32"},
        "adapter": {"rank": 4, "alpha": 8},
        "engine": {"kind": "hf", "max_model_len": 128},
        "verification": {"workers": 1, "deadline_s": 20},
        "stages": ["sft", "rl"],
        "sft": {"tasks": tasks, "steps": 3, "batch_size": 4, "optimizer": {"learning_rate": 1e-2}},
        "rl": {
            "algorithm": {"preset": "dapo", "overlong_buffer_tokens": 2, "kl_coef": 0.05},
            "tasks": tasks,
            "steps": 4,
            "prompts_per_step": 3,
            "group_size": 4,
            "updates_per_batch": 2,
            "max_completion_tokens": 6,
            "max_prompt_tokens": 64,
            "optimizer": {"learning_rate": 1e-2},
        },
        "eval": {"tasks": tasks, "max_completion_tokens": 6, "every": 2},
        "checkpoint": {"every": 1, "keep_last": 2},
        "micro_batch_tokens": 128,
        "output_dir": str(folder / "runs"),
        "device": "cpu",
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def rlvr(*arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    return subprocess.Popen(
        [sys.executable, "-m", "rlvr.cli", *arguments],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    return output


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)


def trail(run: Path) -> list[dict[str, Any]]:
    """What a run learnt, step by step; times and speeds left out."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if not k.startswith("time") and k != "tokens_per_s"} for r in records]


@pytest.fixture(scope="module")
def straight(recipe: Path) -> Path:
    """The run that nothing happened to."""
    finish(rlvr("train", str(recipe), "run_name=straight"))
    return recipe.parent / "runs" / "straight"


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
