"""The `tool_call` verifier: read the calls, check them against the offered tools, then against the gold.

The first thing that is wrong is the reason: too_large, malformed, no_call, unknown_tool, schema, count (too few), extra_call
(too many, or any where none was wanted), wrong_args (as many as wanted, but not these).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rlvr_verifiers.arguments import ArgumentReader, clip
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.schemas import Schema, compiled, first_problem, tool_schemas
from rlvr_verifiers.tool_call.calls import Call, ParsedCalls
from rlvr_verifiers.tool_call.formats.openai import read_message
from rlvr_verifiers.tool_call.gold import Gold, GoldCall, read_gold
from rlvr_verifiers.tool_call.matching import matched
from rlvr_verifiers.tool_call.parse import FORMATS, parse_calls
from rlvr_verifiers.tool_call.values import STRINGS, Strings
from rlvr_verifiers.types import Completion, Score, Task


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    format: str
    strings: Strings
    partial: bool


class ToolCall:
    reasons = frozenset(
        {"ok", "no_call", "malformed", "unknown_tool", "schema", "wrong_args", "count", "extra_call", "too_large"}
    )

    def check_task(self, task: Task) -> str | None:
        options = _options(task)
        gold = read_gold(task.answer, options.strings)
        schemas = tool_schemas(task.tools)
        if len(schemas) < len(task.tools):
            return "a tool has no name, or the name of another one"
        for name, schema in schemas.items():
            try:
                compiled(schema, closed=True)
            except VerifierError as error:
                return f"the parameters of tool {name!r}: {error}"
        return next((problem for call in gold.calls if (problem := _impossible(call, schemas))), None)

    def score(self, task: Task, completion: Completion) -> Score:
        options = _options(task)
        gold = read_gold(task.answer, options.strings)
        parsed = _read(task, completion, options.format)
        problem = _unreadable(parsed, completion) or _unwanted(gold, parsed) or _unfit(task, parsed.calls)
        if problem is None:
            return _compared(gold, parsed.calls, options)
        return _refused(*problem, parsed.calls)


Problem = tuple[str, str]
"""Reason and explanation."""


def _options(task: Task) -> Options:
    read = ArgumentReader("tool_call", task.verifier_args)
    options = Options(read.one_of("format", FORMATS), read.one_of("strings", STRINGS), read.flag("partial", False))  # type: ignore[arg-type]
    read.finish()
    return options


def _impossible(call: GoldCall, schemas: Mapping[str, Schema]) -> str | None:
    """Why no completion could make this gold call."""
    if not schemas:
        return None
    if call.name not in schemas:
        return f"the gold calls {call.name!r}, which is none of the task's tools"
    problem = first_problem(compiled(schemas[call.name], closed=True), example_of(call, schemas[call.name]))
    return problem and f"the gold call of {call.name!r} does not fit the tool's schema: {problem}"


def example_of(call: GoldCall, schema: Schema) -> dict[str, Any]:
    """Arguments that pass: of each the first choice that fits its schema, and what may be left out only where it is required."""
    required, properties = schema.get("required", ()), schema.get("properties", {})
    wanted = {key: values for key, values in call.choices.items() if key in required or key not in call.arguments.optional}
    return {key: _fitting(values, properties.get(key, {})) for key, values in wanted.items()}


def _fitting(values: Sequence[Any], schema: Schema) -> Any:
    if len(values) == 1 or "$ref" in json.dumps(schema):  # a reference leads out of this part of the schema
        return values[0]
    validator = compiled(schema, closed=True)
    return next((value for value in values if first_problem(validator, value) is None), values[0])


def wants_calls(task: Task) -> bool:
    """Whether the gold has any call. Raises VerifierError where it cannot be read."""
    return bool(read_gold(task.answer, _options(task).strings).calls)


def gold_completion(task: Task) -> Completion:
    """A turn that solves the task, as a server's message, so that it does not depend on the format. Raises VerifierError."""
    gold, schemas = read_gold(task.answer, _options(task).strings), tool_schemas(task.tools)
    calls = [
        {"type": "function", "function": {"name": call.name, "arguments": example_of(call, schemas.get(call.name, {}))}}
        for call in gold.calls
    ]
    content = None if calls else "None of the tools can do that."
    return Completion(text="", messages=({"role": "assistant", "content": content, "tool_calls": calls},))


