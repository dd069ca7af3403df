"""Sets of real numbers: intervals, unions, differences and inequalities brought to one form, disjoint pieces in order."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

from rlvr_verifiers.math.exact import UndecidedError
from rlvr_verifiers.math.tree import (
    Binding,
    Collection,
    Infinity,
    Node,
    Reals,
    Relation,
    Sequence,
    SetOperation,
    Sign,
    Symbol,
    UnreadableError,
)

MAX_PIECES = 64

End = Fraction | float
"""A number, or minus or plus infinity. Irrational ends are rounded to some 45 digits, always in the same way."""


class Piece(NamedTuple):
    low: End
    low_closed: bool
    high: End
    high_closed: bool


RealSet = tuple[Piece, ...]
"""Disjoint, in order, no two of them touching."""

EVERYTHING: RealSet = (Piece(-math.inf, False, math.inf, False),)
_TURNED: dict[Sign, Sign] = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!=", "=": "="}


class SetReader:
    """`real_value` gives the number that a constant is, and raises UndecidedError where it has letters."""

    def __init__(self, real_value: Callable[[Node], Fraction]) -> None:
        self._real_value = real_value

    def read(self, node: Node) -> RealSet:
        """Raises UndecidedError where the node is no set of real numbers with known ends."""
        match node:
            case Reals():
                return EVERYTHING
            case Binding(_, value):
                return self.read(value)
            case Sequence(brackets, (low, high)):
                return self._interval(low, brackets[0] == "[", high, brackets[1] == "]")
            case SetOperation(operator, left, right):
                return _combined(operator, self.read(left), self.read(right))
            case Relation():
                return self._relation(node)
            case Collection(items, alternatives):
                return self._collection(items, alternatives)
            case _:
                raise UndecidedError("not a set of real numbers")

    def _collection(self, items: tuple[Node, ...], alternatives: bool) -> RealSet:
        items = tuple(item for item in items if not _is_condition(item)) or items
        if len(items) > MAX_PIECES:
            raise UnreadableError(f"a set of more than {MAX_PIECES} items", "too_large")
        if not any(isinstance(item, Relation | Sequence | SetOperation | Reals | Binding) for item in items):
            return _merged([self._point(item) for item in items])
        parts = [self.read(item) for item in items]
        if not alternatives and all(isinstance(item, Relation) for item in items):
            common = parts[0]
            for part in parts[1:]:
                common = _combined("intersection", common, part)
            if common:
                return common
        return _merged([piece for part in parts for piece in part])

    def _point(self, node: Node) -> Piece:
        value = self._real_value(node)
        return Piece(value, True, value, True)

    def _end(self, node: Node) -> End:
        return (-math.inf if node.negative else math.inf) if isinstance(node, Infinity) else self._real_value(node)

    def _interval(self, low: Node, low_closed: bool, high: Node, high_closed: bool) -> RealSet:
        start, end = self._end(low), self._end(high)
        piece = Piece(start, low_closed and start != -math.inf, end, high_closed and end != math.inf)
        if start > end:
            raise UnreadableError("an interval whose ends are the wrong way round")
        return (piece,) if start < end or (low_closed and high_closed) else ()

    def _relation(self, relation: Relation) -> RealSet:
        """`x > 3`, `3 < x`, `-2 <= x < 5`, `x != 2`: one letter alone between constants."""
        sides: tuple[Node, ...] = relation.sides
        signs: tuple[Sign, ...] = relation.signs
        if len(sides) == 2 and not isinstance(sides[0], Symbol):
            sides, signs = sides[::-1], (_TURNED[signs[0]],)
        if len(sides) == 2 and isinstance(sides[0], Symbol):
            return self._half_line(signs[0], self._end(sides[1]))
        if len(sides) == 3 and isinstance(sides[1], Symbol):
            first, second = relation.signs
            left = self._half_line(_TURNED[first], self._end(sides[0]))
            return _combined("intersection", left, self._half_line(second, self._end(sides[2])))
        raise UndecidedError("not a letter between constants")

    @staticmethod
    def _half_line(sign: Sign, end: End) -> RealSet:
        match sign:
            case "<" | "<=":
                return (Piece(-math.inf, False, end, sign == "<=" and end != math.inf),)
            case ">" | ">=":
                return (Piece(end, sign == ">=" and end != -math.inf, math.inf, False),)
            case "=":
                return (Piece(end, True, end, True),)
            case "!=":
                return _complement((Piece(end, True, end, True),))


def _combined(operator: str, left: RealSet, right: RealSet) -> RealSet:
    match operator:
        case "union":
            return _merged([*left, *right])
        case "intersection":
            return _complement(_merged([*_complement(left), *_complement(right)]))
        case _:
            return _complement(_merged([*_complement(left), *right]))


def _merged(pieces: list[Piece]) -> RealSet:
    if len(pieces) > MAX_PIECES:
        raise UnreadableError(f"a set of more than {MAX_PIECES} pieces", "too_large")
    merged: list[Piece] = []
    for piece in sorted(pieces, key=lambda piece: (piece.low, not piece.low_closed)):
        last = merged[-1] if merged else None
        if last is not None and (
            piece.low < last.high or (piece.low == last.high and (piece.low_closed or last.high_closed))
        ):
            high, closed = max((last.high, last.high_closed), (piece.high, piece.high_closed))
            merged[-1] = Piece(last.low, last.low_closed, high, closed)
        else:
            merged.append(piece)
    return tuple(merged)


def _complement(pieces: RealSet) -> RealSet:
    gaps: list[Piece] = []
    low: End = -math.inf
    closed = False
    for piece in pieces:
        if low < piece.low or (low == piece.low and closed and not piece.low_closed):
            gaps.append(Piece(low, closed, piece.low, not piece.low_closed and piece.low != -math.inf))
        low, closed = piece.high, not piece.high_closed
    if low < math.inf:
        gaps.append(Piece(low, closed, math.inf, False))
    return tuple(gaps)


def _is_condition(node: Node) -> bool:
    r"""`x \in \mathbb{R}`, beside what says more."""
    return isinstance(node, Binding) and isinstance(node.value, Reals)
