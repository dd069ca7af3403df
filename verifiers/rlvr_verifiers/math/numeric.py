"""Equality by numbers: both sides at several points, first with 150 binary digits and, where that leaves a doubt, with 700.

Two expressions are equal if their difference shrinks with the precision, which is right whatever the size of the values: 1/2004!
and 1/2006! differ and sin(pi) is 0. Letters get fixed points, positive and negative ones, so that sqrt(x^2) is not x. The
arithmetic is mpmath's, with the precision passed to each call: no context, and imported only when something needs it.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
LOW, HIGH = 150, 700
"""Binary digits of the two passes."""
BUDGET = 3_000
"""Of one comparison; an addition counts 1, a function `_DEAR`."""
_DEAR = 25
MAX_EXPONENT = 4_000
"""log2 of the largest argument of exp, sin and the like: they need that many more digits."""
MIN_POINTS = 2
_PATTERNS = ("+", "+", "-", "mixed", "large")
_WHOLE_PATTERNS = ("whole",) * 4
"""Further points where a floor or ceiling occurs: floor(x) + 1 is ceil(x) but for whole numbers."""
_CLEAR = -40
"""log2 of a relative difference that needs no second look."""

_NO_VALUE = (ZeroDivisionError, ValueError, libmp.ComplexResult)
_ZERO: Complex = (libmp.fzero, libmp.fzero)
_ONE: Complex = (libmp.fone, libmp.fzero)
_NUMBERS = {"pi": libmp.mpf_pi, "e": libmp.mpf_e}


_MPMATH = threading.RLock()
"""mpmath keeps constants and series coefficients in caches of its own that are not made for threads. One thread at a time loses
nothing, because all of this is Python under its interpreter's lock."""


class Meter:
    """What one comparison may still spend."""

    def __init__(self) -> None:
        self._left = float(BUDGET)

    def charge(self, work: float) -> None:
        self._left -= work
        if self._left < 0:
            raise UnreadableError("too much to calculate", "too_large")


def equal(left: Node, right: Node, meter: Meter) -> bool:
    """Raises UndecidedError where too few points have a value on both sides."""
    return _vanishes(lambda at: at.both(left, right), (left, right), meter)


def proportional(left: Node, right: Node, meter: Meter, *, positive: bool = False) -> bool:
    """Whether left = c * right with a constant c that is not 0; `positive`: and c > 0."""
    names = letters((left, right))
    if not names:
        raise UndecidedError("an equation without letters")
    try:
        with _MPMATH:
            point = _point(names, -1, "+")
            anchors = {digits: Evaluation(digits, point, meter).both(left, right) for digits in (LOW, HIGH)}
            first, second = anchors[LOW]
            if _size(first) is None or _size(second) is None:
                return False
            if positive and libmp.mpc_div(first, second, LOW)[0][0]:
                return False
    except UnreadableError:  # a ValueError, too
        raise
    except (*_NO_VALUE, OverflowError):
        raise UndecidedError("a side has no value at the first point") from None

    def crossed(at: Evaluation) -> tuple[Complex, Complex]:
        one, two = anchors[at.digits]
        return libmp.mpc_mul(at.value(left), two, at.digits), libmp.mpc_mul(at.value(right), one, at.digits)

    return _vanishes(crossed, (left, right), meter)


def _vanishes(sides: Callable[[Evaluation], tuple[Complex, Complex]], nodes: Iterable[Node], meter: Meter) -> bool:
    """Whether the two sides agree wherever both are defined: at real points first, where every part of both is real.

    Where there are too few of those, as for sqrt(x-9), complex values decide.
    """
    nodes = tuple(nodes)
    names = letters(nodes)
    if not names:
        return _agreements(sides, [{}], meter, real=False) is not None
    patterns = _PATTERNS + (_WHOLE_PATTERNS if _steps(nodes) else ())
    points = [_point(names, index, pattern) for index, pattern in enumerate(patterns)]
    for real in (True, False) if "i" not in _symbols(nodes) else (False,):
        agreed = _agreements(sides, points, meter, real=real)
        if agreed is None:
            return False
        if agreed >= MIN_POINTS:
            return True
    raise UndecidedError("too few points with a value")


def _agreements(
    sides: Callable[[Evaluation], tuple[Complex, Complex]],
    points: Sequence[Mapping[str, Fraction]],
    meter: Meter,
    *,
    real: bool,
) -> int | None:
    """At how many points both sides agree; None where they differ at one."""
    agreed = 0
    for index, point in enumerate(points):
        try:
            with _MPMATH:
                verdict = _agree(sides, point, meter, real=real, thorough=index < MIN_POINTS)
        except UnreadableError:  # a ValueError, too
            raise
        except _NO_VALUE:
            if not point:
                raise UnreadableError("it has no value") from None
            continue
        except OverflowError:
            raise UnreadableError("too large to evaluate", "too_large") from None
        if verdict is False:
            return None
        agreed += verdict is True
    return agreed


