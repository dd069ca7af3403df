"""Exact values: quotients of polynomials in letters and pi whose coefficients are sums of rational multiples of square roots.

Every value has a normal form, so equality is a comparison and never a search: `a/b = c/d` where `ad = cb`. The size of a
result is estimated before it is computed, and one evaluation has a budget of work, so a tower of powers costs nothing. What has
no such form (sines, logarithms, nested or higher roots) raises UndecidedError and is left to `numeric.py`.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import NamedTuple

from rlvr_verifiers.math.tree import (
    Function,
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

MAX_BITS = 8_192
"""Of a numerator or denominator: about 2,500 digits."""
MAX_RADICAND = 10**12
"""Larger numbers under a root are only accepted where they are perfect squares: taking squares out costs their cube root."""
MAX_DEGREE = 64
BUDGET = 4_000
"""Products of coefficients in one evaluation, each counted by its size; some tens of milliseconds at the very most."""


MAX_FACTORIAL = 300
MAX_CHOSEN = 12
"""Of a binomial coefficient of a letter: it is a polynomial of this degree."""


class UndecidedError(Exception):
    """This tier cannot say; a slower one may."""


class Monomial(NamedTuple):
    """i ** imaginary * sqrt(radicand) * product of letter ** power."""

    imaginary: int
    """0 or 1."""
    radicand: int
    """Positive and free of squares."""
    powers: tuple[tuple[str, int], ...]
    """Sorted by letter, every power positive."""


Polynomial = dict[Monomial, Fraction]
"""Without zero coefficients; {} is 0."""

UNIT = Monomial(0, 1, ())
ONE: Polynomial = {UNIT: Fraction(1)}


class Value(NamedTuple):
    numerator: Polynomial
    denominator: Polynomial


class Arithmetic:
    """One comparison's worth of work. Methods raise UnreadableError: `too_large` over budget, `unparsed` where there is no value."""

    def __init__(self) -> None:
        self._budget = float(BUDGET)

    def value(self, node: Node) -> Value:
        match node:
            case Number(number):
                return Value({UNIT: number} if number else {}, ONE)
            case Symbol("i"):
                return Value({Monomial(1, 1, ()): Fraction(1)}, ONE)
            case Symbol(name):
                return Value({Monomial(0, 1, ((name, 1),)): Fraction(1)}, ONE)
            case Negation(operand):
                inner = self.value(operand)
                return Value({key: -coefficient for key, coefficient in inner.numerator.items()}, inner.denominator)
            case Sum(terms):
                total = self.value(terms[0])
                for term in terms[1:]:
                    total = self._add(total, self.value(term))
                return total
            case Product(factors):
                product = self.value(factors[0])
                for factor in factors[1:]:
                    product = self._times(product, self.value(factor))
                return product
            case Quotient(numerator, denominator):
                return self._times(self.value(numerator), self._inverse(self.value(denominator)))
            case Power(operand, exponent):
                return self._power(self.value(operand), self.value(exponent))
            case Root(index, radicand):
                return self._root(self.value(radicand), index)
            case Function(name, arguments):
                return self._function(name, [self.value(argument) for argument in arguments])
            case _:
                raise UnreadableError(f"one cannot calculate with a {type(node).__name__.lower()}")

    def _function(self, name: str, arguments: list[Value]) -> Value:
        numbers = [number for argument in arguments if (number := rational(argument)) is not None]
        if name == "binomial" and len(numbers) == 1 and rational(arguments[1]) is not None:
            return self._falling(arguments[0], numbers[0])
        if len(numbers) != len(arguments):
            raise UndecidedError(name)
        result = _of_rationals(name, numbers)
        return Value({UNIT: result} if result else {}, ONE)

    def _falling(self, letter: Value, chosen: Fraction) -> Value:
        """n (n-1) ... (n-k+1) / k!"""
        if chosen.denominator != 1 or not 0 <= chosen <= MAX_CHOSEN:
            raise UndecidedError("binomial")
        result = Value(ONE, ONE)
        for step in range(chosen.numerator):
            result = self._times(result, self._add(letter, Value({UNIT: Fraction(-step)} if step else {}, ONE)))
        return self._times(result, Value({UNIT: Fraction(1, math.factorial(chosen.numerator))}, ONE))

    def equal(self, left: Value, right: Value) -> bool:
        if left.denominator == right.denominator:
            return left.numerator == right.numerator
        return self._multiply(left.numerator, right.denominator) == self._multiply(right.numerator, left.denominator)

    def _add(self, left: Value, right: Value) -> Value:
        if left.denominator == right.denominator:
            return Value(self._plus(left.numerator, right.numerator), left.denominator)
        numerator = self._plus(
            self._multiply(left.numerator, right.denominator), self._multiply(right.numerator, left.denominator)
        )
        return Value(numerator, self._multiply(left.denominator, right.denominator))

    def _times(self, left: Value, right: Value) -> Value:
        return Value(self._multiply(left.numerator, right.numerator), self._multiply(left.denominator, right.denominator))

    def _inverse(self, value: Value) -> Value:
        if not value.numerator:
            raise UnreadableError("division by zero")
        if len(value.numerator) == 1:
            ((key, coefficient),) = value.numerator.items()
            if not key.powers:  # 1/(c i^k sqrt(n)) = (-i)^k sqrt(n) / (c n)
                inverse = Fraction(1) / (coefficient * key.radicand)
                return Value(self._multiply({key: -inverse if key.imaginary else inverse}, value.denominator), ONE)
        return Value(value.denominator, value.numerator)

    def _power(self, base: Value, exponent: Value) -> Value:
        power = rational(exponent)
        if power is None:
            raise UndecidedError("an exponent that is not rational")
        if power.denominator != 1:
            if power.denominator > 64:
                raise UndecidedError("a high root")
            base, power = self._root(base, power.denominator), power * power.denominator
        count = power.numerator
        if count < 0:
            base, count = self._inverse(base), -count
        return Value(self._repeated(base.numerator, count), self._repeated(base.denominator, count))

    def _repeated(self, base: Polynomial, count: int) -> Polynomial:
        if base == ONE or count == 1:
            return base
        bits = max((_bits(coefficient) for coefficient in base.values()), default=0)
        if count * bits > MAX_BITS or (base.keys() != {UNIT} and count > MAX_DEGREE):
            raise UnreadableError("a power too large to evaluate", "too_large")
        result, square = ONE, base
        while count:
            if count & 1:
                result = self._multiply(result, square)
            count >>= 1
            if count:
                square = self._multiply(square, square)
        return result

    def _root(self, value: Value, index: int) -> Value:
        number = rational(value)
        if number is None:
            raise UndecidedError("a root of something other than a rational number")
        bits = _bits(number)
        self._spend(20 + bits / 16 if index > 2 or bits > 120 else 2 ** (bits / 3) / 100)
        if index == 2:
            outside, inside = _square_free(abs(number.numerator) * number.denominator)
            key = Monomial(int(number < 0), inside, ())
            return Value({key: Fraction(outside, number.denominator)} if number else {}, ONE)
        if number < 0 and index % 2 == 0:
            raise UndecidedError("an even root of a negative number")
        numerator, denominator = _integer_root(abs(number.numerator), index), _integer_root(number.denominator, index)
        if numerator is None or denominator is None:
            raise UndecidedError("a higher root that is not rational")
        return Value({UNIT: Fraction(-numerator if number < 0 else numerator, denominator)} if number else {}, ONE)

    def _plus(self, left: Polynomial, right: Polynomial) -> Polynomial:
        total = dict(left)
        for key, coefficient in right.items():
            self._charge(coefficient)
            value = total.get(key, 0) + coefficient
            if value:
                total[key] = value
            else:
                del total[key]
        return total

    def _multiply(self, left: Polynomial, right: Polynomial) -> Polynomial:
        if left == ONE:
            return right
        if right == ONE:
            return left
        product: Polynomial = {}
        for left_key, left_coefficient in left.items():
            for right_key, right_coefficient in right.items():
                self._charge(left_coefficient, right_coefficient)
                key, factor = _monomial_product(left_key, right_key)
                value = product.get(key, 0) + left_coefficient * right_coefficient * factor
                if value:
                    product[key] = value
                else:
                    product.pop(key, None)
        return product

    def _charge(self, *operands: Fraction) -> None:
        bits = sum(map(_bits, operands))
        if bits > 2 * MAX_BITS:
            raise UnreadableError("too much to calculate", "too_large")
        self._spend(1 + bits / 256)

    def _spend(self, work: float) -> None:
        self._budget -= work
        if self._budget < 0:
            raise UnreadableError("too much to calculate", "too_large")


