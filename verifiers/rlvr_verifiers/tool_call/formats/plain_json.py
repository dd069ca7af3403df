"""xLAM and others: the whole turn is one JSON list of objects with name and arguments, or one such object. No mark, no words."""

from __future__ import annotations

from typing import Any, cast

from rlvr_verifiers.strict_json import JsonError, loads
from rlvr_verifiers.tool_call.calls import ParsedCalls, call_of
from rlvr_verifiers.tool_call.turn import Tools, Turn


def read(text: str, tools: Tools) -> ParsedCalls:
    turn = Turn("json")
    body = text.strip()
    if not body.startswith(("{", "[")):
        turn.words(text)
        return turn.finish()
    try:
        value: Any = loads(body)
        turn.words(body if value == [] else "")  # says in so many words that nothing is to be called
        for item in cast("list[object]", value if isinstance(value, list) else [value]):
            turn.call(call_of(item, also=("id", "type")))
    except JsonError as error:
        turn.fail(error)
    return turn.finish()
