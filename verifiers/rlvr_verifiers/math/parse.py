"""Reads one answer into the tree of `tree.py`: a recursive descent over a closed grammar, capped in length and depth."""

from __future__ import annotations

import re
from fractions import Fraction

from rlvr_verifiers.math.build import decimal, negated, operands, quotient, signed
from rlvr_verifiers.math.lex import END, Token, clean, tokens
from rlvr_verifiers.math.tree import (
    Binding,
    Collection,
    Infinity,
    Node,
    Number,
    PlusMinus,
    Power,
    Product,
    Quantity,
    Root,
    Sequence,
    Sum,
    Symbol,
    Text,
    Union,
    UnreadableError,
)
from rlvr_verifiers.math.units import SCALES, is_power, is_unit_word, normal_unit

MAX_LENGTH = 2_000
"""Characters of one answer."""
MAX_DEPTH = 40
"""Nested brackets, fractions, roots and exponents."""
MAX_UNIT_WORDS = 3

_ONE = Number(Fraction(1))
_WORDS = re.compile(r"[^\W\d_][^\W\d_' ,\-]*(?:[' ,\-]+[^\W\d_]+)*")
_INTEGER = re.compile(r"-?\d{1,600}")
_LETTERS = """alpha beta gamma delta epsilon varepsilon zeta eta theta kappa lambda mu nu xi pi rho sigma tau phi varphi
chi psi omega"""
_GREEK = frozenset(_LETTERS.split())
_FRACTIONS = frozenset((r"\frac", r"\dfrac", r"\tfrac", r"\cfrac"))
_INFINITIES = frozenset(("infinity", "inf", "oo"))


def parse(answer: str) -> Node:
    """The tree of an answer. Raises UnreadableError, and nothing else, whatever the text."""
    if len(answer) > MAX_LENGTH:
        raise UnreadableError(f"an answer of {len(answer)} characters is over the limit of {MAX_LENGTH}", "too_large")
    text = clean(answer)
    if _INTEGER.fullmatch(text):  # most answers
        return Number(Fraction(int(text)))
    if not text:
        raise UnreadableError("the answer is empty")
    words = _words(text)
    if words is not None:
        return words
    found = tokens(text)
    if len(found) == 1 and found[0].kind == "text":
        return _parse_text(found[0].text)
    return _Parser(found).answer()


def _words(text: str) -> Text | None:
    """Plain words, such as `east` or `not enough`; a lone letter and the names of constants are not words."""
    if not _WORDS.fullmatch(text):
        return None
    words = [word for word in re.split(r"[ ,]+", text.casefold()) if word not in ("and", "or")]
    if not any(len(word) > 1 for word in words) or any(word == "pi" or word in _INFINITIES for word in words):
        return None
    return Text(normal_text(text))


def _parse_text(content: str) -> Node:
    r"""The inside of `\text{}`: often an answer of its own, such as a letter or a number with a unit."""
    if r"\text" not in content:
        try:
            return parse(content)
        except UnreadableError:
            if not content.strip():
                raise
    return Text(normal_text(content))


def normal_text(text: str) -> str:
    return " ".join(text.casefold().split()).strip(" .!\"'")


