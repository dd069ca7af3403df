"""The value of an expression at one point, with as many binary digits as asked for.

The arithmetic is mpmath's, with the precision passed to each call: no context and no state. Letters are given as rational numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from mpmath import libmp as untyped  # pyright: ignore[reportMissingTypeStubs]

from rlvr_verifiers.math.exact import UndecidedError
from rlvr_verifiers.math.tree import (
    Function,
    Infinity,
    Negation,
    Node,
    Number,
    Power,
    Product,
    Quotient,
    Root,
    Sum,
    Symbol,
    UnreadableError,
)

libmp: Any = untyped
Complex = tuple[Any, Any]
"""libmp's pair of real numbers."""
BUDGET = 3_000
"""Of one comparison; an addition counts 1, a function `_DEAR`."""
_DEAR = 25
_MANY_DIGITS = 300
"""From here on gamma costs three times as much."""
MAX_EXPONENT = 4_000
"""log2 of the largest argument of exp, sin and the like: they need that many more digits."""
NO_VALUE = (ZeroDivisionError, ValueError, libmp.ComplexResult)
_ZERO: Complex = (libmp.fzero, libmp.fzero)
_ONE: Complex = (libmp.fone, libmp.fzero)
_NUMBERS = {"pi": libmp.mpf_pi, "e": libmp.mpf_e}


class UnseenError(ArithmeticError):
    """Part of a value is too small to show in these digits, as in 1 + e^{-1000}, so that nothing can be said about it."""


class Meter:
    """What one comparison may still spend."""

    def __init__(self) -> None:
        self._left = float(BUDGET)

    def charge(self, work: float) -> None:
        self._left -= work
        if self._left < 0:
            raise UnreadableError("too much to calculate", "too_large")


def log_size(value: Complex) -> int | None:
    """About log2 of the absolute value; None for 0."""
    sizes = [part[2] + part[3] for part in value if part[1]]
    if any(part in (libmp.finf, libmp.fninf, libmp.fnan) for part in value):
        raise ValueError
    return max(sizes) if sizes else None


