"""Units in one spelling each. A unit is compared by name, never converted: 40 cents is not $40, and 1 m is not 100 cm.

Words that change a number ("million") or a claim ("not") are never units, so that "5 million" cannot pass for 5.
"""

from __future__ import annotations

from collections.abc import Sequence

SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}

_SPELLINGS = {
    "degree": "degree degrees deg degs",
    "$": "$ dollar dollars usd",
    "€": "€ euro euros",
    "£": "£",
    "%": "% percent pct",
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
    "unit": "unit units",
    "mph": "mph",
    "kph": "kph km/h",
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
_COMPOUND = {"mile per hour": "mph", "km per hour": "kph", "m per second": "m per s", "km per h": "kph"}
_POWERS = {"square": "^2", "squared": "^2", "sq": "^2", "cubic": "^3", "cubed": "^3"}
_OTHER_WORDS = """a about above additional after all almost also an and approximately are around at be because before below billion
billionth bn but by can cannot cos could crore crores cube cuberoot divided double doubled dozen each eighth eighths
either else equal equals estimate estimated exactly extra factorial false fewer fifth fifths followed for fourth fourths
from googol greater gross guess half halved halves hundred hundredth hundredths if infinity into inverse inversed is isn't
it lakh lakhs less let ln log maximum maybe mean means mil million millionth millionths minimum minus mn mod modulo more
most multiplied must nearly negative never ninth ninths no none nor not of off or over percentile perhaps plus point
positive possibly power probably quarter quarters raised reciprocal remainder remaining repeating root roughly rounded
same score seventh sevenths sin since sixth sixths so sqrt squareroot squares tan tenth tenths than that the then there
third thirds thousand thousandths thus times to trillion triple tripled true twice undefined unknown unless until up we
when where which while with without wrong you"""
_NEVER = frozenset(_OTHER_WORDS.split())


def is_unit_word(word: str, *, known: bool = False) -> bool:
    """Whether a word may stand behind a number as its unit; `known`: only the units listed here, not any noun."""
    if known:
        return word.casefold() in _NORMAL
    return (
        word in _NORMAL
        or word in _POWERS
        or word[0] in "^_"
        or word == "per"
        or (word not in _NEVER and word.isalpha() and len(word) <= 20)
    )


def is_power(word: str) -> bool:
    """Whether the word raises a unit to a power: `square`, `^2`."""
    return word in _POWERS or word[0] == "^"


def normal_unit(words: Sequence[str]) -> str:
    """`["square", "inches"]` and `["inch", "^2"]` to `inch^2`; an unknown noun loses its plural s."""
    named = [word for word in words if not is_power(word)]
    power = next((_POWERS.get(word, word) for word in words if is_power(word)), "")
    unit = " ".join(_NORMAL.get(word) or _singular(word) for word in named)
    return _COMPOUND.get(unit, unit) + power


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
