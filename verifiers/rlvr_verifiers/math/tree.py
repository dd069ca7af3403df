"""The typed tree that an answer is read into. To cover a new kind of answer, add a node, its grammar and its comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Literal


class UnreadableError(ValueError):
    """An answer outside the grammar (`unparsed`) or beyond its bounds (`too_large`)."""

    def __init__(self, message: str, reason: Literal["unparsed", "too_large"] = "unparsed") -> None:
        super().__init__(message)
        self.reason: Literal["unparsed", "too_large"] = reason

    def __reduce__(self) -> tuple[type[UnreadableError], tuple[str, str]]:
        return UnreadableError, (str(self), self.reason)


Written = Literal["integer", "decimal", "fraction", "scientific", "quotient"]
"""How a number was written; `quotient` is a fraction that is whole, such as 84/2, and so a division left to do."""


@dataclasses.dataclass(frozen=True, slots=True)
class Number:
    value: Fraction
    written: Written = dataclasses.field(default="integer", compare=False)
    places: int = dataclasses.field(default=0, compare=False)
    """Of a decimal: digits behind the point."""


@dataclasses.dataclass(frozen=True, slots=True)
class Symbol:
    """A letter, or a named constant: `pi`, `e`, `i` (the imaginary unit). `x_1` is a name of its own."""

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
    """The principal root; of a negative number and an odd index the real one."""

    index: int
    radicand: Node


@dataclasses.dataclass(frozen=True, slots=True)
class Function:
    """One of FUNCTIONS in `functions.py`, of one or two arguments. `log` has its base as the second."""

    name: str
    arguments: tuple[Node, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Quantity:
    """A value with a unit in normal form: `%`, `$`, `degree`, `cm`, `inch^2`."""

    value: Node
    unit: str


@dataclasses.dataclass(frozen=True, slots=True)
class BaseNumber:
    """Digits in a number base other than by default: `2A_{16}`."""

    digits: str
    base: int


@dataclasses.dataclass(frozen=True, slots=True)
class Ratio:
    """`2:3`, or a time of day such as `4:30 pm`: two or three parts."""

    parts: tuple[Node, ...]
    half: Literal["", "am", "pm"] = ""
    clock: bool = False
    """Written as a time may be, with two digits in every part but the first: only equal to the same time."""


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """Words, case folded."""

    text: str
    letters: str = dataclasses.field(default="", compare=False)
    """The word as it was written, where it is so short that it may be a product of letters."""


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """A letter and what it stands for: `(B) 42`."""

    letter: str
    content: Node


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
    braces: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Reals:
    r"""`\mathbb{R}`."""


@dataclasses.dataclass(frozen=True, slots=True)
class SetOperation:
    """Union, intersection or difference of intervals and sets, taken from left to right."""

    operator: Literal["union", "intersection", "difference"]
    left: Node
    right: Node


@dataclasses.dataclass(frozen=True, slots=True)
class Matrix:
    rows: tuple[tuple[Node, ...], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Binding:
    """`x = 5`, `f(x) = x^2` or `x in [1, 2]`: an answer with its name."""

    name: str
    value: Node


Sign = Literal["=", "<", ">", "<=", ">=", "!="]


@dataclasses.dataclass(frozen=True, slots=True)
class Relation:
    """An equation or inequality, or a chain of them: `sides` has one more than `signs`."""

    sides: tuple[Node, ...]
    signs: tuple[Sign, ...]


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
    | Function
    | Quantity
    | BaseNumber
    | Ratio
    | Text
    | Choice
    | Sequence
    | Collection
    | Reals
    | SetOperation
    | Matrix
    | Binding
    | Relation
)

Arithmetic = Number | Symbol | Infinity | Sum | Product | Quotient | Negation | PlusMinus | Power | Root | Function
"""What one can calculate with."""

CONSTANTS = frozenset(("pi", "e", "i"))
"""Symbols that have a value of their own."""


def children(node: Node) -> tuple[Node, ...]:
    """The nodes right below."""
    match node:
        case (
            Sum(parts)
            | Product(parts)
            | Function(_, parts)
            | Sequence(_, parts)
            | Collection(parts)
            | Ratio(parts)
            | Relation(parts, _)
        ):
            return parts
        case Quotient(left, right) | Power(left, right) | SetOperation(_, left, right):
            return left, right
        case Negation(part) | PlusMinus(part) | Root(_, part) | Quantity(part, _) | Binding(_, part) | Choice(_, part):
            return (part,)
        case Matrix(rows):
            return tuple(entry for row in rows for entry in row)
        case _:
            return ()


def walk(*nodes: Node) -> Iterator[Node]:
    """Every node of the trees, without recursion."""
    stack = list(nodes)
    while stack:
        node = stack.pop()
        yield node
        stack.extend(children(node))


def rebuilt(node: Node, change: Callable[[Node], Node]) -> Node:
    """The expression with its parts changed; what has no parts as it is."""
    match node:
        case Sum(parts):
            return Sum(tuple(map(change, parts)))
        case Product(parts):
            return Product(tuple(map(change, parts)))
        case Function(name, parts):
            return Function(name, tuple(map(change, parts)))
        case Quotient(left, right):
            return Quotient(change(left), change(right))
        case Power(left, right):
            return Power(change(left), change(right))
        case Root(index, part):
            return Root(index, change(part))
        case Negation(part):
            return Negation(change(part))
        case Quantity(part, unit):
            return Quantity(change(part), unit)
        case _:
            return node


def has_letter(node: Node) -> bool:
    """Whether a letter occurs that is no constant."""
    return any(isinstance(part, Symbol) and part.name not in CONSTANTS for part in walk(node))
