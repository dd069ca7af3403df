"""The arithmetic of the grammar: sums, products, powers, roots and functions, by recursive descent, capped in depth."""

from __future__ import annotations

from collections.abc import Callable

from rlvr_verifiers.math.build import decimal, integer, negated, operands, power, product, quotient, repeating
from rlvr_verifiers.math.functions import INVERSE, OF_SEVERAL, function_name, function_prefix
from rlvr_verifiers.math.lex import DEGREE, Token
from rlvr_verifiers.math.numerals import Numerals
from rlvr_verifiers.math.tree import (
    Collection,
    Function,
    Infinity,
    Matrix,
    Node,
    Number,
    PlusMinus,
    Power,
    Product,
    Quotient,
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
MAX_ENTRIES = 64
"""Of a matrix."""

_LETTERS = """alpha beta gamma Gamma delta Delta epsilon zeta eta theta Theta iota kappa lambda Lambda mu nu xi Xi pi rho sigma
Sigma tau upsilon phi Phi chi psi Psi omega Omega ell hbar"""
GREEK = frozenset(_LETTERS.split())
INFINITIES = frozenset(("infinity", "inf", "oo", "Infinity", "infty"))
SETS = (Sequence, Collection, Reals, SetOperation)
_MATRICES = frozenset(["matrix", "pmatrix", "bmatrix", "Bmatrix", "smallmatrix", "array"])
_DECORATIONS = frozenset(
    (r"\overline", r"\overrightarrow", r"\vec", r"\hat", r"\bar", r"\tilde", r"\widehat", r"\overleftrightarrow")
)
_NAMED_SHAPES = frozenset((r"\angle", r"\triangle"))
_STARTS = frozenset((r"\frac", r"\sqrt", r"\boxed", r"\binom", r"\lfloor", r"\lceil", r"\begin", r"\infty"))
_JOINING = frozenset(("and", "or", "AND", "OR", "And", "Or", "union"))
_CLOSINGS = {r"\lfloor": (r"\rfloor", "floor"), r"\lceil": (r"\rceil", "ceil")}
_DEGREE_IN_RADIANS = Quotient(Symbol("pi"), integer(180))


class Expressions(Numerals):
    def __init__(self, found: list[Token]) -> None:
        super().__init__(found)
        self._depth = 0
        self._bars = 0  # of absolute values that are open
        self._angles = 0  # arguments of functions that are open: a degree sign in them is a factor and no unit
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
            if text in _NAMED_SHAPES or text in _DECORATIONS:
                return False
            return text in _STARTS or text[1:] in GREEK or function_name(text) is not None
        if token.kind == "number":  # `n 2^n`, but not `2 3`
            before = self._tokens[self._position - 1]
            return before.kind in ("word", "command") or before.text == "}"
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
        return attached and not is_unit_word(word, known=True) and (len(word) <= 3 or word.startswith("pi"))

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
                node = Product((*operands(node), _DEGREE_IN_RADIANS))
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

    # -- names and functions --------------------------------------------------------------------------------------

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
        if not length or is_unit_word(word, known=True):
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
        return Symbol(name)

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
            group = self._bracketed(self._next().text, several=True)
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
                node = Product((*operands(node), _DEGREE_IN_RADIANS))
        else:
            negative = self._take("-")
            factors = [self._power()]
            while not self._at("(", "|") and not self._at_function() and self._starts_factor():
                factors.append(self._power())
            node = product(factors)
            if self._at("/") and self._peek(1).kind == "number" and not _has_letter(node):
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
        if command in _DECORATIONS or command in _NAMED_SHAPES:
            return self._decorated(command[1:])
        if command[1:] in GREEK:
            return self._name(command[1:])
        name = function_name(command)
        if name is not None:
            return self._function(name)
        raise UnreadableError(f"{command[:40]!r} is outside the grammar")

    def _decorated(self, decoration: str) -> Symbol:
        r"""`\overline{AB}`, `\vec{v}`, `\angle ABC`: a name of its own."""
        letters = self._subscript()
        if not letters.isalpha():
            raise UnreadableError(f"{decoration} of {letters[:40]!r}")
        return Symbol(f"{decoration} {letters}")

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

    def _bracketed(self, opening: str, *, several: bool = False) -> Node:
        """Overridden by the grammar of whole answers, which knows lists, sets and intervals."""
        raise NotImplementedError

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


def _has_letter(node: Node) -> bool:
    match node:
        case Symbol(name):
            return name != "pi"
        case Product(parts) | Sum(parts):
            return any(_has_letter(part) for part in parts)
        case Number():
            return False
        case Quotient(left, right) | Power(left, right):
            return _has_letter(left) or _has_letter(right)
        case _:
            return True
