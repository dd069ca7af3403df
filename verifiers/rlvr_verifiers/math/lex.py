"""Cuts an answer into tokens. One regular expression, linear in the text."""

# ruff: noqa: RUF001

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Kind = Literal["number", "word", "text", "command", "mark", "end"]


class Token(NamedTuple):
    kind: Kind
    text: str
    start: int
    end: int


END = Token("end", "", -1, -1)

# Characters that stand for what TeX or ASCII writes otherwise; zero-width ones vanish.
_UNICODE = str.maketrans(
    {
        "−": "-", "–": "-", "×": "*", "·": "*", "⋅": "*", "∗": "*", "÷": "/", "⁄": "/", "∕": "/", "±": r"\pm ",
        "π": r"\pi ", "∞": r"\infty ", "°": r"^\circ ", "√": r"\sqrt ", "∪": r"\cup ", "∈": r"\in ", "∅": r"\emptyset ",
        "²": "^2", "³": "^3", "⁴": "^4", "⁵": "^5", "⁶": "^6",
        "½": r"\frac12 ", "¼": r"\frac14 ", "¾": r"\frac34 ", "⅓": r"\frac13 ", "⅔": r"\frac23 ",
        "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u200b": "", "\u2060": "", "\ufeff": "", "’": "'",
        **{chr(0xFF10 + digit): str(digit) for digit in range(10)},
    }
)  # fmt: skip

_TOKEN = re.compile(
    r"""
      (?P<space> (?: \s | ~ | \\[,;:!\ ] | \\(?:left|right)\.
                   | \\(?:q?quad|left|right|[bB]igg?[lr]?|displaystyle|textstyle)(?![a-zA-Z]) )+ )
    | (?P<number> \d+ (?: (?:,\\!|\{,\}|\\,|\\!) \s? \d{3} (?!\d) )* (?:\.\d+)? | \.\d+ )
    | \\(?:text|mbox|textrm|textbf|textit|mathrm|mathbf|mathit|mathsf|operatorname) \s? \{ (?P<text> [^{}]* ) \}
    | (?P<command> \\[a-zA-Z]+ )
    | (?P<word> [ap]\.m\b\.? | [^\W\d_]+ )
    | (?P<mark> \\. | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_SINGLE_DOLLAR = re.compile(r"(?<!\\)\$")


def clean(answer: str) -> str:
    """Without math delimiters, emphasis, a final full stop, and with Unicode signs in their TeX spelling."""
    text = answer if answer.isascii() else answer.translate(_UNICODE)
    if "$" in text and len(_SINGLE_DOLLAR.findall(text)) % 2 == 0:
        text = _SINGLE_DOLLAR.sub(" ", text)  # pairs are delimiters, a lone one is money
    if "\\" in text:
        for delimiter in (r"\(", r"\)", r"\[", r"\]"):
            text = text.replace(delimiter, " ")
    return text.strip().strip("*`").rstrip(".,; ").strip()


def tokens(text: str) -> list[Token]:
    found: list[Token] = []
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind != "space" and (kind != "text" or match["text"].strip()):
            found.append(Token(kind, match[kind], match.start(), match.end()))  # type: ignore[arg-type]
    return found
