"""Answers in words: plain text in one normal form, numbers spelt out, multiple choice, and phrases that mean a set."""

from __future__ import annotations

import re
from fractions import Fraction

from rlvr_verifiers.math.application import INFINITIES
from rlvr_verifiers.math.functions import function_name
from rlvr_verifiers.math.number_words import spelled_number
from rlvr_verifiers.math.tree import Collection, Node, Number, Quantity, Ratio, Reals, Text
from rlvr_verifiers.math.units import read_unit, unit_name

_WORDS = re.compile(r"[^\W\d_][^\W\d_' ,\-]*(?:[' ,\-]+[^\W\d_]+)*(?: \d{1,4})?")
_ARTICLE = re.compile(r"(?:(?:it is|it's|this is) )?(?:an?|the) (?=.{3})|(?:it is|it's|this is) (?=.{3})|on (?=[a-z]+day\Z)")
_SPLIT = re.compile(r"[ ,]+")
_NO_SOLUTION = Text("no solution")
_TWELVE = (Number(Fraction(12)), Number(Fraction(0)))
_PHRASES: dict[str, Node] = {
    **dict.fromkeys(("all real numbers", "all reals", "real numbers", "the real numbers", "all real"), Reals()),
    **dict.fromkeys(("dne", "does not exist", "the limit does not exist"), Text("does not exist")),
    **dict.fromkeys(("empty set", "null set"), Collection((), braces=True)),
    "none": _NO_SOLUTION,
    "noon": Ratio(_TWELVE, "pm", clock=True),
    "midnight": Ratio(_TWELVE, "am", clock=True),
}
_NOTHING = re.compile(
    r"(?:there (?:is|are) )?no (?:such )?(?:real |integer |possible )?(?:solutions?|values?|roots?)(?: exists?)?"
)
_MONTHS = "january february march april may june july august september october november december"
_MONTH = "|".join(_MONTHS.split())
_DATE = re.compile(
    rf"(?:({_MONTH}),? (\d{{1,2}})(?:st|nd|rd|th)?|(\d{{1,2}})(?:st|nd|rd|th)?(?: of)? ({_MONTH}))(?:,? (\d{{4}}))?"
)
ALL_REALS = re.compile(
    r"all (?:the )?(?:real(?:s| numbers| values)?|numbers|values|(?=[a-z] ))(?: of)?(?: ?[a-z](?= |\Z))?"
    r"(?:(?:(?: such that)? ?(?=[a-z] ?[<>\\]))(.+)|,? (?:except(?: for)?|other than|but|not equal to|excluding) (?:[a-z] ?= ?)?(.+))?"
)
"""Every real number; with a condition (first group), or without some (second group)."""
CHOICE = re.compile(
    r"(?:\\(?:text|textbf|mathrm|mathbf)\s?\{\s?)?(?:\(\s?([A-J])\s?\)|([A-J])[.):])\s?\}?(?:\s|~|\\[ ,;:])+(?![,&]|and\b|or\b)(\S.*)",
    re.DOTALL,
)
ANOTHER_CHOICE = re.compile(r"\bor\b|\([A-J]\)|\b[A-J](?:[.)]|\s*\Z)")
"""In what follows the letter of a choice: `(B) or (C)` chooses nothing."""
LONE_CHOICE = re.compile(
    r"(?:(?:[Tt]he )?(?:[Cc]orrect )?(?:[Oo]ption|[Cc]hoice|[Aa]nswer)(?: is)?:? ?\(?|\()?([A-J])[.):]?\)?"
)
BASE = re.compile(
    r"(-?)\(?([0-9A-Z]+(?:\.[0-9A-Z]+)?|(?:\\overline)?[0-9]+)\)?(?:_\(?(?:base)?|\(?(?:in)?base-?)(\d{1,2}|[a-z]{3,7})\)?"
)
"""Digits of which some may be letters, and a base: sign, digits, and the base, with no spaces, fonts or braces between them."""


def plain_words(text: str) -> Node | None:
    """Words such as `east` or `not enough`; a lone letter and the names of constants and functions are not words."""
    if _DATE.fullmatch(text.casefold()):
        return as_words(text)
    if not _WORDS.fullmatch(text):
        return None
    words = [word for word in _SPLIT.split(text.casefold()) if word not in ("and", "or")]
    if not any(len(word) > 1 and not word.isdigit() for word in words) or (len(words[0]) < 3 and words[-1].isdigit()):
        return None
    if any(word in ("pi", "sqrt") or word in INFINITIES or function_name(word) for word in words):
        return None
    return as_words(text)


def as_words(text: str) -> Node:
    """The text in normal form, or what it stands for: `seven`, `six ways`, `all real numbers`."""
    normal = normal_text(text)
    number = _counted(" ".join(text.casefold().split()).strip(" .!")) or _counted(normal)
    if number is not None:
        return number
    if _NOTHING.fullmatch(normal):
        return _NO_SOLUTION
    if date := _DATE.fullmatch(normal):
        return Text(" ".join(part for part in (date[1] or date[4], date[2] or date[3], date[5]) if part))
    letters = text.strip()
    return _PHRASES.get(normal) or Text(normal, letters if letters.isalpha() and len(letters) <= 4 else "")


def _counted(normal: str) -> Node | None:
    """`thirty-five`, and `six ways`: a number in words, with its unit."""
    words = normal.split()
    for count in range(len(words), max(0, len(words) - 3), -1):
        value = spelled_number(" ".join(words[:count]))
        if value is not None:
            number = Number(value, "integer" if value.denominator == 1 else "fraction")
            unit = read_unit(" ".join(words[count:])) if count < len(words) else {}
            return None if unit is None else Quantity(number, unit_name(unit)) if unit else number
    return None


def normal_text(text: str) -> str:
    normal = " ".join(text.casefold().split()).strip(" .!\"'")
    return _ARTICLE.sub("", normal, count=1) if _ARTICLE.match(normal) else normal


def base_of(name: str) -> int:
    """2 to 36 from `8` or `eight`; 0 where it is no base."""
    value = Fraction(int(name)) if name.isdigit() else spelled_number(name)
    return value.numerator if value is not None and 2 <= value <= 36 else 0
