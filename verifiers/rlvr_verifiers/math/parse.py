"""Reads one answer into the tree of `tree.py`: lists, relations, sets, units and names around the arithmetic of `expression.py`.

A recursive descent over a closed grammar, capped in length and depth. Nothing is looked up, evaluated or executed.
"""

from __future__ import annotations

import re
from fractions import Fraction

from rlvr_verifiers.math.build import integer, negated, product, quotient, signed
from rlvr_verifiers.math.expression import SETS, Expressions
from rlvr_verifiers.math.lex import DEGREE, END, clean, tokens
from rlvr_verifiers.math.tree import (
    BaseNumber,
    Binding,
    Choice,
    Collection,
    Function,
    Matrix,
    Node,
    Number,
    Product,
    Quantity,
    Ratio,
    Relation,
    Sequence,
    SetOperation,
    Sign,
    Symbol,
    Text,
    UnreadableError,
)
from rlvr_verifiers.math.units import SCALES, is_power, is_unit_word, normal_unit
from rlvr_verifiers.math.words import ANOTHER_CHOICE, BASE, CHOICE, LONE_CHOICE, as_words, base_of, normal_text, plain_words

MAX_LENGTH = 2_000
"""Characters of one answer."""
MAX_UNIT_WORDS = 3

_INTEGER = re.compile(r"-?\d{1,600}")
_SIGNS: dict[str, Sign] = {"=": "=", r"\equiv": "=", "<": "<", ">": ">", "<=": "<=", ">=": ">=", "!=": "!="}
_MONEY = ("$", "€", "£")
_CONSTANTS = ("pi", "e", "i")
_SET_OPERATORS = {r"\cup": "union", "U": "union", "union": "union", r"\cap": "intersection", r"\setminus": "difference"}
_HALVES = {"am": "am", "a.m": "am", "pm": "pm", "p.m": "pm"}
_LEAD = re.compile(r"(?:\bis|[:=])\s*\Z", re.IGNORECASE)
"""The end of a text that introduces a value: `\\text{The answer is } 28`."""
_DENIAL = re.compile(r"\b(?:not|never|no|un\w+|wrong)\b|n't", re.IGNORECASE)
_CLOCK_PART = re.compile(r"[0-5]\d")


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
    node = plain_words(text) or (_choice(text) if labelled else None) or _based(text)
    if node is not None:
        return node
    found = tokens(text)
    if len(found) == 1 and found[0].kind == "text":
        return _parse_text(found[0].text)
    return _Answers(found).answer()


def _choice(text: str) -> Node | None:
    if lone := LONE_CHOICE.fullmatch(text):
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
    match = BASE.fullmatch(text.replace(r"\text{A}", "A").replace(r"\,", "")) if "_" in text or "base" in text else None
    if match is None:
        return None
    base = base_of(match[3] or match[4] or match[5])
    return _in_base(match[1] + match[2], base) if base else None


def _in_base(digits: str, base: int) -> BaseNumber:
    stripped = digits.lstrip("-").lstrip("0") or "0"
    if any(int(digit, 36) >= base for digit in stripped.replace(".", "", 1)):
        raise UnreadableError(f"{digits[:40]!r} has digits that base {base} has not")
    return BaseNumber(("-" if digits[0] == "-" else "") + stripped, base)


def _parse_text(content: str) -> Node:
    r"""The inside of `\text{}`: often an answer of its own, such as a letter or a number with a unit."""
    if r"\text" not in content:
        try:
            return parse(content)
        except UnreadableError:
            if not content.strip():
                raise
    return as_words(content)


