"""Llama 3.1 and later: the whole turn is JSON objects with name and parameters, `;` between them, `<|python_tag|>` in front or not.

Behind `<|python_tag|>` a built-in tool may be called as `brave_search.call(query="...")`. Raw code there is no call.
"""

from __future__ import annotations

import re

from rlvr_verifiers.strict_json import JsonError, decode_at
from rlvr_verifiers.tool_call.calls import CallError, ParsedCalls, call_of
from rlvr_verifiers.tool_call.formats.pythonic import keyword_arguments
from rlvr_verifiers.tool_call.turn import Tools, Turn

TAG = "<|python_tag|>"
_BUILT_IN = re.compile(r"([A-Za-z_]\w{0,255})\.call(?=\()")


def read(text: str, tools: Tools) -> ParsedCalls:
    turn = Turn("llama3")
    body = text.strip()
    tagged = body.startswith(TAG)
    body = body.removeprefix(TAG).strip()
    if not tagged and not body.startswith("{"):
        turn.words(text)
        return turn.finish()
    try:
        built_in = _BUILT_IN.match(body) if tagged else None
        if built_in:
            turn.call(keyword_arguments(body, built_in[1], built_in.end()))
        else:
            _objects(body, turn)
    except JsonError as error:
        turn.fail(error)
    return turn.finish()


def _objects(body: str, turn: Turn) -> None:
    position = 0
    while True:
        value, position = decode_at(body, position)
        turn.call(call_of(value, also=("type", "id")))
        if position == len(body):
            return
        if body[position] != ";":
            raise CallError(f"text behind the call: {body[position : position + 40]!r}; calls are separated by ;")
        position += 1
