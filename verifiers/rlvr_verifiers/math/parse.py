"""Reads one answer into the tree of `tree.py`.

What is no formula is told by its look: words, the letter of a choice, digits in a base. The rest is cut into tokens and read by
recursive descent over a closed grammar, capped in length and depth. Nothing is looked up, evaluated or executed.
"""

from __future__ import annotations

import re
from fractions import Fraction

from rlvr_verifiers.math.grammar import Grammar
from rlvr_verifiers.math.lex import tokens
from rlvr_verifiers.math.quantities import in_base
from rlvr_verifiers.math.spelling import clean, without_fonts
from rlvr_verifiers.math.tree import Choice, Collection, Node, Number, Reals, SetOperation, Symbol, UnreadableError
from rlvr_verifiers.math.words import ALL_REALS, ANOTHER_CHOICE, BASE, CHOICE, LONE_CHOICE, as_words, base_of, plain_words

MAX_LENGTH = 2_000
"""Characters of one answer."""
_INTEGER = re.compile(r"-?\d{1,600}")


def parse(answer: str) -> Node:
    """The tree of an answer. Raises UnreadableError, and nothing else, whatever the text."""
    return _parse(answer, labelled=True)


def _parse(answer: str, *, labelled: bool) -> Node:
    """`labelled`: it may begin with the letter of a choice."""
    if len(answer) > MAX_LENGTH:
        raise UnreadableError(f"an answer of {len(answer)} characters is over the limit of {MAX_LENGTH}", "too_large")
    text = clean(answer)
    if _INTEGER.fullmatch(text):  # most answers
        return Number(Fraction(int(text)))
    if not text:
        raise UnreadableError("the answer is empty")
    if len(text) > MAX_LENGTH:
        raise UnreadableError(f"an answer of {len(text)} characters is over the limit of {MAX_LENGTH}", "too_large")
    node = plain_words(text) or (_choice(text) if labelled else None) or _based(text) or _real_numbers(text)
    if node is not None:
        return node
    found = tokens(text)
    if len(found) == 1 and found[0].kind == "text":
        return _parse_text(found[0].text)
    return Grammar(found, _parse_text).answer()


def _choice(text: str) -> Node | None:
    lone = LONE_CHOICE.fullmatch(without_fonts(text))
    if lone:
        return Symbol(lone[1])
    match = CHOICE.fullmatch(text)
    if match is None:
        return None
    letter, content = match[1] or match[2], match[3]
    if ANOTHER_CHOICE.search(content):
        return None
    try:
        return Choice(letter, _parse(content, labelled=False))
    except UnreadableError:
        return None


def _based(text: str) -> Node | None:
    if "_" not in text and "base" not in text:
        return None
    match = BASE.fullmatch("".join(without_fonts(text).replace(r"\,", "").replace("{", "").replace("}", "").split()))
    base = base_of(match[3]) if match else 0
    return in_base(match[1] + match[2], base) if match and base and (match[2][0].isdigit() or base > 10) else None


def _real_numbers(text: str) -> Node | None:
    """`all real numbers except 2`, `all real x > 2`."""
    if "all" not in text:
        return None
    match = ALL_REALS.fullmatch(" ".join(without_fonts(text).split()))
    if match is None:
        return None
    if match[2] is None:
        return _parse(match[1], labelled=False) if match[1] else Reals()
    left_out = _parse(match[2], labelled=False)
    items = left_out.items if isinstance(left_out, Collection) else (left_out,)
    return SetOperation("difference", Reals(), Collection(items, braces=True))


def _parse_text(content: str) -> Node:
    r"""The inside of `\text{}`: often an answer of its own, such as a letter or a number with a unit."""
    if r"\text" not in content:
        try:
            return parse(content)
        except UnreadableError:
            if not content.strip():
                raise
    return as_words(content)
