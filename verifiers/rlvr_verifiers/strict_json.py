"""JSON read as a contract: what other readers repair or guess is refused here, and every cost has a bound.

Refused: repeated keys, NaN and infinities (also as an overflowing 1e999), text behind the value, control characters in
strings. Bounded before or while parsing: depth, digits of a number, and the number of values.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, cast

from rlvr_verifiers.errors import VerifierError

MAX_DEPTH = 32
MAX_DIGITS = 100
"""Characters of one number."""
MAX_VALUES = 5_000
"""Scalars, lists, objects and keys in one text; what checks a schema walks over all of them."""

_SPACE = re.compile(r"[ \t\n\r]*")
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)


class JsonError(VerifierError):
    """The text is no JSON value, or one that readers disagree about."""


class JsonTooLargeError(JsonError):
    """Over a bound of this reader."""


def loads(text: str) -> Any:
    """The one value that is the whole text. Raises JsonError."""
    value, end = decode_at(text, 0)
    if end < len(text):
        raise JsonError(f"text behind the JSON value: {text[end : end + 40]!r}")
    return value


def decode_at(text: str, start: int) -> tuple[Any, int]:
    """The value that starts at `start`, blanks before it skipped, and the place behind it and its blanks. Raises JsonError."""
    start = skip_space(text, start)
    _require_shallow(text, start)
    try:
        value, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise JsonError(f"no JSON: {error.msg.removesuffix(' at')} at character {error.pos}") from None
    except RecursionError:
        raise JsonTooLargeError("JSON is nested too deeply") from None
    if text.count(",", start, end) > MAX_VALUES // 2 and count_values(value) > MAX_VALUES:
        raise JsonTooLargeError(f"JSON with more than {MAX_VALUES} values")
    return value, skip_space(text, end)


def skip_space(text: str, start: int) -> int:
    """Behind the blanks that JSON allows between values."""
    match = _SPACE.match(text, start)
    return match.end() if match else start


def count_values(value: object) -> int:
    """Scalars, lists, objects and keys of a JSON value."""
    count, left = 0, [value]
    while left:
        item = left.pop()
        count += 1
        if isinstance(item, dict):
            members = cast("dict[str, object]", item)
            count += len(members)
            left.extend(members.values())
        elif isinstance(item, list):
            left.extend(cast("list[object]", item))
    return count


def _require_shallow(text: str, start: int) -> None:
    if text.count("[", start) + text.count("{", start) <= MAX_DEPTH:
        return
    depth = 0
    for match in _BRACKETS.finditer(text, start):
        character = text[match.start()]
        if character in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise JsonTooLargeError(f"JSON nested deeper than {MAX_DEPTH}")
        elif character in "]}":
            depth -= 1
        if depth <= 0:
            return


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key, later in zip(sorted(keys), sorted(keys)[1:], strict=False) if key == later)
        raise JsonError(f"the key {twice[:40]!r} appears twice in one JSON object")
    return result


def _int(digits: str) -> int:
    _require_short(digits)
    return int(digits)


def _float(digits: str) -> float:
    _require_short(digits)
    value = float(digits)
    if math.isinf(value):
        raise JsonError(f"the number {digits} is beyond what a float can hold")
    return value


def _require_short(digits: str) -> None:
    if len(digits) > MAX_DIGITS:
        raise JsonTooLargeError(f"a number of more than {MAX_DIGITS} characters")


def _constant(name: str) -> Any:
    raise JsonError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_int)
