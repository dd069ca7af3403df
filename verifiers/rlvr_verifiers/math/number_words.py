"""Numbers that are written as words: `thirty-five`, `two thirds`, `three and a half`, `one hundred twenty`."""

from __future__ import annotations

import re
from fractions import Fraction

_SMALL = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen"""
_UNITS = {word: value for value, word in enumerate(_SMALL.split())}
_TENS = {
    word: 10 * value
    for value, word in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], 2)
}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_DENOMINATORS = {
    "half": 2,
    "halves": 2,
    "third": 3,
    "quarter": 4,
    "fourth": 4,
    "fifth": 5,
    "sixth": 6,
    "seventh": 7,
    "eighth": 8,
    "ninth": 9,
    "tenth": 10,
    "eleventh": 11,
    "twelfth": 12,
    "hundredth": 100,
    "thousandth": 1000,
}
_PARTS = re.compile(r"[\s-]+")
_MAX_WORDS = 16


def spelled_number(text: str) -> Fraction | None:
    """The number that words in lower case say; None where they say none, or more than that."""
    words = _PARTS.split(text.strip())
    negative = words[0] in ("minus", "negative")
    words = words[negative:]
    if not words or len(words) > _MAX_WORDS:
        return None
    value = _fraction(words)
    return -value if negative and value is not None else value


def _fraction(words: list[str]) -> Fraction | None:
    """`two thirds`, `a half`, `two over three`, `two and a half`, or a whole number."""
    below = _denominator(words[-1])
    if not below:
        if "over" in words:
            middle = words.index("over")
            above, under = _whole(words[:middle]), _whole(words[middle + 1 :])
            return Fraction(above, under) if above is not None and under else None
        whole = _whole(words)
        return None if whole is None else Fraction(whole)
    for middle in range(len(words) - 1, 0, -1):
        if words[middle] == "and":
            whole, above = _whole(words[:middle]), _numerator(words[middle + 1 : -1], words[-1])
            if whole is not None and above:
                return whole + Fraction(above, below)
    above = _numerator(words[:-1], words[-1])
    return Fraction(above, below) if above else None


def _denominator(word: str) -> int:
    return _DENOMINATORS.get(word) or _DENOMINATORS.get(word.removesuffix("s"), 0)


def _numerator(words: list[str], below: str) -> int | None:
    """`a third` is one; `third` alone is a place in a row, and `half` a number."""
    if not words:
        return 1 if below == "half" else None
    return 1 if words == ["a"] or words == ["an"] else _whole(words)


def _whole(words: list[str]) -> int | None:
    if not words:
        return None
    total, group, last = 0, 0, 10**15
    """Of a group below a thousand: its value so far, and the size of its last word, which has to fall."""
    for index, word in enumerate(words):
        if word in ("a", "an") and index == 0 and len(words) > 1 and words[1] in (*_SCALES, "hundred"):
            group, last = 1, 1
        elif word == "and" and 0 < index < len(words) - 1 and (words[index - 1] == "hundred" or words[index - 1] in _SCALES):
            continue
        elif word in _UNITS and last >= (10 if _UNITS[word] < 10 else 100):
            group, last = group + _UNITS[word], 1
        elif word in _TENS and last >= 100:
            group, last = group + _TENS[word], 10
        elif word == "hundred" and 0 < group < 100:
            group, last = 100 * group, 100
        elif word in _SCALES and group and (not total or total % (1000 * _SCALES[word]) == 0):
            total, group, last = total + group * _SCALES[word], 0, 10**15
        else:
            return None
    return total + group
