"""A node read as another kind: the unit in a product, the equation in a binding, the letter of a choice, the hour on 24."""

from __future__ import annotations

from fractions import Fraction

from rlvr_verifiers.math.tree import (
    Binding,
    Choice,
    Collection,
    Function,
    Matrix,
    Node,
    Number,
    Power,
    Product,
    Quantity,
    Quotient,
    Ratio,
    Relation,
    Sequence,
    SetOperation,
    Symbol,
    Text,
)
from rlvr_verifiers.math.units import read_unit, unit_name
from rlvr_verifiers.math.words import normal_text


def choice_letter(node: Node) -> str:
    match node:
        case Choice(letter, _):
            return letter
        case Symbol(name) if len(name) == 1 and name.isupper():
            return name
        case _:
            return ""


def letter_of(relation: Relation) -> str:
    return next((side.name for side in relation.sides if isinstance(side, Symbol)), "")


def equation(node: Node) -> Relation:
    if isinstance(node, Binding):
        return Relation((Symbol(node.name), node.value), ("=",))
    assert isinstance(node, Relation)
    return node


def value_and_unit(node: Node) -> tuple[Node, str]:
    return (node.value, node.unit) if isinstance(node, Quantity) else (node, "")


def in_places(names: str, answers: Collection) -> Sequence | None:
    """`a = 3, b = 4` in the order of `(a,b)`."""
    values = {item.name: item.value for item in answers.items if isinstance(item, Binding)}
    order = names[1:-1].split(",")
    if len(values) != len(answers.items) or sorted(values) != sorted(order):
        return None
    return Sequence("()", tuple(values[name] for name in order))


def as_point(node: Node) -> Node:
    """`x = 3, y = -2` as (3, -2): by the alphabet, which is how coordinates are named."""
    if isinstance(node, Collection) and len(node.items) > 1:
        names = [item.name for item in node.items if isinstance(item, Binding) and len(item.name) == 1]
        if len(names) == len(node.items) == len(set(names)):
            return in_places(f"({','.join(sorted(names))})", node) or node
    return node


def as_column(node: Node) -> Node:
    r"""`(1, 2)` and `\binom{1}{2}` as a column of a matrix."""
    match node:
        case Sequence("()", items):
            return Matrix(tuple((item,) for item in items))
        case Function("binomial", items):
            return Matrix(tuple((item,) for item in items))
        case _:
            return node


def on_24_hours(time: Ratio) -> tuple[Node, ...]:
    hour = time.parts[0]
    if not time.half or not isinstance(hour, Number):
        return time.parts
    return Number(hour.value % 12 + (12 if time.half == "pm" else 0)), *time.parts[1:]


def trailing_unit(node: Node, unit: str) -> tuple[Node, str]:
    """`5m` and `9.8 m/s^2` read as a product, where the other side says that the letters are a unit."""
    numbers: list[Node] = []
    powers: dict[str, int] = {}
    _take_apart(node, 1, numbers, powers)
    named = read_unit(" ".join(f"{name}^{power}" for name, power in powers.items())) if powers else None
    if len(numbers) == 1 and named is not None and unit_name(named) == unit:
        return numbers[0], unit
    return node, ""


def _take_apart(node: Node, power: int, numbers: list[Node], powers: dict[str, int]) -> None:
    """Letters and their powers; everything else is a number, of which there may be one."""
    match node:
        case Product(factors):
            for factor in factors:
                _take_apart(factor, power, numbers, powers)
        case Quotient(numerator, denominator) if isinstance(denominator, Symbol | Power | Product):
            _take_apart(numerator, power, numbers, powers)
            _take_apart(denominator, -power, numbers, powers)
        case Power(Symbol(name), Number(exponent)) if exponent.denominator == 1 and abs(exponent) < 10:
            powers[name] = powers.get(name, 0) + power * exponent.numerator
        case Symbol(name) if len(name) == 1:
            powers[name] = powers.get(name, 0) + power
        case Number(value) if value == 1:
            pass
        case _:
            numbers.append(node)


def hundredth(node: Node) -> Node:
    if isinstance(node, Number):
        return Number(node.value / 100, "decimal" if node.written != "quotient" else "quotient")
    return Quotient(node, Number(Fraction(100)))


def parts(node: Node) -> tuple[Node, ...]:
    if isinstance(node, SetOperation) and node.operator == "union":
        return (*parts(node.left), *parts(node.right))
    return (node,)


def as_text(node: Node) -> str:
    return node.text if isinstance(node, Text) else normal_text(node.name) if isinstance(node, Symbol) else ""


def as_product(node: Node) -> Node:
    """`cx` where the other side is `c x`."""
    if isinstance(node, Text) and node.letters:
        return Product(tuple(Symbol(letter) for letter in node.letters))
    return node


def define_one_function(name: str, other: str) -> bool:
    """`y = 3x` and `f(x) = 3x`."""
    return "y" in (name, other) and any(len(side) == 4 and side[1] == "(" and side[2] != "y" for side in (name, other))
