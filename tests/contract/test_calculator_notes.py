"""GSM8K's calculator notes as calls of `python`: what is shown is what the real environment answers, and the end is the gold."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rlvr_tasks.errors import TaskError
from rlvr_tasks.registry import load_tasks
from rlvr_verifiers.scoring import score_now
from rlvr_verifiers.tool_env import Environments
from rlvr_verifiers.types import Completion, Message, Task
from tests.local_data import local_file

GOOD = {
    "question": "48 clips in April, half as many in May. Altogether?",
    "answer": "In May 48/2 = <<48/2=24>>24 clips.\nTogether $<<48+24=72.00>>72.\n#### 72",
}


def file_of(folder: Path, *rows: dict[str, str]) -> Path:
    path = folder / "gsm8k.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def loaded(path: Path, limit: int | None = None, **args: Any) -> Sequence[Task]:
    config = {"source": "gsm8k", "limit": limit, "args": {"path": str(path), "environment": "python", **args}}
    return load_tasks(config, check_golds=False)


def called(code: str, words: str, number: int) -> Message:
    function = {"name": "python", "arguments": {"code": code}}
    call = {"id": f"call{number:05d}", "type": "function", "function": function}
    return {"role": "assistant", "content": words, "tool_calls": [call]}


def told(content: str, number: int) -> Message:
    return {"role": "tool", "tool_call_id": f"call{number:05d}", "name": "python", "content": content}


def test_every_note_is_a_call_between_its_words(tmp_path: Path) -> None:
    path = file_of(tmp_path, GOOD)
    (shown,), (asked,) = loaded(path, demonstrate=True), loaded(path)
    assert shown.prompt == (
        *asked.prompt,
        called("48/2", "In May 48/2 =", 0),
        told("24.0\n", 0),
        called("48+24", "24 clips.\nTogether $", 1),
        told("72\n", 1),
        {"role": "assistant", "content": "72.\n\\boxed{72}"},
    )
    assert "call the tool python" in asked.prompt[0]["content"]
    assert (shown.tools, shown.verifier, shown.environment, shown.info) == (asked.tools, "", None, {})
    assert (asked.verifier, asked.answer, asked.environment, asked.info) == ("math", "72", "python", {})


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("It is 72.\n#### 72", "no calculator notes"),
        ("48/2 = <<48/2=25>>25\n#### 72", "does not hold: the tool says 24.0"),
        ("20% of 50 is <<20%of50=10>>10\n#### 72", "does not hold: the tool says NameError"),
        ("1/3 = <<1/3=0.34>>0.34\n#### 72", "does not hold: the tool says 0.333"),
        ("so <<__import__('os')._exit(0)=1>>1\n#### 72", "the tool cannot run .* ended its own process"),
    ],
)
def test_what_cannot_be_shown_truly_is_left_out_and_named(
    answer: str, words: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = {**GOOD, "answer": answer}
    with pytest.raises(TaskError, match=f"1 of 1 solutions cannot be shown.*(\n.*)*{words}"):
        loaded(file_of(tmp_path, bad), demonstrate=True)
    rounded = {**GOOD, "answer": "1/3 = <<1/3=0.33>>0.33\n#### 72"}
    with caplog.at_level(logging.WARNING):
        assert len(loaded(file_of(tmp_path, bad, GOOD, rounded), demonstrate=True)) == 2
    assert "1 of 3 solutions cannot be shown" in caplog.text


async def answers(asked: Task, shown: Task) -> list[str]:
    """What a rollout of the task would be shown, were its policy to write what the demonstration does."""
    said: list[str] = []
    async with Environments("hermes").episode(asked) as episode:
        for message in shown.prompt:
            if message.get("tool_calls"):
                (call,) = (dict(call["function"]) for call in message["tool_calls"])
                turn = f"{message['content']}\n<tool_call>\n{json.dumps(call)}\n</tool_call>"
                said += [seen["content"] for seen in await episode.observe(turn)]
    return said


def test_published_solutions_replay_as_they_are_shown_and_end_in_their_gold(tmp_path: Path) -> None:
    lines = local_file("gsm8k_train.jsonl").read_text(encoding="utf-8").splitlines()[::250]
    path = tmp_path / "sample.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    asked = {task.prompt[0]["content"]: task for task in loaded(path)}
    shown = loaded(path, demonstrate=True)
    assert len(shown) >= 0.95 * len(lines)
    for task in shown:
        again = asyncio.run(answers(asked[task.prompt[0]["content"]], task))
        assert again == [message["content"] for message in task.prompt if message["role"] == "tool"]
        reply = Completion(text="", messages=task.prompt[1:])
        assert score_now(asked[task.prompt[0]["content"]], reply).passed