def real_value(node: Node, meter: Meter) -> Fraction:
    """A constant to some 45 significant digits. Raises UndecidedError where it has letters or is not real."""
    if letters((node,)):
        raise UndecidedError("a letter has no value")
    real, imaginary = _value_of(node, HIGH, meter)
    size = _size((real, libmp.fzero))
    if imaginary != libmp.fzero and (libmp.mpf_abs(imaginary)[2] + imaginary[3]) > (size or 0) - 300:
        raise UndecidedError("not a real number")
    numerator, denominator = libmp.to_rational(libmp.mpf_pos(real, LOW + 50, "n"))
    return Fraction(int(numerator), int(denominator))


def nearly_equal(left: Node, right: Node, tolerance: float, meter: Meter) -> bool:
    """Whether two constants differ by at most `tolerance`, relative to the first."""
    if letters((left, right)):
        return False
    one, two = _value_of(left, LOW, meter), _value_of(right, LOW, meter)
    difference = libmp.mpc_abs(libmp.mpc_sub(one, two, LOW), LOW)
    bound = libmp.mpf_mul(libmp.mpc_abs(one, LOW), libmp.from_float(tolerance), LOW)
    return bool(libmp.mpf_le(difference, bound))


def _value_of(node: Node, digits: int, meter: Meter) -> Complex:
    try:
        with _MPMATH:
            return Evaluation(digits, {}, meter).value(node)
    except UnreadableError:  # a ValueError, too
        raise
    except _NO_VALUE:
        raise UnreadableError("it has no value") from None
    except OverflowError:
        raise UnreadableError("too large to evaluate", "too_large") from None


def _agree(
    sides: Callable[[Evaluation], tuple[Complex, Complex]],
    point: Mapping[str, Fraction],
    meter: Meter,
    *,
    real: bool,
    thorough: bool,
) -> bool | None:
    """None where some part of a side is not real though all letters are, such as sqrt(x) at -1: nothing can be said there.

    `thorough`: with all digits, even where the first pass leaves little doubt.
    """
    evaluation = Evaluation(LOW, point, meter)
    left, right = sides(evaluation)
    if real and evaluation.complex:
        return None
    rough = _size(libmp.mpc_sub(left, right, LOW))
    sizes = [size for size in (_size(left), _size(right)) if size is not None]
    if not sizes:
        return True
    scale = max(sizes)
    if rough is not None and rough - scale > _CLEAR and scale > -LOW // 2:
        return False
    if not thorough and (rough is None or rough - scale < -LOW // 2):
        return True
    fine_left, fine_right = sides(Evaluation(HIGH, point, meter))
    fine = _size(libmp.mpc_sub(fine_left, fine_right, HIGH))
    if fine is None:
        return True
    return fine < (scale - LOW if rough is None else rough) - (HIGH - LOW) // 2


def _size(value: Complex) -> int | None:
    """About log2 of the absolute value; None for 0."""
    sizes = [part[2] + part[3] for part in value if part[1]]
    if any(part in (libmp.finf, libmp.fninf, libmp.fnan) for part in value):
        raise ValueError
    return max(sizes) if sizes else None


def letters(nodes: Iterable[Node]) -> frozenset[str]:
    """The names without a value of their own."""
    return _symbols(nodes) - {"pi", "e", "i"}


def _symbols(nodes: Iterable[Node]) -> frozenset[str]:
    return frozenset(node.name for node in _walk(nodes) if isinstance(node, Symbol))


def _steps(nodes: Iterable[Node]) -> bool:
    """Whether a floor or ceiling occurs."""
    return any(isinstance(node, Function) and node.name in ("floor", "ceil") for node in _walk(nodes))


def _walk(nodes: Iterable[Node]) -> Iterator[Node]:
    """Every node of the expressions; without recursion, whatever their depth."""
    stack = list(nodes)
    while stack:
        node = stack.pop()
        yield node
        match node:
            case Sum(parts) | Product(parts) | Function(_, parts):
                stack.extend(parts)
            case Quotient(left, right) | Power(left, right):
                stack += (left, right)
            case Negation(operand) | Root(_, operand):
                stack.append(operand)
            case _:
                pass


def _point(names: Iterable[str], index: int, pattern: str) -> dict[str, Fraction]:
    """A fixed rational value for each letter, that looks random and depends on its name alone."""
    point: dict[str, Fraction] = {}
    for name in names:
        mixed = zlib.crc32(f"{name}/{index}".encode())
        value = Fraction(mixed % 1_999_993 + 200_003, 1_000_003)
        if pattern == "whole":
            value = Fraction((zlib.crc32(name.encode()) + index) % 13 + 1)
        if pattern == "-" or (pattern == "mixed" and zlib.crc32(name.encode()) & 1):
            value = -value
        point[name] = value * 7 if pattern == "large" else value
    return point


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
                total = _ZERO
                for term in terms:
                    total = libmp.mpc_add(total, self.value(term), digits)
                return total
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
        size = _size(argument)
        if size is not None and size > MAX_EXPONENT:
            raise UnreadableError("too large to evaluate", "too_large")
        self._meter.charge(max(0, size or 0) / 20)

    def _function(self, name: str, arguments: list[Complex]) -> Complex:
        digits = self._working
        first = arguments[0]
        self._bound(first)
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
        size = _size(value)
        nearest = libmp.mpf_nint(value[0], self._working, "n")
        distance = _size((libmp.mpf_sub(value[0], nearest, self._working), libmp.fzero))
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
        self._meter.charge(_DEAR if self.digits == LOW else 3 * _DEAR)
        size = _size(value)
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
