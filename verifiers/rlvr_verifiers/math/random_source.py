"""Numbers that look random and depend on the two sides of a comparison, whichever comes first.

A comparison has to come out the same in every process, and an answer must not be made to fit the points at which it is tried: who
writes it does not know the gold, and another answer is tried at other points.
"""

from __future__ import annotations

import hashlib

from rlvr_verifiers.math.tree import Node

_WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
"""Of compositeness: enough for every number below 3 * 10**24."""


class RandomSource:
    def __init__(self, *nodes: Node) -> None:
        self._seed = "\0".join(sorted(map(repr, nodes))).encode()
        self._count = 0

    def below(self, bound: int) -> int:
        """0 to bound - 1, for a bound far below 2**128."""
        self._count += 1
        digest = hashlib.blake2b(self._seed, digest_size=16, salt=self._count.to_bytes(8)).digest()
        return int.from_bytes(digest) % bound

    def prime(self, bits: int) -> int:
        """A prime of exactly so many bits, at most 80."""
        while True:
            candidate = (1 << (bits - 1)) | self.below(1 << (bits - 1)) | 1
            if _is_prime(candidate):
                return candidate


def _is_prime(number: int) -> bool:
    """Miller and Rabin, for odd numbers above the witnesses."""
    odd = number - 1
    twos = (odd & -odd).bit_length() - 1
    odd >>= twos
    return all(_passes(number, witness, odd, twos) for witness in _WITNESSES)


def _passes(number: int, witness: int, odd: int, twos: int) -> bool:
    power = pow(witness, odd, number)
    if power in (1, number - 1):
        return True
    for _ in range(twos - 1):
        power = power * power % number
        if power == number - 1:
            return True
    return False
