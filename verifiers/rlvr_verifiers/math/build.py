"""Puts nodes together: folds fractions of numbers, expands plus-minus, and refuses to calculate with what is no number."""

from __future__ import annotations

import re
from fractions import Fraction

from rlvr_verifiers.math.tree import (
    Infinity,
    Negation,
    Node,
    Number,
    PlusMinus,
    Power,
    Product,
    Quantity,
    Quotient,
    Root,
    Sum,
    Symbol,
    UnreadableError,
)

_ARITHMETIC = (Number, Symbol, Infinity, Sum, Product, Quotient, Negation, PlusMinus, Power, Root)


def operands(*nodes: Node) -> tuple[Node, ...]:
    """The nodes, if one can calculate with all of them: a set or a text in a sum is an error here and not later."""
    for node in nodes:
        if not isinstance(node, _ARITHMETIC):
            raise UnreadableError(f"one cannot calculate with a {type(node).__name__.lower()}")
    return nodes


def negated(node: Node) -> Node:
    if isinstance(node, Number):
        return Number(-node.value)
    if isinstance(node, Infinity):
        return Infinity(not node.negative)
    return Negation(*operands(node))


def quotient(numerator: Node, denominator: Node) -> Node:
    if isinstance(numerator, Number) and isinstance(denominator, Number) and denominator.value:
        return Number(numerator.value / denominator.value)
    return Quotient(*operands(numerator, denominator))


def decimal(text: str) -> Fraction:
    whole, _, part = re.sub(r"[^\d.]", "", text).partition(".")
    return Fraction(int(whole + part), 10 ** len(part))


def signed(node: Node, sign: int) -> Node:
    """The tree with every plus-minus taken as plus (sign 1) or minus (sign -1)."""
    match node:
        case PlusMinus(operand):
            inner = signed(operand, sign)
            return inner if sign > 0 else negated(inner)
        case Sum(terms):
            return Sum(tuple(signed(term, sign) for term in terms))
        case Product(factors):
            return Product(tuple(signed(factor, sign) for factor in factors))
        case Quotient(numerator, denominator):
            return Quotient(signed(numerator, sign), signed(denominator, sign))
        case Negation(operand):
            return Negation(signed(operand, sign))
        case Power(operand, exponent):
            return Power(signed(operand, sign), signed(exponent, sign))
        case Root(index, radicand):
            return Root(index, signed(radicand, sign))
        case Quantity(value, unit):
            return Quantity(signed(value, sign), unit)
        case _:
            return node
