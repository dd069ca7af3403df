"""Answers in words: plain text in one normal form, numbers spelt out, multiple choice, and phrases that mean a set."""

from __future__ import annotations

import re
from fractions import Fraction

from rlvr_verifiers.math.expression import INFINITIES
from rlvr_verifiers.math.functions import function_name
from rlvr_verifiers.math.tree import Node, Number, Reals, Text

_WORDS = re.compile(r"[^\W\d_][^\W\d_' ,\-]*(?:[' ,\-]+[^\W\d_]+)*(?: \d{1,4})?")
_ARTICLE = re.compile(r"(?:(?:it is|it's|this is) )?(?:an?|the) (?=.{3})|(?:it is|it's|this is) (?=.{3})")
_SPLIT = re.compile(r"[ ,]+")
_SMALL = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen twenty"""
_TENS = "thirty forty fifty sixty seventy eighty ninety"
_NUMBERS = {
    **{word: value for value, word in enumerate(_SMALL.split())},
    **{word: 10 * value for value, word in enumerate(_TENS.split(), 3)},
    "hundred": 100,
}
_PHRASES: dict[str, Node] = {
    **dict.fromkeys(("all real numbers", "all reals", "real numbers", "the real numbers", "all real"), Reals()),
    **dict.fromkeys(("no solution", "no solutions", "no real solution", "no real solutions", "there is no solution",
                     "there are no solutions"), Text("no solution")),
    **dict.fromkeys(("dne", "does not exist", "the limit does not exist"), Text("does not exist")),
}  # fmt: skip
CHOICE = re.compile(
    r"(?:\\(?:text|textbf|mathrm|mathbf)\s?\{\s?)?(?:\(\s?([A-J])\s?\)|([A-J])[.):])\s?\}?(?:\s|~|\\[ ,;:])+(?![,&]|and\b|or\b)(\S.*)",
    re.DOTALL,
)
ANOTHER_CHOICE = re.compile(r"\bor\b|\([A-J]\)|\b[A-J](?:[.)]|\s*\Z)")
"""In what follows the letter of a choice: `(B) or (C)` chooses nothing."""
LONE_CHOICE = re.compile(r"([A-J])\)")
BASE = re.compile(
    r"(-?)\s?([0-9][0-9A-F]*|[0-9A-F]+)\s?"
    r"(?:_(?:(\d)|\{(?:\\text\{)?(\d{1,2}|[a-z]{3,7})\}{1,2})|\s\(?(?:in )?base[ -]?(\d{1,2}|[a-z]{3,7})\)?)"
)
"""Digits of which some may be letters, and a base: sign, digits, and the base in one of three groups."""


def plain_words(text: str) -> Node | None:
    """Words such as `east` or `not enough`; a lone letter and the names of constants and functions are not words."""
    if not _WORDS.fullmatch(text):
        return None
    words = [word for word in _SPLIT.split(text.casefold()) if word not in ("and", "or")]
    if not any(len(word) > 1 and not word.isdigit() for word in words) or (len(words[0]) < 3 and words[-1].isdigit()):
        return None
    if any(word in ("pi", "sqrt") or word in INFINITIES or function_name(word) for word in words):
        return None
    return as_words(text)


def as_words(text: str) -> Node:
    """The text in normal form, or what it stands for: `seven`, `all real numbers`."""
    normal = normal_text(text)
    if normal in _NUMBERS:
        return Number(Fraction(_NUMBERS[normal]))
    letters = text.strip()
    return _PHRASES.get(normal) or Text(normal, letters if letters.isalpha() and len(letters) <= 4 else "")


def normal_text(text: str) -> str:
    normal = " ".join(text.casefold().split()).strip(" .!\"'")
    return _ARTICLE.sub("", normal, count=1) if _ARTICLE.match(normal) else normal


def base_of(name: str) -> int:
    """2 to 36 from `8` or `eight`; 0 where it is no base."""
    value = int(name) if name.isdigit() else _NUMBERS.get(name, 0)
    return value if 2 <= value <= 36 else 0
