"""The arithmetic of the grammar: sums, products, powers, roots and functions, by recursive descent, capped in depth."""

from __future__ import annotations

from collections.abc import Callable

from rlvr_verifiers.math.application import DEGREE_IN_RADIANS, Applications
from rlvr_verifiers.math.build import decimal, integer, negated, operands, power, product, quotient, repeating
from rlvr_verifiers.math.functions import function_name
from rlvr_verifiers.math.lex import DEGREE, Token
from rlvr_verifiers.math.tree import (
    Collection,
    Function,
    Infinity,
    Matrix,
    Node,
    PlusMinus,
    Power,
    Product,
    Reals,
    Root,
    Sequence,
    SetOperation,
    Sum,
    Symbol,
    UnreadableError,
)
from rlvr_verifiers.math.units import is_unit_word

MAX_DEPTH = 40
"""Nested brackets, fractions, roots and exponents."""

_LETTERS = """alpha beta gamma Gamma delta Delta epsilon zeta eta theta Theta iota kappa lambda Lambda mu nu xi Xi pi rho sigma
Sigma tau upsilon phi Phi chi psi Psi omega Omega ell hbar"""
GREEK = frozenset(_LETTERS.split())
SETS = (Sequence, Collection, Reals, SetOperation)
_VECTORS = frozenset((r"\vec", r"\hat", r"\widehat"))
_SEGMENTS = frozenset((r"\overline", r"\overrightarrow", r"\bar", r"\tilde", r"\overleftrightarrow"))
_NAMED_SHAPES = frozenset((r"\angle", r"\triangle"))
_STARTS = frozenset((r"\frac", r"\sqrt", r"\boxed", r"\binom", r"\lfloor", r"\lceil", r"\begin", r"\infty", *_VECTORS))
_JOINING = frozenset(("and", "or", "AND", "OR", "And", "Or", "union", "to"))
_CLOSINGS = {r"\lfloor": (r"\rfloor", "floor"), r"\lceil": (r"\rceil", "ceil")}


