"""Collects what a format's reader finds in a turn, and recognises calls and turns that stand where none may."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from rlvr_verifiers.strict_json import JsonTooLargeError
from rlvr_verifiers.tool_call.calls import MAX_CALLS, Call, ParsedCalls, ParseFailure, failed

Tools = Iterable[Mapping[str, Any]]
"""OpenAI function schemas, as a task offers them."""

_TURN_MARK = re.compile(
    r"<\|(?:im_start|im_end|endoftext|start_header_id|end_header_id|eot_id|eom_id|eot|end|start|channel|call|return|message"
    r"|user|assistant|system|observation)\|>"
    r"|</?tool_response>|<(?:start|end)_of_turn>|</?s>|\[/?INST\]|\[/?TOOL_RESULTS\]"
    r"|<\uff5c(?:User|Assistant|tool\u2581outputs?\u2581(?:begin|end)|end\u2581of\u2581sentence)\uff5c>"
)
_CALL_MARK = re.compile(
    r"</?tool_calls?>|<function=|</function>|<parameter=|</parameter>|</?function_calls?>|\[TOOL_CALLS\]|\[ARGS\]|\[CALL_ID\]"
    r"|<\|python_tag\|>|<\|python_(?:start|end)\|>|<\|/?tool_calls?(?:_begin|_end)?\|>|<\|tool_calls_section_begin\|>"
    r"|<\uff5ctool\u2581(?:calls?\u2581(?:begin|end)|sep)\uff5c>|functools\["
)
_JSON_CALL = re.compile(
    r"""["']tool_calls["']\s{0,20}:\s{0,20}\[\s{0,20}\{"""
    r"""|\{\s{0,20}["'](?:name|function)["']\s{0,20}:.{0,300}?["'](?:arguments|parameters)["']\s{0,20}:\s{0,20}[\["'{]""",
    re.DOTALL,
)
_FUNCTION_CALL = re.compile(r"\[?\s*[A-Za-z_][\w.]*\(")


class Turn:
    """What has been read so far. `call` and `fail` raise JsonTooLargeError beyond MAX_CALLS of both."""

    def __init__(self, format_name: str) -> None:
        self._format = format_name
        self._words: list[str] = []
        self._calls: list[Call] = []
        self._failures: list[ParseFailure] = []

    def words(self, text: str) -> None:
        self._words.append(text)

    def call(self, call: Call) -> None:
        self._calls.append(call)
        self._require_few()

    def fail(self, error: Exception | str) -> None:
        self._failures.append(failed(error))
        self._require_few()

    def finish(self) -> ParsedCalls:
        content = "".join(self._words).strip()
        failures = tuple(self._failures)
        if mark := _TURN_MARK.search(content):
            failures += (failed(f"the turn goes on behind {mark.group()!r}"),)
        if mark := _CALL_MARK.search(content):
            failures += (failed(f"{mark.group()!r} stands outside a complete call"),)
        elif not self._calls and not failures and looks_like_a_call(content):
            failures += (failed(f"this looks like a call, but is none in the format {self._format}"),)
        return ParsedCalls(content=content, calls=tuple(self._calls), failures=failures, format=self._format)

    def _require_few(self) -> None:
        if len(self._calls) + len(self._failures) > MAX_CALLS:
            raise JsonTooLargeError(f"more than {MAX_CALLS} calls in one turn")


def looks_like_a_call(content: str) -> bool:
    """Whether words were meant as a call in some format. Prose that merely names a function is none."""
    if _JSON_CALL.search(content):
        return True
    return content.endswith((")", ")]")) and _FUNCTION_CALL.match(content) is not None
