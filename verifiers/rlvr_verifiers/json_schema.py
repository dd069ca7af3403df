"""`json_schema`: the final turn is one JSON value, strictly read, that fits a JSON Schema (Draft 2020-12), and the gold where there is one.

The value is the whole turn, or the only fenced block in it. Without a gold, a schema that empty values fit is refused when data is
loaded: `{}` would earn what an answer earns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from rlvr_verifiers.arguments import ArgumentReader, clip
from rlvr_verifiers.code.extract import blocks
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.response import final_text
from rlvr_verifiers.schemas import compiled, first_problem
from rlvr_verifiers.strict_json import JsonError, JsonTooLargeError, loads
from rlvr_verifiers.tool_call.gold import accepted_value
from rlvr_verifiers.types import Completion, Score, Task

MAX_CHARS = 65_536
"""Of a final turn."""
EMPTY: tuple[Any, ...] = ({}, [], "", 0, False, None)
LANGUAGES = frozenset({"", "json"})


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    schema: Mapping[str, Any]
    closed: bool
    fence: str


class JsonSchema:
    reasons = frozenset({"ok", "mismatch", "schema", "malformed", "no_answer", "truncated", "too_large"})

    def check_task(self, task: Task) -> str | None:
        options = _options(task)
        validator = compiled(options.schema, closed=options.closed)
        if task.answer:
            _, example = _gold(task.answer)
            problem = first_problem(validator, example)
            return problem and f"the gold does not fit the schema: {problem}"
        fitting = next((value for value in EMPTY if first_problem(validator, value) is None), ...)
        if fitting is ...:
            return None
        return f"there is no gold, and the schema accepts {fitting!r}; add required, minItems and minLength, or a gold"

    def score(self, task: Task, completion: Completion) -> Score:
        options = _options(task)
        text = final_text(completion)
        if text is None or not text.strip():
            return _refused("no_answer", "the completion never came to an answer")
        if len(text) > MAX_CHARS:
            return _refused("too_large", f"the final turn has {len(text)} characters, over {MAX_CHARS}")
        if completion.finish_reason == "length":
            return _refused("truncated", "the token limit may have cut the value")
        try:
            value = loads(_stated(text, options.fence).strip())
        except JsonTooLargeError as error:
            return _refused("too_large", str(error))
        except JsonError as error:
            return _refused("malformed", str(error))
        problem = first_problem(compiled(options.schema, closed=options.closed), value)
        if problem is not None:
            return _refused("schema", problem)
        if task.answer and not _gold(task.answer)[0].accepts(value):
            return _refused("mismatch", f"{clip(repr(value), 100)} is not the gold")
        return Score(value=1.0, passed=True, reason="ok", explanation="fits", parsed=text.strip())


def _options(task: Task) -> Options:
    read = ArgumentReader("json_schema", task.verifier_args)
    options = Options(
        read.mapping("schema"), read.flag("closed", False), read.one_of("fence", ("optional", "required", "forbidden"))
    )
    read.finish()
    if not options.schema:
        raise VerifierError("verifier_args of 'json_schema': schema is missing; give the JSON Schema of the answer")
    return options


def _gold(answer: str) -> Any:
    try:
        return accepted_value(loads(answer))
    except JsonError as error:
        raise VerifierError(f"the answer of a json_schema task is not strict JSON: {error}") from None


def _stated(text: str, fence: str) -> str:
    """The text that has to be JSON. Raises JsonError where it does not stand as it should."""
    found = [] if fence == "forbidden" else blocks(text)
    if not found and fence == "required":
        raise JsonError("there is no fenced block")
    if not found or text.lstrip().startswith(("{", "[")):  # a fence in a string of the value
        return text
    if len(found) > 1 or not found[0].closed or found[0].language not in LANGUAGES:
        raise JsonError("one closed block marked json is expected, and no other")
    return found[0].source


def _refused(reason: str, explanation: str) -> Score:
    return Score(value=0.0, passed=False, reason=reason, explanation=explanation)