class Expressions(Applications):
    def __init__(self, found: list[Token]) -> None:
        super().__init__(found)
        self._depth = 0
        self._bars = 0  # of absolute values that are open
        self._plus_minus = False

    # -- sums and products ----------------------------------------------------------------------------------------

    def _sum(self) -> Node:
        terms = [self._signed_term(self._take_sign())]
        while not isinstance(terms[0], SETS) and (sign := self._take_sign()) is not None:
            terms.append(self._signed_term(sign))
        if len(terms) == 1:
            return terms[0]
        if all(isinstance(term, Matrix) for term in terms):
            raise UnreadableError("a sum of matrices is left to do")
        return Sum(operands(*terms))

    def _take_sign(self) -> str | None:
        """The product of a run of signs; `\\mp` is the opposite of `\\pm`."""
        sign: str | None = None
        while self._at("+", "-", r"\pm", r"\mp"):
            text = self._next().text
            if text == "+" and self._at("/") and self._peek(1).text == "-":  # +/-
                self._position += 2
                text = r"\pm"
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
            if self._take("*"):
                factors.append(self._signed_factor())
            elif self._at("/") and self._peek(1).kind != "text":
                self._position += 1
                factors.append(quotient(factors.pop() if len(factors) == 1 else integer(1), self._signed_factor()))
            elif not isinstance(factors[-1], SETS) and self._starts_factor():
                factors.append(self._power())
            else:
                return product(factors)

    def _signed_factor(self) -> Node:
        sign = self._take_sign()
        if sign in (r"\pm", r"\mp"):
            raise self._unexpected()
        return negated(self._power()) if sign == "-" else self._power()

    def _starts_factor(self) -> bool:
        """Whether the next token multiplies what stands before it: `2x`, `3\\sqrt2`, `2(a+1)`."""
        token = self._peek()
        if token.kind == "word":
            return self._word_is_factor(token)
        if token.kind == "command":
            text = token.text
            if text in _NAMED_SHAPES or text in _SEGMENTS:
                return False
            return text in _STARTS or text[1:] in GREEK or function_name(text) is not None
        if token.kind == "number":  # `n 2^n`, but not `2 3`
            before = self._tokens[self._position - 1]
            return before.kind in ("word", "command") or before.text in ("}", "!")
        if token.kind != "mark":
            return False
        return token.text in ("(", "{") or (token.text == "|" and not self._bars)

    def _word_is_factor(self, token: Token) -> bool:
        word = token.text
        if len(word) == 1:
            return not (word == "U" and self._peek(1).text in ("(", "["))
        name = function_name(word)
        if word in ("pi", "sqrt") or (name is not None and self._applies(name, 1)):
            return True
        if word in _JOINING or name is not None:
            return False
        attached = self._position > 0 and self._tokens[self._position - 1].end == token.start
        return attached and not is_unit_word(word) and (len(word) <= 3 or word.startswith("pi"))

    # -- powers ---------------------------------------------------------------------------------------------------

    def _power(self) -> Node:
        node = self._postfix(self._primary())
        if not self._take("^"):
            return node
        return self._postfix(power(node, self._exponent()))

    def _exponent(self) -> Node:
        sign = self._take_sign()
        exponent = self._argument(whole_number=True)
        if self._take("^"):
            self._depth += 1
            self._check_depth()
            exponent = Power(*operands(exponent, self._exponent()))
            self._depth -= 1
        if sign in (r"\pm", r"\mp"):
            raise UnreadableError("a plus-minus in an exponent")
        return negated(exponent) if sign == "-" else exponent

    def _postfix(self, node: Node) -> Node:
        while True:
            if self._at("!"):
                self._position += 1
                if self._at("!"):
                    raise UnreadableError("a double factorial")
                node = Function("factorial", operands(node))
            elif self._angles and self._take(DEGREE, "degrees"):
                node = Product((*operands(node), DEGREE_IN_RADIANS))
            else:
                return node

    def _check_depth(self) -> None:
        if self._depth > MAX_DEPTH:
            raise UnreadableError(f"nested deeper than {MAX_DEPTH}", "too_large")

    def _primary(self) -> Node:
        self._depth += 1
        self._check_depth()
        token = self._next()
        if token.kind == "number":
            node = self._number(token)
        elif token.kind == "word":
            node = self._letters(token)
        elif token.kind == "command":
            node = self._command(token)
        elif token.kind == "repeating":
            node = repeating(token.text)
        elif token.kind == "mark" and token.text in ("(", "[", "{"):
            node = self._bracketed(token.text)
        elif token.kind == "mark" and token.text == "|" and not self._bars:
            node = self._absolute()
        else:
            self._position -= 1
            raise self._unexpected()
        self._depth -= 1
        return node

    # -- commands -------------------------------------------------------------------------------------------------

    def _command(self, token: Token) -> Node:
        command = token.text
        if command == r"\frac":
            return quotient(self._argument(), self._argument())
        if command == r"\sqrt":
            return Root(self._root_index(), *operands(self._argument(whole_number=True)))
        if command == r"\infty":
            return Infinity()
        if command == r"\emptyset":
            return Collection((), braces=True)
        if command == r"\boxed" and self._at("{"):
            return self._argument()
        if command == r"\binom":
            return Function("binomial", operands(self._argument(), self._argument()))
        if command in _CLOSINGS:
            closing, name = _CLOSINGS[command]
            return Function(name, operands(self._enclosed(self._sum, closing)))
        if command == r"\{":
            return self._bracketed(command)
        if command == r"\begin":
            return self._matrix()
        if command == r"\mathbb":
            letter = self._subscript()
            return Reals() if letter == "R" else Symbol(f"mathbb {letter}")
        if command in _VECTORS or command in _SEGMENTS or command in _NAMED_SHAPES:
            return self._decorated(command[1:])
        if command[1:] in GREEK:
            return self._name(command[1:])
        name = function_name(command)
        if name is not None:
            return self._function(name)
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
        if token.kind == "number":
            if not whole_number and len(token.text) > 1:
                if not token.text[:2].isdigit():
                    raise self._unexpected()
                self._split(1)
            return decimal(self._next().text)
        if (
            token.kind == "word"
            and len(token.text) > 1
            and not token.text.startswith("pi")
            and function_name(token.text) is None
        ):
            self._split(1)
        return self._primary()

    # -- brackets -------------------------------------------------------------------------------------------------

    def _enclosed(self, inner: Callable[[], Node], closing: str) -> Node:
        """What `inner` reads up to the closing sign, with bars and brackets counted anew."""
        state = self._brackets, self._bars
        self._brackets, self._bars = self._brackets + 1, 0
        node = inner()
        self._brackets, self._bars = state
        self._expect(closing)
        return node

    def _absolute(self) -> Node:
        self._bars += 1
        node = self._sum()
        self._bars -= 1
        self._expect("|")
        return Function("abs", operands(node))

    def _bracketed(self, opening: str) -> Node:
        """Overridden by the grammar of whole answers, which knows lists, sets and intervals."""
        raise NotImplementedError

    def _matrix(self) -> Node:
        """Overridden by the grammar of whole answers."""
        raise NotImplementedError
