"""Tool-integrated reasoning on the tiny model: SFT teaches a program, rollouts run it in the sandbox, and RL is paid for the result."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq

from rlvr.rollout_table import rollouts_of
from rlvr_verifiers.tool_env import offered
from rlvr_verifiers.types import Task
from tests.loop.test_failures import Write, metrics, run, write

__all__ = ["write"]  # a fixture

CALL = '<tool_call>{"name": "python", "arguments": {"code": "print(6 * 7)"}}</tool_call>'


def test_a_result_is_computed_in_the_sandbox_and_rewarded(write: Write, tmp_path: Path) -> None:
    blank = Task(id="x", prompt=(), verifier="math", answer="42", environment="python")
    asked = {
        "prompt": [{"role": "user", "content": "python: 6*7"}],
        "tools": json.dumps([dict(tool) for tool in offered(blank)]),
    }
    rows = [
        {
            **asked,
            "id": f"t{n}",
            "verifier": "exact",
            "answer": "42",
            "environment": "python",
            "verifier_args": {"pattern": r"(\d+)$"},
        }
        for n in range(4)
    ]
    solved = [
        {"role": "assistant", "content": CALL},
        {"role": "tool", "content": "42\n"},
        {"role": "assistant", "content": "42"},
    ]
    shown = [{**asked, "id": f"s{n}", "prompt": asked["prompt"] + solved} for n in range(4)]
    (tmp_path / "shown.jsonl").write_text("".join(json.dumps(row) + "\n" for row in shown))
    folder = run(
        write(
            rows=rows,
            adapter={"kind": "full"},
            checkpoint={"every": 100},
            engine={"kind": "hf", "max_model_len": 320},
            verification={"workers": 1, "deadline_s": 5.0},
            tools={"format": "hermes"},
            stages=["sft", "rl"],
            sft={
                "tasks": [{"source": "jsonl", "args": {"path": str(tmp_path / "shown.jsonl")}}],
                "steps": 50,
                "batch_size": 4,
                "optimizer": {"learning_rate": 5e-3},
            },
            rl={
                "algorithm": "grpo",
                "tasks": [{"source": "jsonl", "args": {"path": str(tmp_path / "tasks.jsonl")}}],
                "steps": 1,
                "prompts_per_step": 2,
                "group_size": 4,
                "max_completion_tokens": 160,
                "max_turns": 3,
                "optimizer": {"learning_rate": 1e-4},
            },
        )
    )
    record = metrics(folder)[-1]
    assert record["accuracy"] > 0.5
    assert record["engine_gap"] < 1e-3
    rollouts = [r for file in sorted((folder / "rollouts").glob("*.parquet")) for r in rollouts_of(pq.read_table(file))]
    solved_ones = [r for r in rollouts if r.score.passed]
    assert solved_ones
    for rollout in solved_ones:
        roles = [message["role"] for message in rollout.completion.messages]
        assert roles[:2] == ["assistant", "tool"]
        assert rollout.completion.messages[1]["content"] == "42\n"
        assert "42" not in rollout.completion.messages[0]["content"]  # computed, not copied
