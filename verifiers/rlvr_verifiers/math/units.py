"""Units in one spelling each: `m/s^2`, `m s^{-2}` and `metres per second squared` are one.

A unit is compared by name, never converted: 40 cents is not $40, and 1 m is not 100 cm.

Words that change a number ("million") or a claim ("not") are never units, so that "5 million" cannot pass for 5.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}

_SPELLINGS = {
    "degree": "degree degrees deg degs",
    "$": "$ dollar dollars usd",
    "€": "€ euro euros",
    "£": "£ quid",
    "¥": "¥ yen",
    "%": "% percent pct percentage",
    "radian": "radian radians rad rads",
    "celsius": "celsius °c",
    "fahrenheit": "fahrenheit °f",
    "cent": "cent cents",
    "inch": 'inch inches in "',
    "foot": "foot feet ft",
    "mile": "mile miles mi",
    "yard": "yard yards yd",
    "m": "m meter meters metre metres",
    "cm": "cm centimeter centimeters centimetre centimetres",
    "mm": "mm millimeter millimeters millimetre millimetres",
    "km": "km kilometer kilometers kilometre kilometres",
    "g": "g gram grams",
    "kg": "kg kilogram kilograms",
    "mg": "mg milligram milligrams",
    "pound": "pound pounds lb lbs",
    "ounce": "ounce ounces oz",
    "liter": "l liter liters litre litres",
    "ml": "ml milliliter milliliters millilitre millilitres",
    "second": "second seconds sec secs s",
    "minute": "minute minutes min mins",
    "hour": "hour hours hr hrs h",
    "day": "day days",
    "week": "week weeks wk wks",
    "month": "month months mo",
    "year": "year years yr yrs",
    "person": "person persons people",
    "child": "child children",
    "gallon": "gallon gallons gal gals",
    "quart": "quart quarts qt",
    "pint": "pint pints pt",
    "ton": "ton tons",
    "mole": "mole moles mol mols",
    "hertz": "hz hertz",
    "pascal": "pa pascal pascals",
    "ohm": "ohm ohms",
    "unit": "unit units",
    "newton": "n newton newtons",
    "joule": "j joule joules",
    "watt": "w watt watts",
    "volt": "v volt volts",
    "ampere": "a ampere amperes",
    "kelvin": "k kelvin",
    "am": "am a.m. a.m",
    "pm": "pm p.m. p.m",
}
_NORMAL = {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in spellings.split()}
_COMPOUND = {"mph": {"mile": 1, "hour": -1}, "kph": {"km": 1, "hour": -1}, "cc": {"cm": 3}}
_POWERS = {"square": 2, "squared": 2, "sq": 2, "cubic": 3, "cubed": 3, "cu": 3}
_MONEY = ("$", "€", "£", "¥")
_ASIDES = frozenset(
    [
        "long",
        "tall",
        "wide",
        "high",
        "deep",
        "thick",
        "old",
        "away",
        "apart",
        "altogether",
        "overall",
        "total",
        "left",
        "remaining",
        "only",
        "each",
        "ago",
        "later",
    ]
)
"""Behind a unit they change nothing: `5 feet long`."""
_IN = frozenset(["total", "all", "length", "area", "volume", "height", "width", "size", "diameter", "radius", "perimeter"])
_PART = re.compile(r"[^\W\d_]+|\^\s?\{?(-?\d{1,2})\}?|\\cdot|\S")
_REWRITTEN = re.compile(r"\bper\s?cent\b|\bpercentage points?\b|\\[,;:! ]|~|\(s\)|\b(\w)\.\s?(?=\w\b)")
MAX_NOUNS = 3
_OTHER_WORDS = """a about above additional after all almost also an and approximately are around at be because bad before below billion
billionth bn but by can cannot cos could crore crores cube cuberoot divided double doubled dozen each eighth eighths
either else equal equals estimate estimated exactly extra factorial excluding false fewer fifth fifths followed for fourth fourths
from googol greater gross guess half halved halves hundred hundredth hundredths if incorrect infinity into invalid inverse inversed is isn't
it lakh lakhs less let ln log maximum maybe mean means mil million millionth millionths minimum minus mn mod modulo more
most multiplied must nearly negative never ninth ninths no none nor not of off or over percentile perhaps plus point
positive possibly power probably quarter quarters raised reciprocal remainder remaining repeating root roughly rounded
same score seventh sevenths sin since sixth sixths so sqrt squareroot squares tan tenth tenths than that the then there
third thirds thousand thousandths thus times to trillion triple tripled true twice undefined unknown unless until untrue up we
when where which while with without wrong you"""
_NEVER = frozenset(_OTHER_WORDS.split())


def is_unit_word(word: str) -> bool:
    """Whether a word is one of the units listed here."""
    return word.casefold() in _NORMAL or word.casefold() in _COMPOUND


def read_unit(source: str) -> dict[str, int] | None:
    """The units that a text names, each with its power; {} where the text adds nothing (`of the total`). None: it is no unit.

    A noun that is not listed is a unit of its own, so `5 students` are not `5 teachers`.
    """
    text = _REWRITTEN.sub(
        lambda match: "percent" if match[0].startswith("per") else match[1] or " ", source.casefold()
    ).strip(" .,")
    return _Reader([(match[0], match[1]) for match in _PART.finditer(text)]).read()


def unit_name(powers: Mapping[str, int]) -> str:
    """`m s^-2`: in alphabetical order, so that one unit has one name."""
    return " ".join(name if power == 1 else f"{name}^{power}" for name, power in sorted(powers.items()) if power)


def unit_powers(name: str) -> dict[str, int]:
    """The reverse of `unit_name`."""
    parts = (part.partition("^") for part in name.split())
    return {unit: int(power or 1) for unit, _, power in parts}


def same_unit(gold: str, answer: str) -> bool:
    """Also where one says pound and the other £, degree and degree Celsius, or one leaves `per pound` behind money out."""
    if gold == answer or {gold, answer} in ({"£", "pound"}, {"degree", "celsius"}, {"degree", "fahrenheit"}):
        return True
    powers, others = unit_powers(gold), unit_powers(answer)
    amounts = [{unit: power for unit, power in side.items() if power > 0} for side in (powers, others)]
    return amounts[0] == amounts[1] and set(amounts[0]) <= set(_MONEY) and amounts[0] in (powers, others)


class _Reader:
    def __init__(self, parts: list[tuple[str, str | None]]) -> None:
        self._parts = parts
        self._powers: dict[str, int] = {}
        self._nouns: list[str] = []
        """Words that are not listed and stand side by side: one noun."""
        self._last = ""
        self._sign = 1
        self._power = 1

    def read(self) -> dict[str, int] | None:
        count = 0
        for index, (part, power) in enumerate(self._parts):
            if part == "of" and index + 1 < len(self._parts):
                return self._powers if self._is_idle(index + 1) and self._ended() else None
            if part == "in" and index + 1 < len(self._parts) and self._parts[-1][0] in _IN:
                return self._powers if index + 2 == len(self._parts) and self._ended() else None
            known = self._step(part, power, index)
            count += part[0].isalpha() and part not in _POWERS and part != "per"
            if not known or count > MAX_NOUNS:
                return None
        if self._sign < 0 or self._power != 1 or not (self._powers or all(part in _ASIDES for part, _ in self._parts)):
            return None
        if self._powers.get("degree") == 1 and ("celsius" in self._powers or "fahrenheit" in self._powers):
            del self._powers["degree"]
        return self._powers

    def _step(self, part: str, power: str | None, index: int) -> bool:
        """Whether the part can stand here."""
        if power is not None:
            return self._raise(int(power))
        if part in ("per", "/") or (part in ("a", "an") and self._powers and index + 1 < len(self._parts)):
            self._sign, self._nouns = -1, []
            return True
        if part in ("*", "·", r"\cdot"):
            self._nouns = []
            return bool(self._powers) and index + 1 < len(self._parts)
        if part in _POWERS:
            if part in ("squared", "cubed") or (self._last and index + 1 == len(self._parts)):
                return self._raise(_POWERS[part])
            self._power = _POWERS[part]
            return True
        if part in "(),.-":
            return True
        if part in _ASIDES and (self._powers or index + 1 == len(self._parts)):
            return True
        return self._name(part)

    def _name(self, part: str) -> bool:
        if part in _COMPOUND:
            for unit, power in _COMPOUND[part].items():
                self._add(unit, power)
        elif part in _NORMAL:
            self._add(_NORMAL[part], 1)
            self._nouns = []
        elif part.isalpha() and len(part) <= 20 and part not in _NEVER:
            if self._nouns:
                power = self._powers.pop("_".join(self._nouns))
                self._nouns.append(_singular(part))
                self._last = "_".join(self._nouns)
                self._powers[self._last] = power
            else:
                self._nouns = [_singular(part)]
                self._add(self._nouns[0], 1)
        else:
            return False
        return True

    def _add(self, unit: str, power: int) -> None:
        self._powers[unit] = self._powers.get(unit, 0) + self._sign * self._power * power
        self._last, self._sign, self._power = unit, 1, 1

    def _raise(self, power: int) -> bool:
        """Raises the last unit. Behind `per` its power is negative already."""
        if not self._last or abs(self._powers[self._last]) != 1:
            return False
        self._powers[self._last] *= power
        return power != 0

    def _is_idle(self, start: int) -> bool:
        """Whether what follows "of" is words that calculate nothing: `of the pie`, `of them`."""
        rest = [
            part
            for part, _ in self._parts[start:]
            if part not in ("the", "a", "an", "all", "these", "those", "its", "her", "his")
        ]
        return all(part.isalpha() and part not in _NEVER for part in rest) and (bool(rest) or self._parts[-1][0] == "all")

    def _ended(self) -> bool:
        return self._sign > 0 and self._power == 1


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("xes", "ches", "shes", "sses")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
