"""Tools end to end on the tiny model: SFT teaches a call, rollouts run it and go on, and training counts only what was sampled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rlvr.errors import RlvrError
from rlvr.rollout_table import rollouts_of
from rlvr_verifiers.tool_env import offered
from rlvr_verifiers.types import Task
from tests.loop.test_failures import Write, metrics, run, write

__all__ = ["write"]  # a fixture

ENVIRONMENT = '''
from rlvr_verifiers.tool_env import tool


class Counter:
    def reset(self, task):
        self.count = 0

    @tool
    def add(self, n: int) -> str:
        """Adds.

        Args:
            n: how much.
        """
        BODY
        self.count += n
        return f"it is {self.count}"
'''
CALL = '<tool_call>{"name": "add", "arguments": {"n": 7}}</tool_call>'


def conversations(folder: Path, body: str, wanted: int) -> list[dict[str, Any]]:
    """Records of tasks whose gold adds `wanted`."""
    (folder / "counter.py").write_text(ENVIRONMENT.replace("BODY", body))
    environment = f"{folder / 'counter.py'}:Counter"
    tools = [
        dict(tool) for tool in offered(Task(id="x", prompt=(), verifier="tool_env", answer="", environment=environment))
    ]
    gold = {"calls": [{"name": "add", "arguments": {"n": wanted}}], "outputs": ["7"]}
    return [
        {
            "id": f"t{n}",
            "prompt": [{"role": "user", "content": "add 7"}],
            "tools": json.dumps(tools),
            "verifier": "tool_env",
            "answer": json.dumps(gold),
            "environment": environment,
        }
        for n in range(4)
    ]


def recipe_of(write: Write, folder: Path, **sections: Any) -> Path:
    rows = conversations(folder, sections.pop("body", "pass"), sections.pop("wanted", 7))
    solved = [
        {"role": "assistant", "content": CALL},
        {"role": "tool", "content": "it is 7"},
        {"role": "assistant", "content": "7"},
    ]
    shown = [{**row, "prompt": row["prompt"] + solved, "verifier": "", "answer": "", "environment": None} for row in rows]
    (folder / "shown.jsonl").write_text("".join(json.dumps(row) + "\n" for row in shown))
    tasks = [{"source": "jsonl", "args": {"path": str(folder / "tasks.jsonl")}}]
    return write(
        rows=rows,
        adapter={"kind": "full"},
        checkpoint={"every": 100},
        engine={"kind": "hf", "max_model_len": 256},
        verification={"workers": 1, "deadline_s": 5.0},
        stages=["sft", "rl"],
        sft={
            "tasks": [{"source": "jsonl", "args": {"path": str(folder / "shown.jsonl")}}],
            "steps": 40,
            "batch_size": 4,
            "optimizer": {"learning_rate": 5e-3},
        },
        rl={
            "algorithm": "grpo",
            "tasks": tasks,
            "steps": 1,
            "prompts_per_step": 2,
            "group_size": 4,
            "max_completion_tokens": 160,
            "max_turns": 3,
            "optimizer": {"learning_rate": 1e-4},
        },
        **sections,
    )


def test_calls_are_run_shown_and_not_learnt(write: Write, tmp_path: Path) -> None:
    folder = run(recipe_of(write, tmp_path))
    record = metrics(folder)[-1]
    assert record["accuracy"] > 0.5
    assert record["completion/turns_mean"] > 1.5
    assert record["engine_gap"] < 1e-3  # float32 on both sides: what was sampled is what is trained on, token for token
    rollouts = [r for file in sorted((folder / "rollouts").glob("*.parquet")) for r in rollouts_of(pq.read_table(file))]
    solved = [r for r in rollouts if r.score.passed]
    assert solved
    for rollout in solved:
        completion = rollout.completion
        assert [m["role"] for m in completion.messages] == ["assistant", "tool", "assistant"]
        assert completion.messages[1]["content"] == "it is 7"
        shown = [i for i, mask in enumerate(completion.loss_mask) if not mask]
        assert shown == list(range(shown[0], shown[-1] + 1))  # one block, between the turns
        assert all(completion.sampled_logprobs[i] == 0.0 for i in shown)
        assert completion.token_ids[shown[0] - 1] == 2  # the end of the policy's turn
        assert "it is 7" not in completion.text


def test_a_tool_that_fails_tells_the_policy(write: Write, tmp_path: Path) -> None:
    body = 'if n == 7: raise ValueError("out of order")'
    folder = run(recipe_of(write, tmp_path, body=body, wanted=8))
    rollouts = [r for file in (folder / "rollouts").glob("*.parquet") for r in rollouts_of(pq.read_table(file))]
    answers = [m["content"] for r in rollouts for m in r.completion.messages if m["role"] == "tool"]
    assert any("out of order" in answer for answer in answers)
    assert all(r.score.value == 0.0 for r in rollouts)
    assert metrics(folder)[-1]["rollouts/infra_failures"] == 0


def test_a_format_that_does_not_exist_is_one_line(write: Write, tmp_path: Path) -> None:
    with pytest.raises(RlvrError, match=r"tools\.format.*no such format; known: auto"):
        run(recipe_of(write, tmp_path, tools={"format": "hermesse"}))
