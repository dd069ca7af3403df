"""Values with what stands around them: units, money, times, ratios, number bases, and operations on sets."""

from __future__ import annotations

import re
from fractions import Fraction

from rlvr_verifiers.math.build import integer, negated, product
from rlvr_verifiers.math.expression import SETS, Expressions
from rlvr_verifiers.math.lex import DEGREE, END
from rlvr_verifiers.math.tree import (
    BaseNumber,
    Binding,
    Function,
    Node,
    Number,
    Quantity,
    Ratio,
    SetOperation,
    Symbol,
    UnreadableError,
)
from rlvr_verifiers.math.units import SCALES, read_unit, unit_name
from rlvr_verifiers.math.words import as_words, base_of, normal_text

_MONEY = ("$", "€", "£", "¥")
_SET_OPERATORS = {r"\cup": "union", "U": "union", "union": "union", r"\cap": "intersection", r"\setminus": "difference"}
_HALVES = {
    **dict.fromkeys(("am", "a.m", "in the morning"), "am"),
    **dict.fromkeys(("pm", "p.m", "in the afternoon", "in the evening", "at night"), "pm"),
}
_LEAD = re.compile(r"(?:\b(?:is|are|be|equals)|[:=])\s*\Z", re.IGNORECASE)
"""The end of a text that introduces a value: `\\text{The answer is } 28`."""
_DENIAL = re.compile(r"\b(?:not|never|no|un\w+|wrong|incorrect)\b|n't", re.IGNORECASE)
_CLOCK_PART = re.compile(r"[0-5]\d")
_JOINERS = ("and", "or", "to", "union")
_SMALLER: dict[str, dict[str, int]] = {
    "day": {"hour": 24, "minute": 1440},
    "hour": {"minute": 60, "second": 3600},
    "minute": {"second": 60},
    "week": {"day": 7},
    "year": {"month": 12},
    "yard": {"foot": 3, "inch": 36},
    "foot": {"inch": 12},
    "pound": {"ounce": 16},
    "m": {"cm": 100},
    "kg": {"g": 1000},
    "$": {"cent": 100},
    "degree": {"minute": 60, "second": 3600},
}
"""How many of the smaller unit make one of the larger, where two are named together: `5 feet 6 inches`."""


