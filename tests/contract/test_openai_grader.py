"""The `openai_grader` verifier at work: python graders in the sandbox, on text that wants not to be scored."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rlvr_verifiers.bridges import openai_grader
from rlvr_verifiers.pool import VerifierPool
from rlvr_verifiers.registry import check_task, resolve
from rlvr_verifiers.scoring import score_now
from rlvr_verifiers.types import Completion, Score, Task

PYTHON = {
    "type": "python",
    "source": "def grade(sample, item):\n    return float(sample['output_text'] == item['answer'])\n",
}
STRING = {"type": "string_check", "operation": "eq", "input": "{{sample.output_json}}", "reference": "{{item.answer}}"}
BOTH = {"type": "multi", "graders": {"a": PYTHON, "b": STRING}, "calculate_output": "a"}


def task(grader: dict[str, Any]) -> Task:
    made = Task(id="g", prompt=(), verifier="openai_grader", answer="42", verifier_args={"grader": grader})
    assert check_task(made) is None
    return made


@pytest.mark.parametrize("grader", [PYTHON, STRING, BOTH])
@pytest.mark.parametrize("depth", [50, 62, 70, 5_000])
def test_no_depth_of_json_leaves_a_completion_unscored(grader: dict[str, Any], depth: int) -> None:
    for text in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
        score = score_now(task(grader), Completion(text=text))
        assert (score.value, score.reason) == (0.0, "mismatch"), score


def test_no_depth_of_json_is_too_deep_to_be_filled_in() -> None:
    """There is one that the reader of the standard library takes and its writer does not; where depends on the stack."""
    values = {score_now(task(STRING), Completion(text="[" * depth + "]" * depth)).value for depth in range(880, 1000)}
    assert values == {0.0}


def test_calls_that_cannot_be_carried_are_the_completion_s_failure() -> None:
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    calls = ({"role": "assistant", "content": "42", "tool_calls": [{"name": "f", "arguments": deep}]},)
    score = score_now(task(PYTHON), Completion(text="42", messages=calls))
    assert (score.value, score.reason) == (0.0, "too_large"), score


class Started:
    """A sandbox that only notes that it was asked to start."""

    def __init__(self) -> None:
        self.times = 0

    def walls(self) -> None:
        self.times += 1


@pytest.mark.parametrize(("grader", "times"), [(PYTHON, 1), (BOTH, 1), (STRING, 0)])
def test_the_sandbox_starts_before_the_clock_where_it_is_needed(
    grader: dict[str, Any], times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = Started()
    monkeypatch.setattr(openai_grader, "shared_sandbox", lambda: sandbox)
    prepare = resolve("openai_grader").prepare_task
    assert prepare is not None
    prepare(task(grader))
    assert sandbox.times == times


def test_a_sandbox_that_cannot_start_is_our_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLVR_SANDBOX", "nonsense")

    async def first() -> Score:
        async with VerifierPool(1, 5.0, verifiers=["openai_grader"]) as pool:
            return await pool.score(task(PYTHON), Completion(text="42"))

    score = asyncio.run(first())
    assert (score.value, score.reason) == (None, "verifier_error"), score
    assert "verifier 'openai_grader': " in score.explanation