def _of_rationals(name: str, numbers: list[Fraction]) -> Fraction:
    first = numbers[0]
    whole = all(number.denominator == 1 for number in numbers)
    match name:
        case "abs":
            return abs(first)
        case "floor":
            return Fraction(math.floor(first))
        case "ceil":
            return Fraction(math.ceil(first))
        case "min":
            return min(numbers)
        case "max":
            return max(numbers)
        case "factorial" if whole and 0 <= first <= MAX_FACTORIAL:
            return Fraction(math.factorial(first.numerator))
        case "binomial" if whole and 0 <= first <= MAX_FACTORIAL:
            return Fraction(math.comb(first.numerator, numbers[1].numerator) if numbers[1] >= 0 else 0)
        case "gcd" if whole:
            return Fraction(math.gcd(*(number.numerator for number in numbers)))
        case "lcm" if whole and sum(map(_bits, numbers)) <= MAX_BITS:
            return Fraction(math.lcm(*(number.numerator for number in numbers)))
        case _:
            raise UndecidedError(name)


def rational(value: Value) -> Fraction | None:
    """The number that a value is, or None."""
    if value.denominator != ONE or value.numerator.keys() - {UNIT}:
        return None
    return value.numerator.get(UNIT, Fraction(0))


def _bits(number: Fraction) -> int:
    return number.numerator.bit_length() + number.denominator.bit_length()


