"""Hermes and Qwen 2.5/3: `<tool_call>` around JSON objects with name and arguments, words before and after allowed.

ToolRL puts several objects into one tag, one a line; that is read as several calls.
"""

from __future__ import annotations

from rlvr_verifiers.strict_json import JsonError, decode_at
from rlvr_verifiers.tool_call.calls import CallError, ParsedCalls, call_of
from rlvr_verifiers.tool_call.turn import Tools, Turn

OPEN, CLOSE = "<tool_call>", "</tool_call>"


def read(text: str, tools: Tools) -> ParsedCalls:
    turn = Turn("hermes")
    position = 0
    while (start := text.find(OPEN, position)) >= 0:
        turn.words(text[position:start])
        try:
            position = _block(text, start + len(OPEN), turn)
        except JsonError as error:
            turn.fail(error)
            closed = text.find(CLOSE, start)
            position = closed + len(CLOSE) if closed >= 0 else len(text)
    turn.words(text[position:])
    return turn.finish()


def _block(text: str, position: int, turn: Turn) -> int:
    """Reads up to the closing tag and returns the place behind it. A closing tag inside a string closes nothing."""
    while True:
        value, position = decode_at(text, position)
        turn.call(call_of(value, also=("id", "type")))
        if text.startswith(CLOSE, position):
            return position + len(CLOSE)
        if not text.startswith("{", position):
            raise CallError(f"{CLOSE} is missing behind the call")
