"""The json_schema verifier: strict reading, the schema, the gold, and schemas that prove nothing."""

from __future__ import annotations

from typing import Any

import pytest

from rlvr_verifiers.registry import check_task
from rlvr_verifiers.scoring import score_now
from rlvr_verifiers.types import Completion, Task

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "minLength": 1}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}


def schema_task(answer: str = "", schema: Any = PERSON, **arguments: Any) -> Task:
    return Task(id="t", prompt=(), verifier="json_schema", answer=answer, verifier_args={"schema": schema, **arguments})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"name": "Ana", "age": 30}', "ok"),
        ('<think>30?</think>\n{"age": 30, "name": "Ana"}<|im_end|>', "ok"),
        ('Here it is:\n```json\n{"name": "Ana", "age": 30}\n```\n', "ok"),
        ('{"name": "```", "age": 30}', "mismatch"),
        ('Here it is: {"name": "Ana", "age": 30}', "malformed"),
        ('{"name": "Ana", "age": 30} {"name": "Bo", "age": 30}', "malformed"),
        ('```json\n{"name": "Ana", "age": 30}\n```\n```json\n{"name": "Bo", "age": 30}\n```', "malformed"),
        ('```json\n{"name": "Ana", "age": 30}', "malformed"),
        ('```yaml\n{"name": "Ana", "age": 30}\n```', "malformed"),
        ('{"name": "Bo", "name": "Ana", "age": 30}', "malformed"),
        ('{"name": "Ana", "age": NaN}', "malformed"),
        ('{"name": "Ana", "age": 30.0}', "schema"),
        ('{"name": "Ana", "age": true}', "schema"),
        ('{"name": "Ana"}', "schema"),
        ('{"name": "ana", "age": 30}', "mismatch"),
        ('{"name": "Ana", "age": 30, "x": 1}', "mismatch"),
        ("", "no_answer"),
        ("<think>", "no_answer"),
        ("[" * 100, "too_large"),
        ("x" * 70_000, "too_large"),
    ],
)
def test_reasons(text: str, reason: str) -> None:
    task = schema_task('{"name": "Ana", "age": 30}')
    assert check_task(task) is None
    assert score_now(task, Completion(text=text)).reason == reason


def test_a_value_that_the_token_limit_may_have_cut_does_not_count() -> None:
    cut = Completion(text='{"name": "Ana", "age": 3}', finish_reason="length")
    assert score_now(schema_task(), cut).reason == "truncated"


def test_options() -> None:
    fenced = '```json\n{"name": "Ana", "age": 30}\n```'
    bare = '{"name": "Ana", "age": 30}'
    for fence, passes in (("optional", (True, True)), ("required", (True, False)), ("forbidden", (False, True))):
        task = schema_task(fence=fence)
        assert tuple(score_now(task, Completion(text=text)).passed for text in (fenced, bare)) == passes
    more = Completion(text='{"name": "Ana", "age": 30, "x": 1}')
    assert score_now(schema_task(), more).passed
    assert score_now(schema_task(closed=True), more).reason == "schema"
    choice = schema_task('{"name": {"$any": ["Ana", "Anna"]}, "age": 30}')
    assert score_now(choice, Completion(text='{"name": "Anna", "age": 30}')).passed


@pytest.mark.parametrize(
    ("task", "complaint"),
    [
        (schema_task(schema={"type": "object"}), "there is no gold, and the schema accepts {}"),
        (schema_task(schema={"type": "array"}), "accepts []"),
        (schema_task(schema={}), "schema is missing"),
        (schema_task(schema={"type": "dict"}), "no JSON Schema"),
        (schema_task("{}"), "the gold does not fit the schema"),
        (schema_task("{"), "not strict JSON"),
    ],
)
def test_a_task_that_proves_nothing_is_refused(task: Task, complaint: str) -> None:
    assert complaint in (check_task(task) or "")