class _Answers(Expressions):
    def answer(self) -> Node:
        items, alternatives = self._items()
        if self._peek() is not END:
            raise self._unexpected()
        return items[0] if len(items) == 1 else Collection(items, alternatives)

    # -- lists ----------------------------------------------------------------------------------------------------

    def _items(self, *, group: bool = False) -> tuple[tuple[Node, ...], bool]:
        """Items up to something that joins no more, and whether an "or" joined them.

        `group`: one expression alone is a bracketed operand, and its plus-minus belongs to the expression outside.
        """
        items: list[Node] = []
        alternatives, outside = False, self._plus_minus
        while True:
            self._plus_minus = False
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

    def _joiners(self) -> list[str]:
        found: list[str] = []
        while (token := self._peek()) is not END:
            word = token.text.casefold().strip(" ,") or "," if token.kind in ("word", "text") else token.text
            if word not in ("and", "or", ",", ";", "\\\\"):
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

    # -- sets, ratios, quantities ---------------------------------------------------------------------------------

    def _set(self) -> Node:
        left = self._quantity()
        while self._peek() is not END:
            operator = _SET_OPERATORS.get(self._peek().text)
            if operator is None and isinstance(left, SETS) and self._at("-"):
                operator = "difference"
            if operator is None or not isinstance(left, (*SETS, Symbol, Function)):
                break
            self._position += 1
            left = SetOperation(operator, left, self._quantity())  # type: ignore[arg-type]
        return left

    def _quantity(self) -> Node:
        token = self._peek()
        if token.kind == "text":
            return self._text()
        negative = token.text == "-" and self._peek(1).text in _MONEY
        self._position += negative
        money = self._peek().text if self._at(*_MONEY) else ""
        self._position += bool(money)
        start = self._position
        value = self._sum()
        if isinstance(value, SETS):
            return value
        if self._at("_") and isinstance(value, Number):
            return self._base(start)
        if self._at(":") and self._peek(1) is not END:
            return self._ratio(value, start)
        if negative:
            value = negated(value)
        if self._peek().text.strip() in SCALES and not self._brackets:
            scale = Number(Fraction(SCALES[self._next().text.strip()]), "scientific")
            value = product((value, scale))
        return self._with_unit(value, money)

    def _with_unit(self, value: Node, money: str) -> Node:
        unit = self._unit()
        if money:
            if unit not in ("", money) and not unit.startswith("per "):
                raise UnreadableError(f"an amount of money with the unit {unit!r}")
            unit = money
        if unit in ("am", "pm") and isinstance(value, Number):
            return Ratio((value, integer(0)), unit, clock=True)
        return Quantity(value, unit) if unit else value

    def _text(self) -> Node:
        r"""`\text{...}`: an answer by itself, or the beginning of a longer text."""
        first = self._next()
        if (
            _LEAD.search(first.text)
            and not _DENIAL.search(first.text)
            and self._peek() is not END
            and self._peek().kind != "text"
        ):
            return Binding(normal_text(first.text), self._quantity())
        node = _parse_text(first.text)
        words = [first.text]
        while self._peek().kind in ("text", "word") and self._peek().text.strip(" ,").casefold() not in ("and", "or"):
            words.append(self._next().text)
        return node if len(words) == 1 else as_words(" ".join(words))

    def _base(self, start: int) -> Node:
        self._position += 1
        base = base_of(self._subscript())
        digits = "".join(token.text for token in self._tokens[start : self._position] if token.kind == "number")
        first = self._tokens[start]
        if (
            not base
            or first.kind != "number"
            or not first.text.replace(".", "", 1).isdigit()
            or self._tokens[start + 1].text != "_"
        ):
            raise UnreadableError(f"{digits[:40]!r} is not a number in a base")
        return _in_base(first.text, base)

    def _ratio(self, first: Node, start: int) -> Node:
        parts, clock = [first], self._tokens[start].kind == "number" and self._position == start + 1
        while self._take(":"):
            token = self._peek()
            begin = self._position
            parts.append(self._product())
            single = self._position == begin + 1 and token.kind == "number"
            clock = clock and single and _CLOCK_PART.fullmatch(token.text) is not None
        half = _HALVES.get(normal_text(self._peek().text), "") if self._peek().kind in ("text", "word") else ""
        self._position += bool(half)
        if (half and not clock) or len(parts) > 4:
            raise self._unexpected()
        return Ratio(tuple(parts), half, clock)  # type: ignore[arg-type]

    def _unit(self) -> str:
        words: list[str] = []
        while (token := self._peek()) is not END:
            text = token.text.strip()
            lower = text.casefold()
            if token.kind == "text" and text.strip(" ,") and lower.strip(" ,") not in ("and", "or"):
                words.extend(word.strip(".,()") or word for word in lower.replace("/", " per ").split())
            elif token.kind == "word" and len(text) > 1 and lower not in ("and", "or", "union"):
                words.append(lower)
            elif text in ("%", "$", "€", "£", DEGREE, '"'):
                words.append(text)
            elif text == "^" and words:
                words.append(self._unit_power())
            elif text == "/" and (words or self._peek(1).kind == "text"):
                words.append("per")
            elif text == r"\pmod":
                words.append(self._modulus())
            else:
                break
            self._position += 1
        if not words:
            return ""
        if sum(not is_power(word) for word in words) > MAX_UNIT_WORDS or not all(is_unit_word(word) for word in words):
            raise UnreadableError(f"{' '.join(words)[:60]!r} is not a unit")
        if all(is_power(word) for word in words):
            raise UnreadableError(f"{words[0]!r} without a unit")
        return normal_unit(words)

    def _unit_power(self) -> str:
        """The `^2` of `cm^2`; leaves its last token to the caller."""
        braced = self._peek(1).text == "{"
        number = self._peek(1 + braced)
        if not number.text.isdigit() or len(number.text) > 2 or (braced and self._peek(3).text != "}"):
            raise self._unexpected()
        self._position += 3 if braced else 1
        return f"^{number.text}"

    def _modulus(self) -> str:
        r"""The 7 of `3 \pmod{7}`; leaves its last token to the caller."""
        braced = self._peek(1).text == "{"
        number = self._peek(1 + braced)
        if number.kind != "number" or (braced and self._peek(3).text != "}"):
            raise self._unexpected()
        self._position += 3 if braced else 1
        return f"_mod{number.text}"

    # -- brackets -------------------------------------------------------------------------------------------------

    def _bracketed(self, opening: str, *, several: bool = False) -> Node:
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
            return None if name in _CONSTANTS else name
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
