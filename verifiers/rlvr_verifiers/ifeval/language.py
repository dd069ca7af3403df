"""Which language a text is in: py3langid's model, which is part of its package, needs no network and has no chance in it.

It knows 97 languages; IFEval asks for 30 of them. Short texts (a few words) and close relatives (Hindi, Marathi and Nepali; Urdu and
Persian) are mistaken at times, and a text that is partly in another language counts as what most of it is. Where a language has a
script of its own, most letters have to be of it, which no name or quotation in Latin letters changes.
"""

from __future__ import annotations

import functools
import importlib
import unicodedata
from typing import Any

MAX_CHARS = 20_000
"""From the start of a text that are looked at."""

SCRIPTS = {
    **dict.fromkeys(("ar", "fa", "ur"), ("ARABIC",)),
    **dict.fromkeys(("hi", "mr", "ne"), ("DEVANAGARI",)),
    **dict.fromkeys(("ru", "uk", "bg"), ("CYRILLIC",)),
    "ja": ("HIRAGANA", "KATAKANA", "CJK"),
    "ko": ("HANGUL", "CJK"),
    "bn": ("BENGALI",),
    "gu": ("GUJARATI",),
    "he": ("HEBREW",),
    "kn": ("KANNADA",),
    "ml": ("MALAYALAM",),
    "pa": ("GURMUKHI",),
    "ta": ("TAMIL",),
    "te": ("TELUGU",),
    "th": ("THAI",),
    **dict.fromkeys(("en", "es", "pt", "fr", "de", "it", "pl", "vi", "sw", "fi"), ("LATIN",)),
}
"""Codes that IFEval asks for, and how the Unicode names of their letters begin."""


def is_language(text: str, code: str) -> bool:
    """`code`: one of SCRIPTS. Links and addresses are not looked at."""
    text = " ".join(word for word in text[:MAX_CHARS].split() if "://" not in word and "@" not in word)
    letters = [character for character in text if character.isalpha()]
    of_script = sum(unicodedata.name(letter, "").startswith(SCRIPTS[code]) for letter in letters)
    return 2 * of_script > len(letters) and str(identifier().classify(text)[0]) == code


@functools.cache
def identifier() -> Any:
    langid: Any = importlib.import_module("py3langid.langid")  # loading the model takes a moment
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE)  # our own: the module's can be narrowed by anybody
