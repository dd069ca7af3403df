"""OpenAI: the turn is a message as JSON, with `tool_calls`, or the list of tool calls alone; arguments are JSON in a string.

Arguments that are an object already are read too: several servers and chat templates write them so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from rlvr_verifiers.strict_json import JsonError, JsonTooLargeError, loads
from rlvr_verifiers.tool_call.calls import CallError, ParsedCalls, failed, made
from rlvr_verifiers.tool_call.turn import Tools, Turn

_MESSAGE = frozenset({"role", "content", "tool_calls", "refusal", "annotations", "audio", "function_call", "name"})
_CALL = frozenset({"id", "type", "function", "index"})


def read(text: str, tools: Tools) -> ParsedCalls:
    turn = Turn("openai")
    body = text.strip()
    if not body.startswith(("{", "[")):
        turn.words(text)
        return turn.finish()
    try:
        value: Any = loads(body)
        if isinstance(value, list) or any(key in value for key in ("tool_calls", "function", "role")):
            _read_value(cast("object", value), turn)
        else:
            turn.words(text)  # a reply that is JSON
    except JsonError as error:
        turn.fail(error)
    return turn.finish()


def read_message(message: Mapping[str, Any]) -> ParsedCalls:
    """The same for a message that is data already, as servers return it; nothing that it holds is raised."""
    turn = Turn("openai")
    try:
        try:
            _read_value(dict(message), turn)
        except JsonError as error:
            turn.fail(error)
    except JsonTooLargeError as error:  # a turn that is full has no room for its failure either
        return ParsedCalls(content="", failures=(failed(error),), format="openai")
    return turn.finish()


def _read_value(value: object, turn: Turn) -> None:
    if isinstance(value, list):
        items = cast("list[object]", value)
    else:
        fields = cast("dict[str, Any]", value)
        items = [fields] if "function" in fields else _message(fields, turn)
    for item in items:
        call = _fields(item, _CALL, "a tool call")
        if call.get("type", "function") != "function":
            raise CallError('the "type" of a tool call has to be "function"')
        function = _fields(call.get("function"), frozenset({"name", "arguments"}), "the function of a tool call")
        arguments = function.get("arguments")
        identity = call.get("id")
        decoded = loads(arguments) if isinstance(arguments, str) else arguments
        turn.call(made(function.get("name"), decoded, identity if isinstance(identity, str) else ""))


def _message(fields: dict[str, Any], turn: Turn) -> list[object]:
    _fields(fields, _MESSAGE, "a message")
    if fields.get("role", "assistant") != "assistant":
        raise CallError("the role of a message with calls has to be assistant")
    content = fields.get("content")
    if content is not None and not isinstance(content, str):
        raise CallError("the content of a message has to be text or null")
    turn.words(content or "")
    calls: object = fields.get("tool_calls")
    if calls is not None and not isinstance(calls, list):
        raise CallError("tool_calls has to be a list")
    return cast("list[object]", calls or [])


def _fields(value: object, known: frozenset[str], what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise CallError(f"{what} has to be a JSON object")
    fields = cast("dict[str, Any]", value)
    extra = fields.keys() - known
    if extra:
        raise CallError(f"{what} has the unexpected key {min(extra)[:40]!r}")
    return fields
