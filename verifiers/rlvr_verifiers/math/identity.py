"""Rational expressions compared modulo primes, at fixed points that look random: for what is too large to expand.

`(x+y+z+1)^60` has 39,711 terms and costs a few hundred multiplications here. Two different rational functions of degree d agree
at one point modulo p with probability d/p (Schwartz and Zippel); with three primes of 61 to 127 bits that is never.
"""

from __future__ import annotations

import hashlib

from rlvr_verifiers.math.exact import UndecidedError
from rlvr_verifiers.math.tree import Function, Negation, Node, Number, Power, Product, Quotient, Sum, Symbol, UnreadableError

PRIMES = (2**61 - 1, 2**89 - 1, 2**127 - 1)
MAX_EXPONENT_BITS = 8_192


def congruent(left: Node, right: Node) -> bool:
    """Whether both sides are the same rational function. Raises UndecidedError where one is no rational function."""
    return all(_Residues(prime).value(left) == _Residues(prime).value(right) for prime in PRIMES)


class _Residues:
    def __init__(self, prime: int) -> None:
        self._prime = prime

    def value(self, node: Node) -> int:
        prime = self._prime
        match node:
            case Number(number):
                return number.numerator * self._inverse(number.denominator) % prime
            case Symbol("i" | "e"):
                raise UndecidedError("a constant")
            case Symbol(name):
                return int.from_bytes(hashlib.blake2b(name.encode()).digest()) % prime
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