class Evaluation:
    """One tree at one point with so many binary digits."""

    def __init__(self, digits: int, point: Mapping[str, Fraction], meter: Meter) -> None:
        self.digits = digits
        self._working = digits + 20
        self._point = point
        self._meter = meter
        self.complex = False
        """Whether a root, power or function was not real."""

    def both(self, left: Node, right: Node) -> tuple[Complex, Complex]:
        return self.value(left), self.value(right)

    def value(self, node: Node) -> Complex:
        """Raises ZeroDivisionError, ValueError or ComplexResult where there is none."""
        digits = self._working
        self._meter.charge(1)
        match node:
            case Number(number):
                return self._rational(number)
            case Symbol(name):
                return self._symbol(name)
            case Negation(operand):
                return libmp.mpc_neg(self.value(operand))
            case Sum(terms):
                return self._total([self.value(term) for term in terms])
            case Product(factors):
                product = _ONE
                for factor in factors:
                    product = libmp.mpc_mul(product, self.value(factor), digits)
                return product
            case Quotient(numerator, denominator):
                below = self.value(denominator)
                if below == _ZERO:
                    raise ZeroDivisionError
                return libmp.mpc_div(self.value(numerator), below, digits)
            case Power(operand, exponent):
                return self._noted(self._power(self.value(operand), exponent))
            case Root(index, radicand):
                return self._noted(self._root(self.value(radicand), index))
            case Function(name, arguments):
                self._meter.charge(_DEAR)
                return self._noted(self._function(name, [self.value(argument) for argument in arguments]))
            case Infinity():
                raise UnreadableError("one cannot calculate with infinity")
            case _:
                raise UnreadableError(f"one cannot calculate with a {type(node).__name__.lower()}")

    def _total(self, values: list[Complex]) -> Complex:
        total = _ZERO
        for value in values:
            total = libmp.mpc_add(total, value, self._working)
        sizes = [size for value in values if (size := log_size(value)) is not None]
        if sizes and min(sizes) < max(sizes) - 3 * self._working // 2:  # what is 0 but for rounding is not as small as that
            raise UnseenError
        return total

    def _noted(self, value: Complex) -> Complex:
        self.complex = self.complex or value[1] != libmp.fzero
        return value

    def _rational(self, number: Fraction) -> Complex:
        return libmp.from_rational(number.numerator, number.denominator, self._working), libmp.fzero

    def _symbol(self, name: str) -> Complex:
        if name == "i":
            return libmp.fzero, libmp.fone
        if name in _NUMBERS:
            return _NUMBERS[name](self._working), libmp.fzero
        return self._rational(self._point[name])

    def _power(self, base: Complex, exponent_node: Node) -> Complex:
        self._meter.charge(_DEAR)
        exponent = self.value(exponent_node)
        if exponent == _ZERO:
            return _ONE
        if base == _ZERO:
            if exponent[0][0]:
                raise ZeroDivisionError
            return _ZERO
        if isinstance(exponent_node, Number):
            power = exponent_node.value
            if power.denominator == 1 and abs(power.numerator) < 2**20:
                return libmp.mpc_pow_int(base, power.numerator, self._working)
            if power.denominator % 2 and power.denominator < 64 and base[1] == libmp.fzero and base[0][0]:
                root = self._root(base, power.denominator)  # of a negative number and an odd root: the real one
                return libmp.mpc_pow_int(root, power.numerator, self._working)
        self._bound(libmp.mpc_mul(exponent, libmp.mpc_log(base, 53), 53))
        return libmp.mpc_pow(base, exponent, self._working)

    def _root(self, radicand: Complex, index: int) -> Complex:
        self._meter.charge(_DEAR)
        if radicand == _ZERO:
            return _ZERO
        if index == 2:
            return libmp.mpc_sqrt(radicand, self._working)
        if radicand[1] == libmp.fzero and radicand[0][0] and index % 2:
            return libmp.mpf_neg(libmp.mpf_nthroot(libmp.mpf_neg(radicand[0]), index, self._working)), libmp.fzero
        return libmp.mpc_nthroot(radicand, index, self._working)

    def _bound(self, argument: Complex) -> None:
        size = log_size(argument)
        if size is not None and size > MAX_EXPONENT:
            raise UnreadableError("too large to evaluate", "too_large")
        self._meter.charge(max(0, size or 0) / 20)

    def _function(self, name: str, arguments: list[Complex]) -> Complex:
        digits = self._working
        first = arguments[0]
        self._bound(first)
        if name in _LEVELLING and (log_size(first) or 0) > _LEVELLING[name](self.digits):
            raise UnseenError
        if name in _OF_COMPLEX:
            return _OF_COMPLEX[name](first, digits)
        if name in _RECIPROCALS:
            below = _RECIPROCALS[name](first, digits)
            if below == _ZERO:
                raise ZeroDivisionError
            return libmp.mpc_div(_ONE, below, digits)
        if name in _INVERSE_RECIPROCALS:
            if first == _ZERO:
                raise ZeroDivisionError
            return _INVERSE_RECIPROCALS[name](libmp.mpc_div(_ONE, first, digits), digits)
        match name:
            case "ln":
                return self._log(first)
            case "log":
                below = self._log(arguments[1])
                if below == _ZERO:
                    raise ZeroDivisionError
                return libmp.mpc_div(self._log(first), below, digits)
            case "abs":
                return libmp.mpc_abs(first, digits), libmp.fzero
            case "floor" | "ceil":
                return self._rounded(name, first), libmp.fzero
            case "min" | "max":
                return self._least(arguments, largest=name == "max"), libmp.fzero
            case "factorial":
                return self._gamma(first)
            case "binomial":
                below = libmp.mpc_sub(first, arguments[1], digits)
                parts = libmp.mpc_mul(self._gamma(arguments[1]), self._gamma(below), digits)
                return libmp.mpc_div(self._gamma(first), parts, digits)
            case _:
                raise UndecidedError(name)

    def _log(self, value: Complex) -> Complex:
        if value == _ZERO:
            raise ZeroDivisionError
        return libmp.mpc_log(value, self._working)

    def _rounded(self, name: str, value: Complex) -> Any:
        """Raises UndecidedError for a value too near a whole number to say on which side of it."""
        size = log_size(value)
        nearest = libmp.mpf_nint(value[0], self._working, "n")
        distance = log_size((libmp.mpf_sub(value[0], nearest, self._working), libmp.fzero))
        exact = value[0][2] >= -self.digits // 4  # no digits far behind the point: a rational of the letters' values
        if value[1] != libmp.fzero or (size or 0) > 64 or (not exact and (distance is None or distance < -self.digits // 2)):
            raise UndecidedError(name)
        return libmp.mpf_floor(value[0]) if name == "floor" else libmp.mpf_ceil(value[0])

    def _least(self, arguments: list[Complex], *, largest: bool) -> Any:
        if any(argument[1] != libmp.fzero for argument in arguments):
            raise UndecidedError("min")
        chosen = arguments[0][0]
        for real, _ in arguments[1:]:
            if libmp.mpf_lt(chosen, real) == largest:
                chosen = real
        return chosen

    def _gamma(self, value: Complex) -> Complex:
        """value!, for real values that are not far below zero."""
        self._meter.charge(_DEAR if self.digits < _MANY_DIGITS else 3 * _DEAR)
        size = log_size(value)
        if value[1] != libmp.fzero or (size is not None and size > 64):
            raise UnreadableError("too large to evaluate", "too_large")
        return libmp.mpf_gamma(value[0], self._working, "n", 1), libmp.fzero


_Of = Callable[[Complex, int], Complex]
_OF_COMPLEX: dict[str, _Of] = {
    "sin": libmp.mpc_sin,
    "cos": libmp.mpc_cos,
    "tan": libmp.mpc_tan,
    "sinh": libmp.mpc_sinh,
    "cosh": libmp.mpc_cosh,
    "tanh": libmp.mpc_tanh,
    "arcsin": libmp.mpc_asin,
    "arccos": libmp.mpc_acos,
    "arctan": libmp.mpc_atan,
    "cis": lambda angle, digits: libmp.mpc_exp((libmp.mpf_neg(angle[1]), angle[0]), digits),
}
_RECIPROCALS: dict[str, _Of] = {"csc": libmp.mpc_sin, "sec": libmp.mpc_cos, "cot": libmp.mpc_tan}
_INVERSE_RECIPROCALS: dict[str, _Of] = {"arccsc": libmp.mpc_asin, "arcsec": libmp.mpc_acos, "arccot": libmp.mpc_atan}
_LEVELLING: dict[str, Callable[[int], int]] = {
    **dict.fromkeys(("arctan", "arccot", "arcsec", "arccsc"), lambda digits: digits // 2),
    "tanh": lambda digits: (digits // 4).bit_length(),
}
"""log2 of the argument from which on the value hardly differs from its limit."""
