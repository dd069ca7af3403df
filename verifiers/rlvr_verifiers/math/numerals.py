"""Numbers as they are written: thousands, mixed numbers, and the `1.2e5` of programmers."""

from __future__ import annotations

import re
from fractions import Fraction

from rlvr_verifiers.math.build import decimal, integer, operands, power, product
from rlvr_verifiers.math.lex import Cursor, Token
from rlvr_verifiers.math.tree import Node, Number, Product

_GROUP = re.compile(r"\d{3}(?:\.\d+)?")
_GROUPED = re.compile(r"[1-9]\d{0,2}")


class Numerals(Cursor):
    def __init__(self, found: list[Token]) -> None:
        super().__init__(found)
        self._brackets = 0  # inside brackets a comma separates, outside it may group thousands

    def _primary(self) -> Node:
        """Overridden by the grammar of expressions."""
        raise NotImplementedError

    def _number(self, token: Token) -> Node:
        number = decimal(token.text if self._brackets else token.text + self._thousands(token))
        exponent = self._programmers_exponent(token)
        if exponent is not None:
            return product((number, power(integer(10), integer(exponent))))
        return self._mixed(number) if number.written == "integer" else number

    def _thousands(self, token: Token) -> str:
        """The groups of `1,000,000`: right after one another, three digits each, the first one to three and not 0."""
        if not _GROUPED.fullmatch(token.text):
            return ""
        groups, end, position = "", token.end, self._position
        while self._peek().text == "," and self._peek().start == end and self._peek(1).start == end + 1:
            group = self._peek(1)
            if group.kind != "number" or not _GROUP.fullmatch(group.text):
                break
            groups += group.text
            end = group.end
            self._position += 2
            if "." in group.text:
                break
        if self._peek().text == "," and self._peek().start == end and self._peek(1).start == end + 1:
            self._position = position  # `1,000,20` groups nothing: it is a list
            return ""
        return groups

    def _programmers_exponent(self, token: Token) -> int | None:
        """The 5 of `1.2e5`, `1.2E+5`."""
        mark, after = self._peek(), self._peek(1)
        if mark.text not in ("e", "E") or mark.start != token.end or after.start != mark.end:
            return None
        sign = after.text if after.text in ("+", "-") else ""
        digits = self._peek(1 + len(sign))
        if digits.kind != "number" or not digits.text.isdigit() or len(digits.text) > 6:
            return None
        self._position += 2 + len(sign)
        return int(sign + digits.text)

    def _mixed(self, number: Number) -> Node:
        r"""A whole number, and the proper fraction of a mixed one behind it: `2\frac13`, `2 1/3`."""
        if self._peek().text == r"\frac":
            part = self._primary()
            if isinstance(part, Number) and part.written == "fraction" and 0 < part.value < 1:
                return Number(number.value + part.value, "fraction")
            return Product(operands(number, part))
        if self._peek().kind == "number" and self._peek(1).text == "/" and self._peek(2).kind == "number":
            numerator, denominator = self._peek().text, self._peek(2).text
            if numerator.isdigit() and denominator.isdigit() and 0 < int(numerator) < int(denominator):
                self._position += 3
                return Number(number.value + Fraction(int(numerator), int(denominator)), "fraction")
        return number
