"""Other spellings of a gold answer that mean the same, and near misses that do not. Numbers and fractions; else text."""

from __future__ import annotations

import re
from fractions import Fraction

_INTEGER = re.compile(r"-?\d{1,15}\Z")
_DECIMAL = re.compile(r"-?\d{1,12}\.\d{1,12}\Z")
_FRACTION = re.compile(r"(-?)(?:\\d?frac\{(\d{1,9})\}\{(\d{1,9})\}|(\d{1,9})/(\d{1,9}))\Z")


def number_of(gold: str) -> Fraction | None:
    """The rational number that a gold plainly is; None where it is anything else."""
    gold = gold.strip()
    if _INTEGER.match(gold) or _DECIMAL.match(gold):
        return Fraction(gold)
    match = _FRACTION.match(gold)
    if match is None or int(match[3] or match[5]) == 0:
        return None
    value = Fraction(int(match[2] or match[4]), int(match[3] or match[5]))
    return -value if match[1] else value


def equivalents(gold: str) -> list[str]:
    """Spellings that nobody would call wrong: no unreduced fraction, no rounding, no expression left to compute."""
    value = number_of(gold)
    found = [f" {gold} ", f"${gold}$"]
    if value is not None and value.denominator == 1:
        whole = value.numerator
        found += [f"{whole}.0", f"{whole}.00"]
        if abs(whole) >= 1_000:
            found += [f"{whole:,}", f"{whole:,}".replace(",", "{,}")]
    elif value is not None:
        sign, above = "-" if value < 0 else "", abs(value.numerator)
        found += [rf"{sign}\frac{{{above}}}{{{value.denominator}}}", rf"{sign}\dfrac{{{above}}}{{{value.denominator}}}"]
        found += [f"{value.numerator}/{value.denominator}"]
        if _finite(value):
            found.append(str(float(value)))
    return [spelling for spelling in dict.fromkeys(found) if spelling != gold]


def near_misses(gold: str) -> list[str]:
    """Wrong, and close: the neighbours, the other sign, a digit more, fewer or exchanged, the inverse."""
    value = number_of(gold)
    if value is None:
        return [
            gold[: len(gold) // 2] or "x",
            gold + "x",
            gold[::-1] if gold[::-1] != gold else gold + gold[:1],
            f"not {gold}",
        ]
    wrong = [value + 1, value - 1, -value, value * 10, value / 10 + 1, value + Fraction(1, 1_000)]
    wrong += [1 / value] if value else []
    digits = str(value.numerator)
    if len(digits.lstrip("-")) > 1:
        wrong.append(Fraction(int(digits[:-2] + digits[-1] + digits[-2]), value.denominator))
    return [_spelt(each) for each in dict.fromkeys(wrong) if each != value]


def look_alikes(gold: str) -> list[str]:
    """The wrong answer in letters that look like the right one's: digits become letters, and none is the digit."""
    table = str.maketrans("015", "OlS")
    return [gold.translate(table)] if gold.translate(table) != gold else []


def _finite(value: Fraction) -> bool:
    denominator = value.denominator
    for prime in (2, 5):
        while denominator % prime == 0:
            denominator //= prime
    return denominator == 1 and value.denominator <= 10_000


def _spelt(value: Fraction) -> str:
    if value.denominator == 1:
        return str(value.numerator)
    return (
        str(float(value))
        if _finite(value)
        else rf"{'-' if value < 0 else ''}\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"
    )
