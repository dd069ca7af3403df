"""Runs of the tiny model as a user starts them: recipes over arbitrary tasks and pairs, the command, and what a run learnt."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

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


def write_pairs(folder: Path) -> None:
    """`pairs.jsonl` and `held_out.jsonl`: the short answer is the better one."""
    pairs = [
        {"id": f"p{n}", "prompt": f"What is {n}?", "chosen": f"It is {n}.", "rejected": f"Well, {n} is what it is."}
        for n in range(14)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs[:10]))
    (folder / "held_out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs[10:]))


def source(path: Path) -> list[dict[str, Any]]:
    return [{"source": "jsonl", "args": {"path": str(path)}}]


def write_recipe(folder: Path, model: Path, **sections: Any) -> Path:
    """A recipe with these sections; its runs are in `folder / "runs"`."""
    config = {
        "model": {"name": str(model), "dtype": "float32"},
        "adapter": {"rank": 4, "alpha": 8},
        "engine": {"kind": "hf", "max_model_len": 128},
        "verification": {"workers": 1, "deadline_s": 20},
        "checkpoint": {"every": 1, "keep_last": 20},
        "micro_batch_tokens": 128,
        "output_dir": str(folder / "runs"),
        "device": "cpu",
        **sections,
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def write_sft_then_rl(folder: Path, model: Path) -> Path:
    """A recipe with both stages, three and four steps, over arbitrary tasks."""
    write_parity_tasks(folder, 12)
    tasks = source(folder / "tasks.jsonl")
    return write_recipe(
        folder,
        model,
        stages=["sft", "rl"],
        sft={"tasks": tasks, "steps": 3, "batch_size": 4, "optimizer": {"learning_rate": 1e-2}},
        rl={
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
        eval={"tasks": tasks, "max_completion_tokens": 6, "every": 2},
        checkpoint={"every": 1, "keep_last": 2},
    )


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
