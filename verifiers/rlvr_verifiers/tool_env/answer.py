"""Reads the gold of an environment's task.

    {"calls": [{"name": "move", "arguments": {...}}], "outputs": ["42 EUR"]}

calls: run on a fresh environment, they lead to the state that is wanted; how the policy gets there is its own business. Without
`calls` no state is compared. outputs: texts that the final reply has to state; `10` is not stated by `1000`.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any, cast

from rlvr_verifiers.arguments import clip
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.strict_json import JsonError, loads
from rlvr_verifiers.tool_call import Call
from rlvr_verifiers.tool_call.calls import call_of

_MINUS = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d", "-"))
"""What is written for a minus sign beside ASCII's: hyphens, dashes, U+2212 and its forms."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Gold:
    calls: tuple[Call, ...] | None
    """None: no state is wanted."""
    outputs: tuple[str, ...] = ()


@functools.lru_cache(maxsize=4096)
def read_gold(answer: str) -> Gold:
    """Raises VerifierError, in one line, where the gold cannot be used. Empty text is a gold that wants nothing of its own."""
    if not answer.strip():
        return Gold(calls=None)
    try:
        data: Any = loads(answer)
    except JsonError as error:
        raise _bad(f"it is not strict JSON ({error})") from None
    if not isinstance(data, dict):
        raise _bad("it is no JSON object with calls, outputs or both")
    fields = {key: value for key, value in cast("dict[str, Any]", data).items() if value is not None}
    unknown = fields.keys() - {"calls", "outputs"}
    if unknown:
        raise _bad(f"it has the unknown key {min(unknown)!r}; known are calls and outputs")
    calls = _list(fields, "calls") if "calls" in fields else None
    outputs = _list(fields, "outputs") if "outputs" in fields else []
    if any(not isinstance(text, str) or not text.strip() for text in outputs):
        raise _bad("outputs has to be a list of texts that are not empty")
    try:
        made = None if calls is None else tuple(call_of(item) for item in calls)
    except JsonError as error:
        raise _bad(str(error)) from None
    return Gold(calls=made, outputs=tuple(cast("list[str]", outputs)))


def states(reply: str, wanted: str) -> bool:
    """Whether a reply holds a text, case aside, that does not run on into a longer word or number on either side."""
    text, wanted = (" ".join(said.casefold().translate(_MINUS).split()) for said in (reply, wanted))
    before = r"(?<![\w])(?<!\d[.,])(?<!-)" if wanted[0].isalnum() else ""
    behind = r"(?!\w)(?![.,]\d)" if wanted[-1].isalnum() else ""
    return re.search(before + re.escape(wanted) + behind, text) is not None


def _list(fields: dict[str, Any], name: str) -> list[Any]:
    value = fields[name]
    if not isinstance(value, list):
        raise _bad(f"{name} is {clip(repr(value), 40)}; give a list")
    return cast("list[Any]", value)


def _bad(problem: str) -> VerifierError:
    return VerifierError(f"the answer of a tool_env task cannot be used: {problem}")