def _monomial_product(left: Monomial, right: Monomial) -> tuple[Monomial, int]:
    """The monomial and the whole number that it leaves: i * i = -1, sqrt(6) * sqrt(10) = 2 sqrt(15)."""
    if left is UNIT or right is UNIT:
        return (right if left is UNIT else left), 1
    common = math.gcd(left.radicand, right.radicand)
    factor = common if left.imaginary + right.imaginary < 2 else -common
    radicand = (left.radicand // common) * (right.radicand // common)
    if radicand > MAX_RADICAND**2:
        raise UnreadableError("too large a number under a root", "too_large")
    powers = dict(left.powers)
    for name, power in right.powers:
        powers[name] = powers.get(name, 0) + power
        if powers[name] > 2 * MAX_DEGREE:
            raise UnreadableError("too high a degree", "too_large")
    return Monomial((left.imaginary + right.imaginary) % 2, radicand, tuple(sorted(powers.items()))), factor


def _square_free(number: int) -> tuple[int, int]:
    """(a, b) with number = a * a * b and b free of squares; trial division to the cube root decides it."""
    root = math.isqrt(number)
    if root * root == number:
        return root, 1
    if number > MAX_RADICAND:
        raise UndecidedError("too large a number under a root")
    outside, inside, rest, divisor = 1, 1, number, 2
    while divisor * divisor * divisor <= rest:
        while rest % (divisor * divisor) == 0:
            rest //= divisor * divisor
            outside *= divisor
        if rest % divisor == 0:
            rest //= divisor
            inside *= divisor
        divisor += 1 if divisor == 2 else 2
    root = math.isqrt(rest)  # no divisor up to its cube root: a prime, two primes, or a prime squared
    return (outside * root, inside) if root * root == rest else (outside, inside * rest)


def _integer_root(number: int, index: int) -> int | None:
    low, high = 0, 1 << (number.bit_length() // index + 1)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if middle**index < number else (low, middle)
    return low if low**index == number else None
