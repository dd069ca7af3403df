"""Training on a verifier that judges groups: a call has exactly the samples of one prompt. Any other sees them one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from tests.loop.tiny_runs import finish, rlvr

GROUP, PROMPTS, STEPS = 4, 2, 2

# Writes down each call. The first is TRL's call shape, a reward relative to the group; the second judges one at a time.
VERIFIERS = """
import json
from pathlib import Path

CALLS = Path(__file__).with_name("calls.jsonl")

def note(**call):
    with CALLS.open("a") as file:
        file.write(json.dumps(call) + "\\n")

def shortest(prompts, completions, **columns):
    texts = [completion[-1]["content"] for completion in completions]
    note(kind="group", prompts=[prompt[-1]["content"] for prompt in prompts], texts=texts)
    return [float(len(text) == min(map(len, texts))) for text in texts]

def parity(task, completion):
    note(kind="single", texts=[completion.content])
    return float(len(completion.content) % 2)
"""


def test_a_group_verifier_sees_the_completions_of_one_prompt_in_one_call(tiny_model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "judges.py").write_text(VERIFIERS)
    names = [f"trl:{tmp_path}/judges.py:shortest", f"{tmp_path}/judges.py:parity"]
    rows = [{"id": f"t{n}", "prompt": f"What is {n}?", "verifier": names[n % 2], "answer": ""} for n in range(8)]
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe(tiny_model_dir, tmp_path)))
    finish(rlvr("train", str(tmp_path / "recipe.yaml")))

    calls = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    together = [call for call in calls if call["kind"] == "group"]
    alone = [call for call in calls if call["kind"] == "single"]
    assert together
    assert len(alone) + GROUP * len(together) == GROUP * PROMPTS * STEPS
    asked = {row["prompt"] for row in rows if row["verifier"] == names[0]}
    for call in together:
        assert len(call["texts"]) == GROUP
        assert len(set(call["prompts"])) == 1
        assert set(call["prompts"]) <= asked

    files = (tmp_path / "runs" / "groups" / "rollouts").glob("*.parquet")
    rows = [row for file in files for row in pq.read_table(file).to_pylist() if row["verifier"] == names[0]]
    rows.sort(key=lambda row: (row["step"], row["task_id"], row["sample"]))
    for start in range(0, len(rows), GROUP):
        texts = [json.loads(row["messages"])[-1]["content"] for row in rows[start : start + GROUP]]
        assert texts in [call["texts"] for call in together]
        shortest = [float(len(text) == min(map(len, texts))) for text in texts]
        assert [row["score"] for row in rows[start : start + GROUP]] == shortest
    assert len(rows) == GROUP * len(together)


def recipe(model: Path, folder: Path) -> dict[str, Any]:
    return {
        "model": {"name": str(model), "dtype": "float32"},
        "adapter": {"rank": 4, "alpha": 8},
        "engine": {"kind": "hf", "max_model_len": 128},
        "verification": {"workers": 2, "deadline_s": 20},
        "rl": {
            "algorithm": "grpo",
            "tasks": [{"source": "jsonl", "args": {"path": str(folder / "tasks.jsonl")}}],
            "steps": STEPS,
            "prompts_per_step": PROMPTS,
            "group_size": GROUP,
            "max_completion_tokens": 6,
            "optimizer": {"learning_rate": 1e-2},
        },
        "run_name": "groups",
        "output_dir": str(folder / "runs"),
        "device": "cpu",
    }
