"""Puts nodes together: folds fractions of numbers, expands plus-minus, and refuses to calculate with what is no number."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence as Items
from fractions import Fraction

from rlvr_verifiers.math.tree import (
    Arithmetic,
    Infinity,
    Matrix,
    Negation,
    Node,
    Number,
    PlusMinus,
    Power,
    Product,
    Quotient,
    UnreadableError,
    rebuilt,
)

MAX_WRITTEN_EXPONENT = 400
"""Scientific notation up to this power of ten is one number; above, a product that is compared without being evaluated."""

TEN = Number(Fraction(10))
_NO_DIGIT = re.compile(r"[^\d.]")


def operands(*nodes: Node) -> tuple[Node, ...]:
    """The nodes, if one can calculate with all of them: a set or a text in a sum is an error here and not later."""
    for node in nodes:
        if not isinstance(node, Arithmetic):
            raise UnreadableError(f"one cannot calculate with a {type(node).__name__.lower()}")
    return nodes


def integer(value: int) -> Number:
    return Number(Fraction(value))


def negated(node: Node) -> Node:
    match node:
        case Number():
            return dataclasses.replace(node, value=-node.value)
        case Infinity(negative):
            return Infinity(not negative)
        case Matrix(rows):
            return Matrix(tuple(tuple(negated(entry) for entry in row) for row in rows))
        case _:
            return Negation(*operands(node))


def quotient(numerator: Node, denominator: Node) -> Node:
    if isinstance(numerator, Number) and isinstance(denominator, Number) and denominator.value:
        value = numerator.value / denominator.value
        trivial = abs(denominator.value) == 1
        return Number(value, "quotient" if value.denominator == 1 and not trivial else "fraction")
    return Quotient(*operands(numerator, denominator))


def product(factors: Items[Node]) -> Node:
    """A number times a power of ten is scientific notation; a number times a matrix is a matrix."""
    if len(factors) == 1:
        return factors[0]
    if len(factors) == 2:
        first, second = factors
        if (
            isinstance(first, Number)
            and isinstance(second, Number)
            and second.written == "scientific"
            and first.written not in ("quotient", "scientific")
        ):
            return Number(first.value * second.value, "scientific")
        if isinstance(second, Matrix):
            operands(first)
            return Matrix(tuple(tuple(_scaled(first, entry) for entry in row) for row in second.rows))
    return Product(operands(*factors))


def _scaled(factor: Node, entry: Node) -> Node:
    if isinstance(factor, Number) and isinstance(entry, Number):
        return Number(factor.value * entry.value, "fraction")
    return product((factor, entry))


def power(base: Node, exponent: Node) -> Node:
    """A power of ten is a number."""
    if isinstance(exponent, Number) and base == TEN and exponent.written == "integer":
        count = exponent.value.numerator
        if abs(count) <= MAX_WRITTEN_EXPONENT:
            return Number(Fraction(10) ** count, "scientific")
    return Power(*operands(base, exponent))


def decimal(text: str) -> Number:
    digits = _NO_DIGIT.sub("", text)
    whole, _, part = digits.partition(".")
    value = Fraction(int(whole + part), 10 ** len(part))
    return Number(value, "decimal" if part else "integer", len(part))


def repeating(text: str) -> Number:
    r"""`0.1\overline{6}`, `0.1(6)`, and `0.166...` whose last digits repeat three times or more."""
    whole, _, rest = text.partition(".")
    if rest.endswith(("...", "dots")):
        digits = re.match(r"\d*", rest)
        start, period = _tail_period(digits[0] if digits else "")
    else:
        parts = re.findall(r"\d+", rest)
        start, period = ("", parts[0]) if len(parts) == 1 else (parts[0], parts[1])
    scale = 10 ** len(start)
    value = Fraction(int((whole + start) or "0"), scale) + Fraction(int(period), scale * (10 ** len(period) - 1))
    return Number(value, "fraction")


def _tail_period(digits: str) -> tuple[str, str]:
    """(what comes before, period). Raises UnreadableError where nothing repeats, as in `3.14159...`."""
    for length in range(1, len(digits) // 2 + 1):
        period = digits[-length:]
        times = 3 if length == 1 else 2
        if digits.endswith(period * times) and len(digits) >= length * times:
            start = digits[: -length * times]
            while start.endswith(period):
                start = start[:-length]
            return start, period
    raise UnreadableError("the digits before the dots do not repeat")


def signed(node: Node, sign: int) -> Node:
    """The tree with every plus-minus taken as plus (sign 1) or minus (sign -1)."""
    match node:
        case PlusMinus(operand):
            inner = signed(operand, sign)
            return inner if sign > 0 else negated(inner)
        case Quotient(numerator, denominator):
            return quotient(signed(numerator, sign), signed(denominator, sign))
        case Negation(operand):
            return negated(signed(operand, sign))
        case _:
            return rebuilt(node, lambda part: signed(part, sign))
