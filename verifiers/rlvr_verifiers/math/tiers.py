"""Whether two expressions have the same value, cheapest way first:

1. the same tree (towers of powers are only ever compared like this);
2. exact normal forms: rational numbers, square roots, i, polynomials and their quotients (`exact.py`);
3. residues modulo primes, for rational expressions too large to expand (`identity.py`);
4. numbers at several points with rising precision, for everything else (`numeric.py`).

There is no tier of symbolic algebra: what none of these can decide is not equal.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from rlvr_verifiers.math.exact import Arithmetic, Polynomial, UndecidedError, rational
from rlvr_verifiers.math.tree import Node, Number, UnreadableError

if TYPE_CHECKING:
    from rlvr_verifiers.math.numeric import Meter


class Tiers:
    """One comparison's worth of work. Methods raise UnreadableError where a side has no value or is too large."""

    def __init__(self) -> None:
        self._arithmetic = Arithmetic()
        self._meter: Meter | None = None
        self.decided: Literal["", "tree", "exact", "residues", "numbers", "undecided"] = ""

    def equal(self, left: Node, right: Node) -> bool:
        """Leaves in `decided` which tier it was."""
        if left == right:
            self.decided = "tree"
            return True
        large: UnreadableError | None = None
        try:
            same = self._arithmetic.equal(self._arithmetic.value(left), self._arithmetic.value(right))
            self.decided = "exact"
            return same
        except UndecidedError:
            pass
        except UnreadableError as problem:
            if problem.reason != "too_large":
                raise
            large = problem
        if large is not None:
            from rlvr_verifiers.math.identity import congruent

            try:
                same = congruent(left, right)
                self.decided = "residues"
                return same
            except UndecidedError:
                pass
        from rlvr_verifiers.math import numeric

        try:
            same = numeric.equal(left, right, self._numeric_meter())
            self.decided = "numbers"
            return same
        except UndecidedError:
            self.decided = "undecided"
            if large is not None:
                raise large from None
            return False

    def proportional(self, left: Node, right: Node, *, positive: bool) -> bool:
        """left = c * right with a constant c other than 0, or a positive one."""
        try:
            exact = self._exactly_proportional(left, right, positive=positive)
        except UndecidedError:
            exact = None
        if exact is not None:
            return exact
        from rlvr_verifiers.math import numeric

        try:
            return numeric.proportional(left, right, self._numeric_meter(), positive=positive)
        except UndecidedError:
            return False

    def _exactly_proportional(self, left: Node, right: Node, *, positive: bool) -> bool | None:
        """Of numerators with rational coefficients: y = x/2 and 2y = x have the same zeros. None where it cannot say."""
        first, second = self._arithmetic.value(left), self._arithmetic.value(right)
        one, two = first.numerator, second.numerator
        if not one or not two or (positive and (len(first.denominator) > 1 or len(second.denominator) > 1)):
            return None
        if one.keys() != two.keys():
            return None if any(key.radicand > 1 or key.imaginary for key in (*one, *two)) else False
        ratios = {one[key] / two[key] for key in one}
        if positive:
            ratios = {ratio * _sign(second.denominator) * _sign(first.denominator) for ratio in ratios}
        return len(ratios) == 1 and (not positive or min(ratios) > 0)

    def real_value(self, node: Node) -> Fraction:
        """A constant as a number, rounded to some 45 digits where it is irrational. Raises UndecidedError with letters."""
        if isinstance(node, Number):
            return node.value
        try:
            number = rational(self._arithmetic.value(node))
        except UndecidedError:
            number = None
        if number is not None:
            return number
        from rlvr_verifiers.math import numeric

        return numeric.real_value(node, self._numeric_meter())

    def near(self, left: Node, right: Node, tolerance: float) -> bool:
        from rlvr_verifiers.math import numeric

        try:
            return numeric.nearly_equal(left, right, tolerance, self._numeric_meter())
        except UndecidedError:
            return False

    def check(self, node: Node) -> None:
        """Raises UnreadableError (`unparsed`) where an expression has no value, such as 1/0. One too large to compute is fine."""
        try:
            self._arithmetic.value(node)
        except UndecidedError:
            pass
        except UnreadableError as problem:
            if problem.reason != "too_large":
                raise

    def _numeric_meter(self) -> Meter:
        from rlvr_verifiers.math import numeric

        if self._meter is None:
            self._meter = numeric.Meter()
        return self._meter


def _sign(denominator: Polynomial) -> int:
    return 1 if next(iter(denominator.values())) > 0 else -1
