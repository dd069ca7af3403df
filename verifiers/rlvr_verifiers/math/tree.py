"""The typed tree that an answer is read into. To cover a new kind of answer, add a node, its grammar and its comparison."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Literal


class UnreadableError(ValueError):
    """An answer outside the grammar (`unparsed`) or beyond its bounds (`too_large`)."""

    def __init__(self, message: str, reason: Literal["unparsed", "too_large"] = "unparsed") -> None:
        super().__init__(message)
        self.reason: Literal["unparsed", "too_large"] = reason

    def __reduce__(self) -> tuple[type[UnreadableError], tuple[str, str]]:
        return UnreadableError, (str(self), self.reason)


@dataclasses.dataclass(frozen=True, slots=True)
class Number:
    value: Fraction


@dataclasses.dataclass(frozen=True, slots=True)
class Symbol:
    """A letter, or a named constant such as pi. `i` is the imaginary unit."""

    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Infinity:
    negative: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Sum:
    """Flat, so that a long chain stays a shallow tree."""

    terms: tuple[Node, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Product:
    factors: tuple[Node, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Quotient:
    numerator: Node
    denominator: Node


@dataclasses.dataclass(frozen=True, slots=True)
class Negation:
    operand: Node


@dataclasses.dataclass(frozen=True, slots=True)
class PlusMinus:
    """Both signs at once; the parser expands it into two answers, so it never leaves there."""

    operand: Node


@dataclasses.dataclass(frozen=True, slots=True)
class Power:
    operand: Node
    exponent: Node


@dataclasses.dataclass(frozen=True, slots=True)
class Root:
    index: int
    radicand: Node


@dataclasses.dataclass(frozen=True, slots=True)
class Quantity:
    """A value with a unit in normal form: `%`, `$`, `degree`, `cm`, `inch^2`, `base 8`."""

    value: Node
    unit: str


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """Words, case folded."""

    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Sequence:
    """A tuple, point or interval: order and both brackets matter."""

    brackets: str
    items: tuple[Node, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Collection:
    """A set in braces, or several answers in a row: order does not matter. `alternatives`: joined by "or"."""

    items: tuple[Node, ...]
    alternatives: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Union:
    """Intervals or sets joined by a cup."""

    parts: tuple[Node, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Binding:
    """`x = 5` or `x in [1, 2]`."""

    name: str
    value: Node


Node = (
    Number
    | Symbol
    | Infinity
    | Sum
    | Product
    | Quotient
    | Negation
    | PlusMinus
    | Power
    | Root
    | Quantity
    | Text
    | Sequence
    | Collection
    | Union
    | Binding
)