class Quantities(Expressions):
    def _read_text(self, content: str) -> Node:
        """Overridden: the inside of a text may be an answer of its own."""
        raise NotImplementedError

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
        if token.kind == "text" and token.text.strip() in _MONEY:
            self._tokens[self._position] = token._replace(kind="mark", text=token.text.strip())
        elif token.kind == "text":
            return self._text()
        negative = self._at("-") and self._peek(1).text in _MONEY
        self._position += negative
        money = self._peek().text if self._at(*_MONEY) else ""
        self._position += bool(money)
        start = self._position
        value = self._sum()
        if isinstance(value, SETS):
            return value
        if self._at("_") and isinstance(value, Number):
            return self._base(start)
        if self._peek(1) is not END and (self._at(":") or (self._word() == "to" and self._peek(1).kind == "number")):
            return self._ratio(value, start)
        value = self._scaled(negated(value) if negative else value)
        return self._with_smaller_unit(self._with_unit(value, money))

    def _word(self) -> str:
        """The word or text that comes next, in lower case."""
        token = self._peek()
        return token.text.strip(" ,").casefold() if token.kind in ("word", "text") else ""

    def _scaled(self, value: Node) -> Node:
        """`1.2 million`; what follows in the same text, as in `million dollars`, is left for the unit."""
        scale, _, rest = self._word().partition(" ")
        if scale not in SCALES or self._brackets:
            return value
        token = self._next()
        if rest:
            self._position -= 1
            self._tokens[self._position] = token._replace(text=rest)
        return product((value, Number(Fraction(SCALES[scale]), "scientific")))

    def _with_unit(self, value: Node, money: str) -> Node:
        unit = self._unit(money)
        if unit in ("am", "pm") and isinstance(value, Number):
            return Ratio((value, integer(0)), unit, clock=True)
        return Quantity(value, unit) if unit else value

    def _with_smaller_unit(self, large: Node) -> Node:
        """`30^\\circ 15'`, `5 hours and 30 minutes`: one value, in the larger unit."""
        while isinstance(large, Quantity) and large.unit in _SMALLER and isinstance(large.value, Number):
            start = self._position
            if self._word() == "and":
                self._position += 1
            number = self._peek()
            self._position += 1
            unit = (
                self._small_unit(large.unit) if number.kind == "number" and number.text.replace(".", "", 1).isdigit() else ""
            )
            count = _SMALLER[large.unit].get(unit)
            if count is None or Fraction(number.text) >= count:
                self._position = start
                break
            part = Fraction(number.text) / count
            value = large.value.value
            large = Quantity(Number(value - part if value < 0 else value + part, "fraction"), large.unit)
        return large

    def _small_unit(self, large: str) -> str:
        if large == "degree" and self._take("'"):
            return "second" if self._take("'") else "minute"
        if large == "degree" and self._take('"'):
            return "second"
        start = self._position
        try:
            return self._unit("")
        except UnreadableError:
            self._position = start
            return ""

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
        node = self._read_text(first.text)
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
        return in_base(first.text, base)

    def _ratio(self, first: Node, start: int) -> Node:
        parts, clock = [first], self._tokens[start].kind == "number" and self._position == start + 1
        while self._take(":") or self._word() == "to":
            self._position += self._word() == "to"
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

    def _unit(self, money: str) -> str:
        """The name of the unit that follows; with money in front, what it is paid for."""
        source: list[str] = []
        while (token := self._peek()) is not END:
            text = token.text.strip()
            attached = bool(source) and source[-1] in ("/", "*")
            if token.kind in ("word", "text") and text.strip(" ,"):
                if text.strip(" ,").casefold() in _JOINERS or (token.kind == "word" and len(text) == 1 and not attached):
                    break
                source.append(text)
            elif (
                text in ("%", *_MONEY, DEGREE, '"')
                or (text == "/" and (source or self._peek(1).kind == "text" or money))
                or (text == "*" and source and self._peek(1).kind == "text")
            ):
                source.append(text)
            elif text == "^" and source:
                source.append(self._unit_power())
            elif text == r"\pmod" and not source:
                return self._modulus()
            elif text == "'" and not source:  # feet and inches
                self._position += 1
                return "inch" if self._take("'") else "foot"
            else:
                break
            self._position += 1
        if not source:
            return money
        powers = read_unit(" ".join(source))
        if powers is None or (money and any(power > 0 and unit != money for unit, power in powers.items())):
            raise UnreadableError(f"{' '.join(source)[:60]!r} is not a unit")
        return unit_name(powers | {money: 1} if money else powers)

    def _unit_power(self) -> str:
        """The `^2` of `cm^2` and `^{-2}`; leaves its last token to the caller."""
        braced = self._peek(1).text == "{"
        sign = "-" if self._peek(1 + braced).text == "-" else ""
        number = self._peek(1 + braced + len(sign))
        if not number.text.isdigit() or len(number.text) > 2 or (braced and self._peek(3 + len(sign)).text != "}"):
            raise self._unexpected()
        self._position += (3 if braced else 1) + len(sign)
        return f"^{sign}{number.text}"

    def _modulus(self) -> str:
        r"""The 7 of `3 \pmod{7}`."""
        self._position += 1
        braced = self._take("{")
        number = self._next()
        if number.kind != "number" or (braced and not self._take("}")):
            raise UnreadableError("a modulus that is no number")
        return f"_mod{number.text}"


def in_base(digits: str, base: int) -> BaseNumber:
    stripped = digits.lstrip("-").lstrip("0") or "0"
    if any(int(digit, 36) >= base for digit in stripped.replace(".", "", 1)):
        raise UnreadableError(f"{digits[:40]!r} has digits that base {base} has not")
    return BaseNumber(("-" if digits[0] == "-" else "") + stripped, base)
