"""Mistral, words before the calls allowed: `[TOOL_CALLS] [{"name": ..., "arguments": ...}, ...]` in older tokenizers, and
`[TOOL_CALLS]name[ARGS]{...}` for each call since version 11, with `[CALL_ID]id` before the arguments or without the mark `[ARGS]`.
"""

from __future__ import annotations

import re
from typing import cast

from rlvr_verifiers.strict_json import JsonError, decode_at
from rlvr_verifiers.tool_call.calls import MAX_NAME, CallError, ParsedCalls, call_of, made
from rlvr_verifiers.tool_call.turn import Tools, Turn

MARK = "[TOOL_CALLS]"
_NAMED = re.compile(rf"\s*([\w.:/-]{{1,{MAX_NAME}}})(?:\[CALL_ID\](\w{{1,64}}))?(?:\[ARGS\])?\s*(?=\{{)")


def read(text: str, tools: Tools) -> ParsedCalls:
    turn = Turn("mistral")
    start = text.find(MARK)
    turn.words(text if start < 0 else text[:start])
    if start < 0:
        return turn.finish()
    try:
        position = start + len(MARK)
        if text[position:].lstrip().startswith("["):
            _list(text, position, turn)
        else:
            _named(text, position, turn)
    except JsonError as error:
        turn.fail(error)
    return turn.finish()


def _list(text: str, position: int, turn: Turn) -> None:
    value, position = decode_at(text, position)
    if position < len(text):
        raise CallError(f"text behind the list of calls: {text[position : position + 40]!r}")
    if not value:
        raise CallError("the list of calls is empty")
    for item in cast("list[object]", value):
        turn.call(call_of(item, also=("id", "type")))


def _named(text: str, position: int, turn: Turn) -> None:
    while True:
        head = _NAMED.match(text, position)
        if head is None:
            raise CallError(f"a name and its arguments are missing behind {MARK}")
        value, position = decode_at(text, head.end())
        turn.call(made(head[1], value, head[2] or ""))
        if position == len(text):
            return
        if not text.startswith(MARK, position):
            raise CallError(f"text behind the call: {text[position : position + 40]!r}")
        position += len(MARK)
