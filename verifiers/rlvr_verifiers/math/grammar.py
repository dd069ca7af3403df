"""Whole answers: lists, relations, brackets, sets and matrices around the values of `quantities.py`."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from rlvr_verifiers.math.build import operands, quotient, signed
from rlvr_verifiers.math.lex import END, Token
from rlvr_verifiers.math.quantities import Quantities
from rlvr_verifiers.math.tree import (
    CONSTANTS,
    Binding,
    Collection,
    Function,
    Matrix,
    Node,
    Number,
    Product,
    Relation,
    Sequence,
    Sign,
    Symbol,
    Text,
    UnreadableError,
)

MAX_ENTRIES = 64
"""Of a matrix, and of a list whose dots are filled in."""
_SIGNS: dict[str, Sign] = {"=": "=", r"\equiv": "=", "<": "<", ">": ">", "<=": "<=", ">=": ">=", "!=": "!="}
_MATRICES = frozenset(["matrix", "pmatrix", "bmatrix", "Bmatrix", "smallmatrix", "array"])
_WHOLE_NUMBERS = ("mathbb Z", "mathbb N")


class Grammar(Quantities):
    """`read_text` reads the inside of a text."""

    def __init__(self, found: list[Token], read_text: Callable[[str], Node]) -> None:
        super().__init__(found)
        self._inner = read_text

    def _read_text(self, content: str) -> Node:
        return self._inner(content)

    def answer(self) -> Node:
        items, alternatives = self._items()
        if self._peek() is not END:
            raise self._unexpected()
        stated = tuple(item for item in items if not _is_condition(item)) or items
        return stated[0] if len(stated) == 1 else Collection(stated, alternatives)

    # -- lists ----------------------------------------------------------------------------------------------------

    def _items(self, *, group: bool = False) -> tuple[tuple[Node, ...], bool]:
        """Items up to something that joins no more, and whether an "or" joined them.

        `group`: one expression alone is a bracketed operand, and its plus-minus belongs to the expression outside.
        """
        items: list[Node] = []
        alternatives, outside = False, self._plus_minus
        while True:
            self._plus_minus = False
            if items and self._take("..."):
                self._joiners()
                items += self._filled(items)
                continue
            value = self._item()
            if group and not items and self._at(")", "]", "}"):
                self._plus_minus = self._plus_minus or outside
                return (value,), False
            items += _both_signs(value) if self._plus_minus else (value,)
            joiners = self._joiners()
            alternatives = alternatives or "or" in joiners
            if not joiners or self._peek() is END:
                self._plus_minus = outside
                return tuple(items), alternatives

    def _filled(self, items: list[Node]) -> list[Node]:
        """What the dots of `1, 2, ..., 10` stand for, up to the item behind them, which is left to read."""
        before, after = items[-2:], self._peek()
        if not (len(before) == 2 and all(isinstance(item, Number) for item in before) and after.kind == "number"):
            raise UnreadableError("dots between what are not numbers")
        first, second = (item.value for item in before if isinstance(item, Number))
        step = second - first
        count = (Fraction(after.text) - second) / step if step else Fraction(0)
        if count.denominator != 1 or not 1 <= count <= MAX_ENTRIES:
            raise UnreadableError("dots that lead nowhere")
        return [Number(second + step * index) for index in range(1, count.numerator)]

    def _joiners(self) -> list[str]:
        found: list[str] = []
        while (token := self._peek()) is not END:
            word = token.text.casefold().strip(" ,") or "," if token.kind in ("word", "text") else token.text
            if word not in ("and", "or", ",", ";", "\\\\", "&"):
                break
            found.append(word)
            self._position += 1
        return found

    # -- relations ------------------------------------------------------------------------------------------------

    def _item(self) -> Node:
        start = self._position
        self._take(r"\approx")
        sides, signs = [self._set()], list[Sign]()
        called = self._called(start)
        while self._peek() is not END:
            if self._take(r"\in"):
                return Binding(_name(sides[0], called) or self._not_a_name(), self._set())
            if self._at(r"\approx"):
                self._position += 1
                approximation = self._set()
                if _name(sides[-1], called) is not None and not signs:
                    return Binding(_name(sides[-1], called) or "", approximation)
                break
            sign = _SIGNS.get(self._peek().text) if self._peek().kind in ("mark", "command") else None
            if sign is None:
                break
            self._position += 1
            sides.append(self._set())
            signs.append(sign)
        return _related(sides, signs, called)

    def _called(self, start: int) -> str | None:
        """`f(x)` where the side just read is nothing but that."""
        texts = [token.text for token in self._tokens[start : self._position]]
        if len(texts) < 4 or len(texts) > 8 or texts[1] != "(" or texts[-1] != ")" or not texts[0].isalpha():
            return None
        inner = texts[2:-1]
        return "".join(texts) if all(text == "," or (text.isalpha() and len(text) == 1) for text in inner) else None

    def _not_a_name(self) -> str:
        raise UnreadableError("only a name is an element of something")

    # -- brackets -------------------------------------------------------------------------------------------------

    def _bracketed(self, opening: str) -> Node:
        if opening == r"\{":
            return self._braces()
        state = self._brackets, self._bars
        self._brackets, self._bars = 0 if opening == "{" else self._brackets + 1, 0
        node = self._nested_rows() if opening == "[" and self._at("[") else self._group(opening)
        self._brackets, self._bars = state
        return node

    def _group(self, opening: str) -> Node:
        items = self._items(group=True)[0]
        if len(items) == 1 and self._at(r"\over", r"\choose"):
            infix = self._next().text
            below = self._items(group=True)[0][0]
            items = (quotient(items[0], below) if infix == r"\over" else Function("binomial", (items[0], below)),)
        closing = self._next().text
        if opening + closing in ("{}", "()", "[]") and len(items) == 1:
            return items[0]
        if opening + closing == "{}":
            return Collection(items, braces=True)
        if opening in "([" and closing in (")", "]") and len(items) > 1:
            return Sequence(opening + closing, items)
        raise UnreadableError(f"{opening!r} is closed by {closing[:10]!r}")

    def _nested_rows(self) -> Node:
        """`[[1, 2], [3, 4]]`: a matrix."""
        rows: list[tuple[Node, ...]] = []
        while self._take("["):
            row = self._items()[0]
            self._expect("]")
            rows.append(row)
            self._take(",")
        self._expect("]")
        if len({len(row) for row in rows}) != 1 or len(rows) < 2:
            raise UnreadableError("the rows of a matrix have different lengths")
        return Matrix(tuple(rows))

    def _braces(self) -> Node:
        r"""A set: `\{1, 2\}`, or `\{x \mid x > 2\}`, which is its condition."""
        if self._take(r"\}"):
            return Collection((), braces=True)
        state = self._brackets, self._bars
        self._brackets, self._bars = self._brackets + 1, 0
        builder = self._builder()
        items, alternatives = self._items()
        self._expect(r"\}")
        self._brackets, self._bars = state
        if builder:
            return items[0] if len(items) == 1 else Collection(items, alternatives)
        return Collection(items, braces=True)

    def _builder(self) -> bool:
        r"""Skips the `x \mid` or `x \in \mathbb{R} :` of a set-builder."""
        if self._peek().kind != "word" or len(self._peek().text) != 1:
            return False
        ahead = 1
        if self._peek(1).text == r"\in":
            ahead = 6
            if self._peek(2).text != r"\mathbb" or self._peek(4).text != "R":
                return False
        if self._peek(ahead).text not in ("|", ":"):
            return False
        self._position += ahead + 1
        return True

    # -- matrices -------------------------------------------------------------------------------------------------

    def _matrix(self) -> Node:
        self._expect("{")
        name = self._next().text
        self._expect("}")
        if name not in _MATRICES:
            raise UnreadableError(f"the environment {name[:40]!r} is outside the grammar")
        if name == "array" and self._take("{"):
            while not self._take("}"):
                self._next()
        rows = self._enclosed(self._rows, r"\end")
        self._expect("{")
        if self._next().text != name:
            raise UnreadableError(f"{name} is closed by another environment")
        self._expect("}")
        return rows

    def _rows(self) -> Node:
        rows: list[tuple[Node, ...]] = []
        row: list[Node] = []
        count = 0
        while True:
            row.append(operands(self._sum())[0])
            count += 1
            if count > MAX_ENTRIES:
                raise UnreadableError(f"a matrix of more than {MAX_ENTRIES} entries", "too_large")
            if self._take("&"):
                continue
            rows.append(tuple(row))
            row = []
            if self._take("\\\\") and not self._at(r"\end"):
                continue
            break
        if len({len(row) for row in rows}) != 1:
            raise UnreadableError("the rows of a matrix have different lengths")
        return Matrix(tuple(rows))


def _is_condition(node: Node) -> bool:
    r"""`n \in \mathbb{Z}`, which says of what kind the letter of another item is."""
    return isinstance(node, Binding) and isinstance(node.value, Symbol) and node.value.name in _WHOLE_NUMBERS


def _both_signs(value: Node) -> tuple[Node, ...]:
    if isinstance(value, Binding):
        return tuple(Binding(value.name, signed(value.value, sign)) for sign in (1, -1))
    if isinstance(value, Relation):
        return tuple(Relation(tuple(signed(side, sign) for side in value.sides), value.signs) for sign in (1, -1))
    return signed(value, 1), signed(value, -1)


def _name(node: Node, called: str | None) -> str | None:
    """The name that a side of an equation is, such as `x`, `f(x)`, `AB`, `(x,y)` or `Area`."""
    match node:
        case Symbol(name):
            return None if name in CONSTANTS else name
        case Sequence(_, items) if all(isinstance(item, Symbol) for item in items):
            return f"({','.join(item.name for item in items if isinstance(item, Symbol))})"
        case Text(text):
            return text
        case Product(factors) if called is None:
            names = [factor.name for factor in factors if isinstance(factor, Symbol)]
            return "".join(names) if len(names) == len(factors) and all(name.isupper() for name in names) else None
        case _:
            return called


def _related(sides: list[Node], signs: list[Sign], called: str | None) -> Node:
    if not signs:
        return sides[0]
    if set(signs) == {"="}:
        name = _name(sides[0], called)
        if name is not None:
            value = sides[1] if len(sides) == 2 else Relation(tuple(sides[1:]), tuple(signs[1:]))
            return Binding(name, value)
        if len(sides) == 2 and isinstance(sides[1], Symbol) and isinstance(sides[0], Number):
            reverse = _name(sides[1], None)
            if reverse is not None:
                return Binding(reverse, sides[0])
    return Relation(tuple(sides), tuple(signs))
