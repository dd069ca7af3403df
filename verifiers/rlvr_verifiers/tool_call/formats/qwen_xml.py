"""Qwen3-Coder: `<tool_call><function=NAME><parameter=KEY>\\nVALUE\\n</parameter></function></tool_call>`.

Values are bare text, so their types come from the tool's schema: text where it says string, else JSON, where True, False and
None count as well because the model's own template writes them. A value that is no JSON stays text and fails the schema.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from rlvr_verifiers.schemas import Schema, tool_schemas
from rlvr_verifiers.strict_json import JsonError, JsonTooLargeError, loads
from rlvr_verifiers.tool_call.calls import MAX_NAME, CallError, ParsedCalls, made
from rlvr_verifiers.tool_call.turn import Tools, Turn

OPEN, CLOSE = "<tool_call>", "</tool_call>"
_FUNCTION = re.compile(rf"\s*<function=([^<>\s]{{1,{MAX_NAME}}})>\s*")
_PARAMETER = re.compile(rf"<parameter=([^<>\s]{{1,{MAX_NAME}}})>")
_PARAMETER_END = "</parameter>"
_END = re.compile(r"</function>\s*</tool_call>")
_SPACE = re.compile(r"\s*")
_WORDS = {"True": True, "False": False, "None": None}


def read(text: str, tools: Tools) -> ParsedCalls:
    turn = Turn("qwen3_coder")
    schemas = tool_schemas(tools)
    position = 0
    while (start := text.find(OPEN, position)) >= 0:
        turn.words(text[position:start])
        try:
            position = _block(text, start + len(OPEN), turn, schemas)
        except JsonError as error:
            turn.fail(error)
            closed = text.find(CLOSE, start)
            position = closed + len(CLOSE) if closed >= 0 else len(text)
    turn.words(text[position:])
    return turn.finish()


def _block(text: str, position: int, turn: Turn, schemas: Mapping[str, Schema]) -> int:
    function = _FUNCTION.match(text, position)
    if function is None:
        raise CallError("<function=NAME> is missing behind <tool_call>")
    name, position = function[1], function.end()
    properties = _properties(schemas.get(name, {}))
    arguments: dict[str, Any] = {}
    while parameter := _PARAMETER.match(text, position):
        key = parameter[1]
        end = text.find(_PARAMETER_END, parameter.end())
        if end < 0:
            raise CallError(f"parameter {key!r} of {name!r} is not closed")
        if key in arguments:
            raise CallError(f"parameter {key!r} of {name!r} appears twice")
        arguments[key] = _value(text[parameter.end() : end], properties.get(key))
        position = _SPACE.match(text, end + len(_PARAMETER_END)).end()  # type: ignore[union-attr]
    closing = _END.match(text, position)
    if closing is None:
        raise CallError(f"the call of {name!r} does not end in </function></tool_call>")
    turn.call(made(name, arguments))
    return closing.end()


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = schema.get("properties")
    return cast("Mapping[str, Any]", properties) if isinstance(properties, Mapping) else {}


def _value(text: str, schema: object) -> Any:
    """One line break at each end belongs to the template."""
    text = text.removeprefix("\n").removesuffix("\n")
    kinds = _types(schema)
    if kinds == {"string"}:
        return text
    bare = text.strip()
    if bare in _WORDS:
        return _WORDS[bare]
    try:
        value = loads(bare)
    except JsonTooLargeError:
        raise
    except JsonError:
        return text
    return text if isinstance(value, str) or ("string" in kinds and _type_of(value) not in kinds) else value


def _types(schema: object) -> set[str]:
    """Types that a schema names, at its top or in `anyOf` and `oneOf`; empty where it names none."""
    if not isinstance(schema, Mapping):
        return set()
    node = cast("Mapping[str, Any]", schema)
    declared = node.get("type", ())
    kinds = {declared} if isinstance(declared, str) else {str(kind) for kind in declared}
    for key in ("anyOf", "oneOf"):
        options = node.get(key)
        if isinstance(options, list):
            kinds |= {kind for option in cast("list[object]", options) for kind in _types(option)}
    if not kinds and isinstance(node.get("enum"), list):
        kinds = {_type_of(item) for item in cast("list[object]", node["enum"])}
    return kinds


def _type_of(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"
