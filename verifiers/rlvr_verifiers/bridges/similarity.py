"""How alike two texts are, from 0 to 1. Quadratic at worst, so both are cut at MAX_CHARACTERS."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

MAX_CHARACTERS = 20_000
_WORD = re.compile(r"[a-z0-9]+")


def ratio(first: str, second: str) -> float:
    """RapidFuzz's `ratio` as a share: twice the longest common subsequence over both lengths; 1 for two empty texts."""
    first, second = first[:MAX_CHARACTERS], second[:MAX_CHARACTERS]
    total = len(first) + len(second)
    return 2 * _common(first, second) / total if total else 1.0


def rouge_n(size: int, given: str, reference: str) -> float:
    """F1 of word n-grams (lower case, letters a to z and digits, no stemming), as rouge-score counts them."""
    one, other = _ngrams(_words(given), size), _ngrams(_words(reference), size)
    return _f1((one & other).total(), one.total(), other.total())


def rouge_l(given: str, reference: str) -> float:
    """F1 of the longest common subsequence of words."""
    one, other = _words(given), _words(reference)
    return _f1(_common(one, other), len(one), len(other))


METRICS: Mapping[str, Callable[[str, str], float]] = {
    "fuzzy_match": ratio,
    **{f"rouge_{size}": functools.partial(rouge_n, size) for size in range(1, 6)},
    "rouge_l": rouge_l,
}


def _words(text: str) -> list[str]:
    return _WORD.findall(text[:MAX_CHARACTERS].lower())


def _ngrams(words: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[start : start + size]) for start in range(len(words) - size + 1))


def _f1(common: int, given: int, wanted: int) -> float:
    return 2 * common / (given + wanted) if common else 0.0


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence, a row at a time as the bits of one integer (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for position, item in enumerate(first):
        places[item] = places.get(item, 0) | 1 << position
    row = everything = (1 << len(first)) - 1
    for item in second:
        matched = row & places.get(item, 0)
        row = ((row + matched) | (row - matched)) & everything
    return len(first) - row.bit_count()
