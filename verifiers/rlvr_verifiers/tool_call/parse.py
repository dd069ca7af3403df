"""`parse_calls`: the one place where a policy's text becomes tool calls, for scoring and for rollouts that execute them.

Reasoning is cut off first, by the rule of `rlvr_verifiers.response` that all verifiers share: a call inside it does not count, an
open block means that there is none, and a closing tag without an opening one was opened in the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from rlvr_verifiers.response import after_reasoning, without_end_tokens
from rlvr_verifiers.strict_json import MAX_VALUES, JsonTooLargeError, count_values
from rlvr_verifiers.tool_call.calls import ParsedCalls, failed
from rlvr_verifiers.tool_call.formats import deepseek, hermes, llama3, mistral, openai, plain_json, pythonic, qwen_xml
from rlvr_verifiers.tool_call.turn import Tools

MAX_TURN = 65_536
"""Characters of a turn behind its reasoning."""

Reader = Callable[[str, Tools], ParsedCalls]

READERS: Mapping[str, Reader] = {
    "hermes": hermes.read,
    "qwen3_coder": qwen_xml.read,
    "llama3": llama3.read,
    "mistral": mistral.read,
    "pythonic": pythonic.read,
    "openai": openai.read,
    "deepseek": deepseek.read,
    "deepseek_v3": deepseek.read_v3,
    "deepseek_v31": deepseek.read_v31,
    "json": plain_json.read,
}
ALIASES: Mapping[str, str] = {
    "qwen": "hermes",
    "qwen_xml": "qwen3_coder",
    "qwen3_xml": "qwen3_coder",
    "llama3_json": "llama3",
    "xlam": "json",
}
"""Other names of the same, among them those of vLLM's `--tool-call-parser`."""
FORMATS = ("auto", *READERS, *ALIASES)


def parse_calls(text: str, format: str = "auto", tools: Tools = ()) -> ParsedCalls:  # noqa: A002
    """Reads one turn of a policy, special tokens kept. Never raises for what the text holds, in linear time.

    text: the turn; end-of-turn tokens and reasoning are cut off here.
    format: one of FORMATS; `auto` takes the one whose marks the turn shows.
    tools: OpenAI function schemas; only `qwen3_coder`, whose values are bare text, needs them for the types.

    Raises ValueError for a format that does not exist.
    """
    name = ALIASES.get(format, format)
    if name != "auto" and name not in READERS:
        raise ValueError(f"no tool call format {format!r}; known: {', '.join(FORMATS)}")
    turn = after_reasoning(without_end_tokens(text))
    if turn is None:
        return ParsedCalls(content="", format=name)
    if len(turn) > MAX_TURN:
        return _refused(name, f"the turn has {len(turn)} characters; {MAX_TURN} are read")
    name = detected(turn) if name == "auto" else name
    try:
        parsed = READERS[name](turn, tools)
    except JsonTooLargeError as error:
        return _refused(name, str(error))
    if turn.count(",") > MAX_VALUES and sum(count_values(call.arguments) for call in parsed.calls) > MAX_VALUES:
        return _refused(name, f"calls with more than {MAX_VALUES} values")
    return parsed


def detected(turn: str) -> str:
    """The format whose marks a turn shows first; a turn without any is read as `hermes`, and so is a plain reply."""
    places = [(place, name) for mark, name in _MARKS if (place := turn.find(mark)) >= 0]
    if places:
        place, name = min(places)
        return "qwen3_coder" if name == "hermes" and _XML.match(turn, place) else name
    body = turn.strip()
    if body.startswith("{"):
        if any(key in body for key in ('"tool_calls"', '"function"', '"role"')):
            return "openai"
        return "llama3" if '"name"' in body and ('"arguments"' in body or '"parameters"' in body) else "hermes"
    if body.startswith("["):
        if _LIST_OF_CALLS.match(body):
            return "pythonic"
        if _LIST_OF_OBJECTS.match(body):
            return "openai" if '"function"' in body else "json"
    return "hermes"


_MARKS = (
    (hermes.OPEN, "hermes"),
    (mistral.MARK, "mistral"),
    (llama3.TAG, "llama3"),
    (pythonic.START, "pythonic"),
    (deepseek.BEGIN, "deepseek"),
)
_XML = re.compile(r"<tool_call>\s*<function=")
_LIST_OF_CALLS = re.compile(r"\[\s*[A-Za-z_][\w.]*\s*\([^()]{0,200}[=)]")
_LIST_OF_OBJECTS = re.compile(r"\[\s*\{")


def _refused(name: str, message: str) -> ParsedCalls:
    return ParsedCalls(content="", failures=(failed(JsonTooLargeError(message)),), format=name)
