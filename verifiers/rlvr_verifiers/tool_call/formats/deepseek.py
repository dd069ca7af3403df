"""DeepSeek, words before the calls allowed. V3 fences the JSON and says `function` first; V3.1 has the name and the bare JSON:

<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME\\n```json\\n{...}\\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>
<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>NAME<｜tool▁sep｜>{...}<｜tool▁call▁end｜><｜tool▁calls▁end｜>
"""

from __future__ import annotations

import re

from rlvr_verifiers.strict_json import JsonError, decode_at, skip_space
from rlvr_verifiers.tool_call.calls import MAX_NAME, CallError, ParsedCalls, made
from rlvr_verifiers.tool_call.turn import Tools, Turn

BEGIN, END = "<\uff5ctool\u2581calls\u2581begin\uff5c>", "<\uff5ctool\u2581calls\u2581end\uff5c>"
CALL, SEPARATOR, CALL_END = (
    "<\uff5ctool\u2581call\u2581begin\uff5c>",
    "<\uff5ctool\u2581sep\uff5c>",
    "<\uff5ctool\u2581call\u2581end\uff5c>",
)
_FENCED = re.compile(rf"function{SEPARATOR}([^\s`<>]{{1,{MAX_NAME}}})\n```json\n")
_BARE = re.compile(rf"([^\s`<>]{{1,{MAX_NAME}}}){SEPARATOR}(?=\s*\{{)")


def read(text: str, tools: Tools) -> ParsedCalls:
    return _read(text, "deepseek", (_FENCED, _BARE))


def read_v3(text: str, tools: Tools) -> ParsedCalls:
    return _read(text, "deepseek_v3", (_FENCED,))


def read_v31(text: str, tools: Tools) -> ParsedCalls:
    return _read(text, "deepseek_v31", (_BARE,))


def _read(text: str, name: str, heads: tuple[re.Pattern[str], ...]) -> ParsedCalls:
    turn = Turn(name)
    start = text.find(BEGIN)
    turn.words(text if start < 0 else text[:start])
    if start < 0:
        return turn.finish()
    try:
        position = _calls(text, start + len(BEGIN), turn, heads)
        turn.words(text[position:])
    except JsonError as error:
        turn.fail(error)
    return turn.finish()


def _calls(text: str, position: int, turn: Turn, heads: tuple[re.Pattern[str], ...]) -> int:
    """Reads the calls of one envelope and returns the place behind it."""
    position = skip_space(text, position)
    used = next((head for head in heads if head.match(text, position + len(CALL))), heads[0])
    while text.startswith(CALL, position):
        head = used.match(text, position + len(CALL))
        if head is None:
            raise CallError(f"a name and its arguments are missing behind {CALL}")
        value, position = decode_at(text, head.end())
        if used is _FENCED:
            position = _behind(text, "```", position)
        position = skip_space(text, _behind(text, CALL_END, position))
        turn.call(made(head[1], value))
    return _behind(text, END, position)


def _behind(text: str, mark: str, position: int) -> int:
    if not text.startswith(mark, position):
        raise CallError(f"{mark} is missing")
    return position + len(mark)