class _Parser:
    def __init__(self, found: list[Token]) -> None:
        self._tokens = found
        self._position = 0
        self._depth = 0
        self._brackets = 0  # inside brackets a comma separates, outside it may group thousands
        self._plus_minus = False

    def answer(self) -> Node:
        items, alternatives = self._items()
        if self._peek() is not END:
            raise self._unexpected()
        return items[0] if len(items) == 1 else Collection(items, alternatives)

    # -- lists, units, names --------------------------------------------------------------------------------------

    def _items(self, *, group: bool = False) -> tuple[tuple[Node, ...], bool]:
        """Items up to something that joins no more, and whether an "or" joined them.

        `group`: one expression alone is a bracketed operand, and its plus-minus belongs to the expression outside.
        """
        items: list[Node] = []
        alternatives, outside = False, self._plus_minus
        while True:
            name = self._bound_name()
            self._plus_minus = False
            value = self._unions()
            if group and name is None and not items and self._peek().text in (")", "]", "}"):
                self._plus_minus = self._plus_minus or outside
                return (value,), False
            values = (signed(value, 1), signed(value, -1)) if self._plus_minus else (value,)
            items += values if name is None else (Binding(name, value) for value in values)
            joiners = self._joiners()
            alternatives = alternatives or "or" in joiners
            if not joiners:
                self._plus_minus = outside
                return tuple(items), alternatives

    def _joiners(self) -> list[str]:
        found: list[str] = []
        while (token := self._peek()) is not END:
            word = token.text.casefold().strip(" ,") or "," if token.kind in ("word", "text") else token.text
            if word not in ("and", "or", ",", ";"):
                break
            found.append(word)
            self._position += 1
        return found

    def _bound_name(self) -> str | None:
        token = self._peek()
        a_name = (token.kind == "word" and len(token.text) == 1) or (token.kind == "command" and token.text[1:] in _GREEK)
        if a_name and self._peek(1).text in ("=", r"\in"):
            self._position += 2
            return token.text.lstrip("\\")
        return None

    def _unions(self) -> Node:
        parts = [self._quantity()]
        while self._take(r"\cup"):
            parts.append(self._quantity())
        return parts[0] if len(parts) == 1 else Union(tuple(parts))

    def _quantity(self) -> Node:
        token = self._peek()
        if token.kind == "text" and len(token.text.strip()) > 1:
            self._position += 1
            return _parse_text(token.text)
        negative = token.text == "-" and self._peek(1).text in ("$", r"\$")
        self._position += negative
        money = self._peek().text in ("$", r"\$")
        self._position += money
        value = self._sum()
        if negative:
            value = negated(value)
        if self._peek().text in SCALES and not self._brackets:
            value = Product((value, Number(Fraction(SCALES[self._next().text]))))
        unit = self._unit()
        if "_" in unit and not isinstance(value, Number):
            raise UnreadableError("only a number has a base")
        if money:
            if unit not in ("", "$"):
                raise UnreadableError(f"an amount of money with the unit {unit!r}")
            unit = "$"
        return Quantity(value, unit) if unit else value

    def _unit(self) -> str:
        words: list[str] = []
        while True:
            token = self._peek()
            text = token.text.strip()
            if token.kind == "text" and text and text.strip(" ,").casefold() not in ("and", "or"):
                words.extend(word.rstrip(".,") or word for word in text.casefold().split())
            elif token.kind == "word" and len(text) > 1 and text.casefold() not in ("and", "or"):
                words.append(text.casefold())
            elif text in ("%", r"\%", "$", r"\$", r"\circ"):
                words.append(text.lstrip("\\"))
            elif text == "^" and self._degree_follows():
                words.append("degree")
            elif text in ("^", "_") and (words or text == "_"):
                words.append(self._unit_suffix(text))
            elif text == "/" and (words or self._peek(1).kind == "text"):
                words.append("per")
            else:
                break
            self._position += 1
        if not words:
            return ""
        if len(words) > MAX_UNIT_WORDS or not all(is_unit_word(word) for word in words):
            raise UnreadableError(f"{' '.join(words)[:60]!r} is not a unit")
        if all(is_power(word) for word in words):
            raise UnreadableError(f"{words[0]!r} without a unit")
        return normal_unit(words)

    def _degree_follows(self) -> bool:
        if self._peek(1).text == r"\circ":
            self._position += 1
            return True
        if self._peek(1).text == "{" and self._peek(2).text == r"\circ" and self._peek(3).text == "}":
            self._position += 3
            return True
        return False

    def _unit_suffix(self, mark: str) -> str:
        """The `^2` of `cm^2`, the `_8` of a number in base 8; leaves its last token to the caller."""
        braced = self._peek(1).text == "{"
        number = self._peek(1 + braced)
        if not number.text.isdigit() or len(number.text) > 2 or (braced and self._peek(3).text != "}"):
            raise self._unexpected()
        self._position += 3 if braced else 1
        return f"{mark}{number.text}"

    # -- arithmetic -----------------------------------------------------------------------------------------------

    def _sum(self) -> Node:
        terms = [self._signed_term(self._take_sign())]
        while (sign := self._take_sign()) is not None:
            terms.append(self._signed_term(sign))
        return terms[0] if len(terms) == 1 else Sum(operands(*terms))

    def _take_sign(self) -> str | None:
        """The product of a run of signs; `\\mp` is the opposite of `\\pm`."""
        sign: str | None = None
        while (text := self._peek().text) in ("+", "-", r"\pm", r"\mp"):
            self._position += 1
            negative = (sign in ("-", r"\mp")) != (text in ("-", r"\mp"))
            both = r"\pm" in (sign, text) or r"\mp" in (sign, text)
            sign = (r"\mp" if negative else r"\pm") if both else ("-" if negative else "+")
        return sign

    def _signed_term(self, sign: str | None) -> Node:
        term = self._product()
        if sign in (r"\pm", r"\mp"):
            self._plus_minus = True
            operands(term)
            return PlusMinus(term if sign == r"\pm" else negated(term))
        return negated(term) if sign == "-" else term

    def _product(self) -> Node:
        factors = [self._power()]
        while True:
            if self._take("*", r"\cdot", r"\times"):
                factors.append(self._signed_factor())
            elif self._peek().text in ("/", r"\div") and self._peek(1).kind != "text":
                self._position += 1
                factors.append(quotient(factors.pop() if len(factors) == 1 else _ONE, self._signed_factor()))
            elif self._starts_factor():
                factors.append(self._power())
            else:
                return factors[0] if len(factors) == 1 else Product(operands(*factors))

    def _signed_factor(self) -> Node:
        return negated(self._power()) if self._take("-") else self._power()

    def _starts_factor(self) -> bool:
        """Whether the next token multiplies what stands before it: `2x`, `3\\sqrt2`, `2(a+1)`."""
        token = self._peek()
        if token.kind == "word":
            attached = self._position > 0 and self._tokens[self._position - 1].end == token.start
            return (
                len(token.text) == 1
                or token.text == "pi"
                or (attached and len(token.text) == 2 and not is_unit_word(token.text, known=True))
            )
        if token.kind == "command":
            return token.text in _FRACTIONS or token.text in (r"\sqrt", r"\boxed") or token.text[1:] in _GREEK
        return token.text in ("(", "{")

    def _power(self) -> Node:
        base = self._primary()
        if (
            self._peek().text != "^"
            or self._peek(1).text == r"\circ"
            or (self._peek(1).text == "{" and self._peek(2).text == r"\circ")
        ):
            return base
        self._position += 1
        negative = self._take("-")
        exponent = self._argument(whole_number=True)
        if self._peek().text == "^":
            raise UnreadableError("two exponents in a row")
        operands(base, exponent)
        return Power(base, negated(exponent) if negative else exponent)

    def _primary(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise UnreadableError(f"nested deeper than {MAX_DEPTH}", "too_large")
        try:
            token = self._next()
            if token.kind == "number":
                return self._number(token)
            if token.kind == "word":
                return self._letters(token)
            if token.kind == "command":
                return self._command(token)
            if token.text in ("(", "[", "{", r"\{"):
                return self._bracketed(token.text)
            if token.kind == "text" and token.text.strip() in ("i", "e"):
                return Symbol(token.text.strip())
            self._position -= 1
            raise self._unexpected()
        finally:
            self._depth -= 1

    def _number(self, token: Token) -> Node:
        digits = token.text if self._brackets else token.text + self._thousands(token)
        value = decimal(digits)
        exponent = self._scientific(token)
        if exponent is not None:
            return Product((Number(value), Power(Number(Fraction(10)), Number(Fraction(exponent)))))
        if "." in token.text:
            return Number(value)
        return self._mixed(value)

    def _thousands(self, token: Token) -> str:
        """The groups of `1,000,000`: right after one another, three digits each, the first one to three and not 0."""
        if not re.fullmatch(r"[1-9]\d{0,2}", token.text):
            return ""
        groups, end, position = "", token.end, self._position
        while self._peek().text == "," and self._peek().start == end and self._peek(1).start == end + 1:
            group = self._peek(1)
            if group.kind != "number" or not re.fullmatch(r"\d{3}(?:\.\d+)?", group.text):
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

    def _scientific(self, token: Token) -> int | None:
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

    def _mixed(self, whole: Fraction) -> Node:
        r"""A whole number, and the proper fraction of a mixed one behind it: `2\frac13`, `2 1/3`."""
        number = Number(whole)
        if self._peek().text in _FRACTIONS:
            part = self._primary()
            proper = isinstance(part, Number) and 0 < part.value < 1
            return Number(whole + part.value) if isinstance(part, Number) and proper else Product(operands(number, part))
        if self._peek().kind == "number" and self._peek(1).text == "/" and self._peek(2).kind == "number":
            numerator, denominator = self._peek().text, self._peek(2).text
            if numerator.isdigit() and denominator.isdigit() and 0 < int(numerator) < int(denominator):
                self._position += 3
                return Number(whole + Fraction(int(numerator), int(denominator)))
        return number

    def _letters(self, token: Token) -> Node:
        word = token.text
        if word == "pi" or len(word) == 1:
            return Symbol(word)
        if word in _INFINITIES:
            return Infinity()
        if word == "sqrt" and self._peek().text in ("(", "{"):
            return Root(2, *operands(self._argument()))
        if len(word) == 2 and not is_unit_word(word, known=True):
            self._position -= 1  # one letter now, the other as a factor of its own: the exponent of `ab^2` is b's
            self._tokens[self._position] = Token("word", word[1], token.start + 1, token.end)
            return Symbol(word[0])
        raise UnreadableError(f"{word[:40]!r} is not part of an expression")

    def _command(self, token: Token) -> Node:
        command = token.text
        if command in _FRACTIONS:
            return quotient(self._argument(), self._argument())
        if command == r"\sqrt":
            return Root(self._root_index(), *operands(self._argument(whole_number=True)))
        if command == r"\infty":
            return Infinity()
        if command in (r"\emptyset", r"\varnothing"):
            return Collection(())
        if command == r"\boxed" and self._peek().text == "{":
            return self._argument()
        if command[1:] in _GREEK:
            return Symbol(command[1:])
        raise UnreadableError(f"{command[:40]!r} is outside the grammar")

    def _root_index(self) -> int:
        if not self._take("["):
            return 2
        token = self._next()
        if not token.text.isdigit() or not 2 <= int(token.text[:4]) <= 64 or not self._take("]"):
            raise UnreadableError("a root's index must be a number from 2 to 64")
        return int(token.text)

    def _argument(self, *, whole_number: bool = False) -> Node:
        r"""One TeX argument: a group, or a single token, of which a number gives one digit: `\frac12`."""
        token = self._peek()
        if token.kind == "number" and not whole_number and len(token.text) > 1:
            first = token.text[0]
            self._tokens[self._position] = Token("number", token.text[1:], token.start + 1, token.end)
            if not first.isdigit() or not self._peek().text.isdigit():
                raise self._unexpected()
            return Number(Fraction(int(first)))
        if token.kind == "number":
            return Number(decimal(self._next().text))
        return self._primary()

    def _bracketed(self, opening: str) -> Node:
        brackets, self._brackets = self._brackets, 0 if opening == "{" else self._brackets + 1
        items = () if opening == r"\{" and self._peek().text == r"\}" else self._items(group=opening != r"\{")[0]
        closing = self._next().text
        self._brackets = brackets
        if opening + closing == r"\{\}":
            return Collection(items)
        if opening + closing in ("{}", "()", "[]") and len(items) == 1:
            return next(iter(items))
        if opening + closing == "{}":
            return Collection(items)
        if opening in "([" and closing in (")", "]") and len(items) > 1:
            return Sequence(opening + closing, items)
        raise UnreadableError(f"{opening!r} is closed by {closing[:10]!r}")

    # -- tokens ---------------------------------------------------------------------------------------------------

    def _peek(self, ahead: int = 0) -> Token:
        position = self._position + ahead
        return self._tokens[position] if position < len(self._tokens) else END

    def _next(self) -> Token:
        token = self._peek()
        if token is END:
            raise UnreadableError("the answer ends too early")
        self._position += 1
        return token

    def _take(self, *texts: str) -> bool:
        taken = self._peek().text in texts
        self._position += taken
        return taken

    def _unexpected(self) -> UnreadableError:
        return UnreadableError(f"unexpected {self._peek().text[:40]!r}")
