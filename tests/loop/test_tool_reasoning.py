"""Tool-integrated reasoning on the tiny model: SFT teaches GSM8K's calculator notes as calls, rollouts run them in the sandbox, and RL
is paid for the result."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq

from rlvr.rollout_table import rollouts_of
from tests.loop.test_failures import Write, metrics, run, write

__all__ = ["write"]  # a fixture

TEMPLATE = Path(__file__).parents[2] / "configs" / "chatml_tools.jinja"
ROW = {"question": "6*7?", "answer": "So <<6*7=42>>42\n#### 42"}


def test_a_result_is_computed_in_the_sandbox_and_rewarded(write: Write, tmp_path: Path) -> None:
    (tmp_path / "gsm8k.jsonl").write_text("\n".join([json.dumps(ROW)] * 4))
    # The tool's schema would be most of what the tiny model can hold.
    (tmp_path / "short.jinja").write_text(TEMPLATE.read_text().replace("{%- if tools %}", "{%- if false %}"))
    source = {"path": str(tmp_path / "gsm8k.jsonl"), "environment": "python", "prompt": "python: {task}"}
    folder = run(
        write(
            adapter={"kind": "full"},
            checkpoint={"every": 100},
            engine={"kind": "hf", "max_model_len": 320},
            verification={"workers": 1, "deadline_s": 5.0},
            tools={"format": "hermes"},
            stages=["sft", "rl"],
            sft={
                "tasks": [{"source": "gsm8k", "args": {**source, "demonstrate": True}}],
                "steps": 100,
                "batch_size": 1,
                "optimizer": {"learning_rate": 5e-3},
            },
            rl={
                "algorithm": "grpo",
                "tasks": [{"source": "gsm8k", "args": source}],
                "steps": 1,
                "prompts_per_step": 2,
                "group_size": 4,
                "max_completion_tokens": 160,
                "max_turns": 3,
                "optimizer": {"learning_rate": 1e-4},
            },
        ),
        f"model.chat_template={tmp_path / 'short.jinja'}",
    )
    record = metrics(folder)[-1]
    assert record["accuracy"] > 0.3
    assert record["engine_gap"] < 1e-3
    rollouts = [r for file in sorted((folder / "rollouts").glob("*.parquet")) for r in rollouts_of(pq.read_table(file))]
    solved_ones = [r for r in rollouts if r.score.passed]
    assert solved_ones
    for rollout in solved_ones:
        roles = [message["role"] for message in rollout.completion.messages]
        assert roles[:2] == ["assistant", "tool"]
        assert rollout.completion.messages[1]["content"] == "42\n"
        assert "42" not in rollout.completion.messages[0]["content"]  # computed, not copied
