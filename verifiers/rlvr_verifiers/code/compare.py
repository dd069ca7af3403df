"""Whether an answer is the expected one. Runs in the trusted process, on plain built-in values that the codec made.

Types count: True is not 1, a list is not a tuple, "1" is not 1. Integers and floats are both numbers and compared by value,
exactly unless the task gives a tolerance, which is for fractions: two integers are always compared exactly. NaN equals an
expected NaN and nothing else.
"""

from __future__ import annotations

import dataclasses
import math
import re
import reprlib
from typing import Any, cast

from rlvr_verifiers.arguments import clip

_NUMBER = re.compile(r"[+-]?(?:\d{1,40}\.?\d{0,40}|\.\d{1,40})(?:[eE][+-]?\d{1,4})?")
_SEQUENCES = (list, tuple)


@dataclasses.dataclass(frozen=True, slots=True)
class Rules:
    tolerance: float = 0.0
    """Absolute below 1, relative to the expected number above."""
    tuples_as_lists: bool = False
    bools_as_numbers: bool = False
    """As Python's `==` has it; for tests that are written with it."""


def same(expected: Any, actual: Any, rules: Rules) -> bool:
    """`expected` and `actual` hold built-in types only, nested at most as deep as the codec allows."""
    if _is_number(expected, rules) and _is_number(actual, rules):
        return _same_number(expected, actual, rules.tolerance)
    if rules.tuples_as_lists and type(expected) in _SEQUENCES and type(actual) in _SEQUENCES:
        return _same_items(expected, actual, rules)
    if type(expected) is not type(actual):
        both_sets = isinstance(expected, set | frozenset) and isinstance(actual, set | frozenset)
        return both_sets and rules.bools_as_numbers and _same_set(expected, actual, rules)
    if type(expected) in _SEQUENCES:
        return _same_items(expected, actual, rules)
    if type(expected) in (set, frozenset):
        return _same_set(expected, actual, rules)
    if type(expected) is dict:
        return _same_dict(cast(dict[Any, Any], expected), actual, rules)
    return bool(expected == actual)  # None, bool, str, bytes, complex


def _is_number(value: object, rules: Rules) -> bool:
    return type(value) in (int, float) or (rules.bools_as_numbers and type(value) is bool)


def _same_number(expected: float, actual: float, tolerance: float) -> bool:
    if expected != expected:
        return actual != actual
    if expected == actual:
        return True
    if not tolerance or (isinstance(expected, int) and isinstance(actual, int)):
        return False
    try:
        wanted, got = float(expected), float(actual)
    except OverflowError:
        return False
    if not math.isfinite(wanted) or not math.isfinite(got):
        return False
    return abs(got - wanted) <= tolerance * max(1.0, abs(wanted))


def _same_items(expected: Any, actual: Any, rules: Rules) -> bool:
    if len(expected) != len(actual):
        return False
    return all(same(wanted, got, rules) for wanted, got in zip(expected, actual, strict=True))


def _same_set(expected: Any, actual: Any, rules: Rules) -> bool:
    twins = {item: item for item in expected}
    return len(expected) == len(actual) and all(item in twins and same(twins[item], item, rules) for item in actual)


def _same_dict(expected: dict[Any, Any], actual: dict[Any, Any], rules: Rules) -> bool:
    return _same_set(expected, actual, rules) and all(same(expected[key], item, rules) for key, item in actual.items())


def same_output(expected: str, actual: bytes, tolerance: float) -> bool:
    """Line by line, exact but for blanks at the ends of lines and blank lines at the end; a tolerance compares word by word."""
    try:
        got = _lines(actual.decode("utf-8"))
    except UnicodeDecodeError:
        return False
    wanted = _lines(expected)
    if len(wanted) != len(got):
        return False
    if not tolerance:
        return wanted == got
    return all(_same_words(left.split(), right.split(), tolerance) for left, right in zip(wanted, got, strict=True))


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _same_words(expected: list[str], actual: list[str], tolerance: float) -> bool:
    if len(expected) != len(actual):
        return False
    for wanted, got in zip(expected, actual, strict=True):
        if wanted == got:
            continue
        first, second = _number(wanted), _number(got)
        if first is None or second is None or not _same_number(first, second, tolerance):
            return False
    return True


def _number(word: str) -> float | None:
    """An integer where it is spelt as one."""
    if _NUMBER.fullmatch(word) is None:
        return None
    return int(word) if word.lstrip("+-").isdecimal() else float(word)


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 120
_REPR.maxlong = 60
_REPR.maxlist = _REPR.maxtuple = _REPR.maxset = _REPR.maxfrozenset = _REPR.maxdict = 12
_REPR.maxlevel = 5


def shown(value: object) -> str:
    """The value on one line of ASCII-safe Python, cut in the middle; never slow and never an exception."""
    try:
        return clip(_REPR.repr(value), 240)
    except ValueError:  # an integer with more digits than Python prints
        return f"a very large {type(value).__name__}"
