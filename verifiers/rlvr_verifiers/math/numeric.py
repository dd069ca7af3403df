"""Equality by numbers: both sides at several points, first with 150 binary digits and, where that leaves a doubt, with 700.

Two expressions are equal if their difference shrinks with the precision, which is right whatever the size of the values: 1/2004!
and 1/2006! differ and sin(pi) is 0. Letters get values that depend on both sides as a whole, positive and negative ones, so that
sqrt(x^2) is not x. Imported only when something needs it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction

from rlvr_verifiers.math.evaluation import NO_VALUE, Complex, Evaluation, Meter, UnseenError, libmp, log_size
from rlvr_verifiers.math.exact import UndecidedError
from rlvr_verifiers.math.random_source import RandomSource
from rlvr_verifiers.math.tree import CONSTANTS, Function, Node, Symbol, UnreadableError, walk

LOW, HIGH = 150, 700
"""Binary digits of the two passes."""
MIN_POINTS = 2
_PATTERNS = ("+", "+", "-", "mixed", "large")
_WHOLE_PATTERNS = ("whole",) * 4
"""Further points where a floor or ceiling occurs: floor(x) + 1 is ceil(x) but for whole numbers."""
_CLEAR = -40
"""log2 of a relative difference that needs no second look."""

_MPMATH = threading.RLock()
"""mpmath keeps constants and series coefficients in caches of its own that are not made for threads. One thread at a time loses
nothing, because all of this is Python under its interpreter's lock."""


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
            point = _point(names, RandomSource(left, right), "+")
            anchors = {digits: Evaluation(digits, point, meter).both(left, right) for digits in (LOW, HIGH)}
            first, second = anchors[LOW]
            if log_size(first) is None or log_size(second) is None:
                return False
            if positive and libmp.mpc_div(first, second, LOW)[0][0]:
                return False
    except UnreadableError:  # a ValueError, too
        raise
    except (*NO_VALUE, UnseenError, OverflowError):
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
    source = RandomSource(*nodes)
    points = [_point(names, source, pattern) for pattern in patterns]
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
        except NO_VALUE:
            if not point:
                raise UnreadableError("it has no value") from None
            continue
        except UnseenError:
            if not point:
                raise UndecidedError("too small a part of a value") from None
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
    size = log_size((real, libmp.fzero))
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
    except NO_VALUE:
        raise UnreadableError("it has no value") from None
    except UnseenError:
        raise UndecidedError("too small a part of a value") from None
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
    rough = log_size(libmp.mpc_sub(left, right, LOW))
    sizes = [size for size in (log_size(left), log_size(right)) if size is not None]
    if not sizes:
        return True
    scale = max(sizes)
    if rough is not None and rough - scale > _CLEAR and scale > -LOW // 2:
        return False
    if not thorough and (rough is None or rough - scale < -LOW // 2):
        return True
    fine_left, fine_right = sides(Evaluation(HIGH, point, meter))
    fine = log_size(libmp.mpc_sub(fine_left, fine_right, HIGH))
    if fine is None:
        return True
    return fine < (scale - LOW if rough is None else rough) - (HIGH - LOW) // 2


def letters(nodes: Iterable[Node]) -> frozenset[str]:
    """The names without a value of their own."""
    return _symbols(nodes) - CONSTANTS


def _symbols(nodes: Iterable[Node]) -> frozenset[str]:
    return frozenset(node.name for node in walk(*nodes) if isinstance(node, Symbol))


def _steps(nodes: Iterable[Node]) -> bool:
    """Whether a floor or ceiling occurs."""
    return any(isinstance(node, Function) and node.name in ("floor", "ceil") for node in walk(*nodes))


def _point(names: Iterable[str], source: RandomSource, pattern: str) -> dict[str, Fraction]:
    """A rational value for each letter: in the middle range, so that every letter shows."""
    point: dict[str, Fraction] = {}
    for name in sorted(names):
        value = Fraction(source.below(1_999_993) + 200_003, 1_000_003)
        if pattern == "whole":
            value = Fraction(source.below(13) + 1)
        if pattern == "-" or (pattern == "mixed" and source.below(2)):
            value = -value
        point[name] = value * 7 if pattern == "large" else value
    return point
