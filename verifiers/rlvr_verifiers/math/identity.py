"""Rational expressions compared modulo primes, with random values for their letters: for what is too large to expand.

`(x+y+z+1)^60` has 39,711 terms and costs a few hundred multiplications here. Two different rational functions of degree d agree
at a random point modulo p with probability d/p at most (Schwartz and Zippel), and a number that is not 0 is divisible by few of
the 10^16 primes of 61 bits. Primes and points depend on both sides, so that no answer can be made to fit them.
"""

from __future__ import annotations

from collections.abc import Mapping

from rlvr_verifiers.math.exact import UndecidedError
from rlvr_verifiers.math.random_source import RandomSource
from rlvr_verifiers.math.tree import (
    Function,
    Negation,
    Node,
    Number,
    Power,
    Product,
    Quotient,
    Sum,
    Symbol,
    UnreadableError,
    walk,
)

PRIMES = 3
PRIME_BITS = 61
MAX_EXPONENT_BITS = 8_192


def congruent(left: Node, right: Node) -> bool:
    """Whether both sides are the same rational function. Raises UndecidedError where one is no rational function."""
    source = RandomSource(left, right)
    names = sorted({node.name for node in walk(left, right) if isinstance(node, Symbol)})
    for _ in range(PRIMES):
        prime = source.prime(PRIME_BITS)
        residues = _Residues(prime, {name: source.below(prime) for name in names})
        if residues.value(left) != residues.value(right):
            return False
    return True


class _Residues:
    def __init__(self, prime: int, letters: Mapping[str, int]) -> None:
        self._prime = prime
        self._letters = letters

    def value(self, node: Node) -> int:
        prime = self._prime
        match node:
            case Number(number):
                return number.numerator * self._inverse(number.denominator) % prime
            case Symbol("i" | "e"):
                raise UndecidedError("a constant")
            case Symbol(name):
                return self._letters[name]
            case Negation(operand):
                return -self.value(operand) % prime
            case Sum(terms):
                return sum(self.value(term) for term in terms) % prime
            case Product(factors):
                result = 1
                for factor in factors:
                    result = result * self.value(factor) % prime
                return result
            case Quotient(numerator, denominator):
                return self.value(numerator) * self._inverse(self.value(denominator)) % prime
            case Power(operand, exponent):
                return self._power(self.value(operand), exponent)
            case Function():
                raise UndecidedError("a function")
            case _:
                raise UndecidedError("no rational function")

    def _power(self, base: int, exponent: Node) -> int:
        if not isinstance(exponent, Number) or exponent.value.denominator != 1:
            raise UndecidedError("an exponent that is not a whole number")
        power = exponent.value.numerator
        if power.bit_length() > MAX_EXPONENT_BITS:
            raise UnreadableError("a power too large to evaluate", "too_large")
        if base == 0:
            if power <= 0:
                raise UndecidedError("a power of zero")
            return 0
        return pow(base, power % (self._prime - 1), self._prime)

    def _inverse(self, value: int) -> int:
        if value % self._prime == 0:
            raise UndecidedError("zero below a line")
        return pow(value, -1, self._prime)