def _read(task: Task, completion: Completion, format_name: str) -> ParsedCalls:
    """The turn with its special tokens; of a conversation, or where a server parsed the calls, the last message."""
    last: Mapping[str, Any] = completion.messages[-1] if completion.messages else {}
    if last.get("role", "assistant") != "assistant":
        return ParsedCalls(content="")
    if last.get("tool_calls") and (len(completion.messages) > 1 or not completion.text):
        return read_message(last)
    text = completion.content if len(completion.messages) > 1 or not completion.text else completion.text
    return parse_calls(text, format_name, task.tools)


def _unreadable(parsed: ParsedCalls, completion: Completion) -> Problem | None:
    for kind in ("too_large", "malformed"):
        for failure in parsed.failures:
            if failure.kind == kind:
                return kind, failure.message
    if parsed.calls and completion.finish_reason == "length":
        return "malformed", "the token limit cut the turn, so that its calls may not be complete"
    return None


def _unwanted(gold: Gold, parsed: ParsedCalls) -> Problem | None:
    if gold.calls:
        return None if parsed.calls else ("no_call", f"{len(gold.calls)} calls are wanted, and there is none")
    if parsed.calls:
        return "extra_call", f"no call is wanted, and {parsed.calls[0].name!r} is called"
    worded = any(character.isalpha() for character in parsed.content) or parsed.content == "[]"
    return None if worded else ("malformed", "no call is wanted, but a reply in words is, and there is none")


def _unfit(task: Task, calls: Sequence[Call]) -> Problem | None:
    """The first call that the offered tools do not allow. Without tools, names and arguments are only compared."""
    if not task.tools or not calls:
        return None
    schemas = tool_schemas(task.tools)
    unknown = next((call.name for call in calls if call.name not in schemas), None)
    if unknown is not None:
        return "unknown_tool", f"{clip(unknown, 60)!r} is none of the tools"
    for call in calls:
        problem = first_problem(compiled(schemas[call.name], closed=True), call.arguments)
        if problem:
            return "schema", f"{call.name}: {problem}"
    return None


def _compared(gold: Gold, calls: Sequence[Call], options: Options) -> Score:
    wanted = len(gold.calls)
    if len(calls) > wanted:
        return _refused("extra_call", f"{len(calls)} calls where {wanted} are wanted", calls)
    answered = matched(gold, calls)
    if len(answered) == wanted:
        return Score(value=1.0, passed=True, reason="ok", explanation=_praise(wanted), parsed=_shown(calls))
    value = len(answered) / wanted if options.partial else 0.0
    if len(calls) < wanted:
        return _refused("count", f"{len(calls)} calls where {wanted} are wanted", calls, value)
    return _refused("wrong_args", _difference(gold, calls, answered), calls, value)


def _difference(gold: Gold, calls: Sequence[Call], answered: Mapping[int, int]) -> str:
    missed = next(call for number, call in enumerate(gold.calls) if number not in answered)
    left = [call for number, call in enumerate(calls) if number not in answered.values()]
    if gold.order == "strict" and any(missed.wants(call.name, call.arguments) for call in calls):
        return f"{missed.name!r} is called out of order"
    near = next((call for call in left if call.name == missed.name), None)
    if near is None:
        return f"calls {left[0].name!r} where {missed.name!r} is wanted"
    members, optional = missed.arguments.members, missed.arguments.optional
    for key, value in near.arguments.items():
        if key not in members:
            return f"{missed.name}: the argument {clip(key, 40)!r} is not wanted"
        if not members[key].accepts(value):
            return f"{missed.name}: {key} is {clip(repr(value), 80)}, which is not accepted"
    lacking = next((key for key in members if key not in near.arguments and key not in optional), "")
    return f"{missed.name}: the argument {lacking!r} is missing"


def _praise(wanted: int) -> str:
    return f"{wanted} calls as wanted" if wanted else "no call, as wanted"


def _refused(reason: str, explanation: str, calls: Sequence[Call], value: float = 0.0) -> Score:
    return Score(value=value, passed=False, reason=reason, explanation=explanation, parsed=_shown(calls))


def _shown(calls: Sequence[Call]) -> str | None:
    """The calls as JSON, for logs."""
    if not calls:
        return None
    data: list[dict[str, Any]] = [{"name": call.name, "arguments": call.arguments} for call in calls]
    return json.dumps(data, ensure_ascii=False)
