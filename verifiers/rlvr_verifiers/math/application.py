"""Names, functions and what they are applied to: `x_1`, `f(x,y)`, `\\sin 2x`, `\\log_2 8`, `\\angle ABC`."""

from __future__ import annotations

from rlvr_verifiers.math.build import integer, negated, operands, product, quotient
from rlvr_verifiers.math.functions import INVERSE, OF_SEVERAL, function_name, function_prefix
from rlvr_verifiers.math.lex import DEGREE, Token
from rlvr_verifiers.math.numerals import Numerals
from rlvr_verifiers.math.tree import (
    Collection,
    Function,
    Infinity,
    Node,
    Number,
    Power,
    Product,
    Quotient,
    Root,
    Sequence,
    Sum,
    Symbol,
    UnreadableError,
    walk,
)
from rlvr_verifiers.math.units import is_unit_word

INFINITIES = frozenset(("infinity", "inf", "oo", "Infinity", "infty"))
DEGREE_IN_RADIANS = Quotient(Symbol("pi"), integer(180))


class Applications(Numerals):
    """Methods that raise NotImplementedError are the expressions' own."""

    def __init__(self, found: list[Token]) -> None:
        super().__init__(found)
        self._angles = 0  # arguments of functions that are open: a degree sign in them is a factor and no unit

    def _power(self) -> Node:
        raise NotImplementedError

    def _exponent(self) -> Node:
        raise NotImplementedError

    def _argument(self, *, whole_number: bool = False) -> Node:
        raise NotImplementedError

    def _bracketed(self, opening: str) -> Node:
        raise NotImplementedError

    def _starts_factor(self) -> bool:
        raise NotImplementedError

    def _letters(self, token: Token) -> Node:
        word = token.text
        if len(word) == 1:
            return self._name(word)
        if word == "pi":
            return Symbol(word)
        if word in INFINITIES:
            return Infinity()
        if word == "sqrt":
            return Root(2, *operands(self._argument(whole_number=True)))
        name = function_name(word)
        if name is not None and self._applies(name):
            return self._function(name)
        length = 2 if word.startswith("pi") else function_prefix(word) or (1 if len(word) <= 4 else 0)
        if not length or is_unit_word(word):
            raise UnreadableError(f"{word[:40]!r} is not part of an expression")
        self._position -= 1  # `ab` is a product: one letter now, the rest is a factor of its own, whose exponent is its own
        self._split(length)
        return self._letters(self._next())

    def _name(self, letter: str) -> Symbol:
        name = letter
        if self._at("_"):
            self._position += 1
            name += "_" + self._subscript()
        while self._take("'"):
            name += "'"
        return Symbol(name + self._letters_in_brackets())

    def _letters_in_brackets(self) -> str:
        """The `(x,y)` of `f(x,y)`: of two letters or more, because `f(x)` may be a product."""
        ahead, letters = 1, ""
        while self._at("(") and self._peek(ahead).kind == "word" and len(self._peek(ahead).text) == 1:
            letters += self._peek(ahead).text
            closing = self._peek(ahead + 1).text
            ahead += 2
            if closing == ")" and len(letters) > 1:
                self._position += ahead
                return f"({','.join(letters)})"
            if closing != ",":
                break
        return ""

    def _subscript(self) -> str:
        if not self._take("{"):
            token = self._next()
            if token.kind not in ("number", "word", "text"):
                self._position -= 1
                raise self._unexpected()
            if token.kind != "text" and len(token.text) > 1:  # `x_10` is x_1 0 to TeX; whoever writes it means x_{10}
                return token.text
            return token.text.strip()
        texts: list[str] = []
        while not self._at("}"):
            token = self._next()
            if token.kind not in ("number", "word", "text") and token.text not in ("+", "-", ","):
                raise UnreadableError(f"the subscript {token.text[:40]!r}")
            texts.append(token.text.strip())
        self._position += 1
        return "".join(texts)

    def _applies(self, name: str, ahead: int = 0) -> bool:
        """Whether a word is a function here: `min(2, 3)`, but not the minutes of `90 min`."""
        return name not in OF_SEVERAL or self._peek(ahead).text in ("(", "{")

    def _function(self, name: str) -> Node:
        exponent = base = None
        while True:
            if self._at("^"):
                self._position += 1
                exponent = self._exponent()
            elif self._at("_") and name == "log":
                self._position += 1
                base = self._argument()
            else:
                break
        node = self._applied(name, base)
        if exponent is None:
            return node
        if exponent == integer(-1) and name in INVERSE and isinstance(node, Function):
            return Function(INVERSE[name], node.arguments)
        return Power(*operands(node, exponent))

    def _applied(self, name: str, base: Node | None) -> Node:
        if name in OF_SEVERAL:
            if not self._at("(", "{"):
                raise UnreadableError(f"{name} without its arguments in brackets")
            group = self._bracketed(self._next().text)
            return Function(name, operands(*(group.items if isinstance(group, Sequence | Collection) else (group,))))
        (argument,) = operands(self._function_argument())
        if name == "exp":
            return Power(Symbol("e"), argument)
        if name in ("log", "lg"):
            return Function("log", (argument, *operands(base or integer(10))))
        return Function(name, (argument,))

    def _function_argument(self) -> Node:
        r"""A bracketed argument, or the product that follows: `\sin 2x` but `\sin x \cos x`; `\sin 2\pi/3`."""
        self._angles += 1
        if self._at("(", "{", "["):
            node = self._primary()
            if self._take(DEGREE):
                node = Product((*operands(node), DEGREE_IN_RADIANS))
        else:
            negative = self._take("-")
            factors = [self._power()]
            while not self._at("(", "|") and not self._at_function() and self._starts_factor():
                factors.append(self._power())
            node = product(factors)
            if self._at("/") and self._peek(1).kind == "number" and _is_angle(node):
                self._position += 1
                node = quotient(node, self._primary())
            node = negated(node) if negative else node
        self._angles -= 1
        return node

    def _at_function(self) -> bool:
        token = self._peek()
        return token.kind in ("word", "command") and (
            function_name(token.text) is not None or (token.kind == "word" and function_prefix(token.text) > 0)
        )

    def _decorated(self, decoration: str) -> Symbol:
        r"""`\overline{AB}`, `\vec{v}`, `\angle ABC`: a name of its own."""
        letters = self._subscript()
        if not letters.isalpha():
            raise UnreadableError(f"{decoration} of {letters[:40]!r}")
        return Symbol(f"{decoration} {letters}")


def _is_angle(node: Node) -> bool:
    """Whether the node is a rational multiple of pi, so that a denominator behind it belongs to it: `\\sin 2\\pi/3`."""
    return all(part == Symbol("pi") or isinstance(part, Number | Product | Sum | Quotient | Power) for part in walk(node))
