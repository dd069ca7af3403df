"""Words, capitals and sentences of a reply, by rules that can be said in a line each. Every function is one pass over the text.

words: runs of letters, digits and underscores, as in IFEval.
capital words: what stands between blanks and punctuation, hyphens, apostrophes and full stops inside it kept ("U.S.", "WELL-KNOWN"),
    where it has letters and none is small. IFEval asks a tokenizer of NLTK, which also takes "DON'T" for two words.
sentences: they end in . ! ? or their like in other scripts (…, 。, ।, ؟, ...), closing quotes and brackets included, before a blank or
    the end. A full stop behind an abbreviation, an initial or the number of a list's entry is none. What is left behind the last end
    is one more. Line ends mean nothing. IFEval asks a trained model (Punkt), which counts the number of a list's entry as a sentence.
"""

# ruff: noqa: RUF001, SIM905 - punctuation of other scripts; lists of words that can be read
from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

_WORD = re.compile(r"\w+")
_TOKEN = re.compile(r"[^\W_](?:[\w'’.&-]*[^\W_])?")
_CLOSING = "\"'”’»)]}*_"
_STOPS = ".!?…؟।"
# Each run of stops is tried from its start alone, without stepping back, or a long one would cost its square.
_END = re.compile(
    rf"(?<![{_STOPS}])[{_STOPS}]++[{re.escape(_CLOSING)}]*+(?=\s|\Z)|(?<![。！？｡])[。！？｡]++[{re.escape(_CLOSING)}」』）]*+"
)
_LOOK_BACK = 24
_LAST_WORD = re.compile(r"(?:^|\s)[\"'“‘(\[*_]*([^\s\"'“‘(\[*_]+)\Z")
_NEXT = re.compile(r"\s*+[\"'“‘(\[*_]*+(.?)")
_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof rev hon st bros vs e.g i.e eg ie cf approx dept est fig gen gov lt col sgt capt nos vol pp eds jan feb apr aug "
    "sept oct nov mt ave blvd rd".split()
)
_SENTENCE_MAY_END_WITH = frozenset("inc ltd co corp jr sr etc u.s u.k u.n d.c a.m p.m ph.d b.a m.a b.c a.d al".split())


def words(text: str) -> list[str]:
    return _WORD.findall(text)


def capital_words(text: str) -> int:
    return sum(token.isupper() for token in _TOKEN.findall(text))


def sentences(text: str) -> int:
    ends = list(_sentence_ends(text))
    return len(ends) + any(character.isalnum() for character in text[ends[-1] if ends else 0 :])


def visible(text: str) -> str:
    """Without characters that show nothing: a word with a zero-width space in it is still that word."""
    return text if text.isascii() else "".join(character for character in text if unicodedata.category(character) != "Cf")


def _sentence_ends(text: str) -> Iterator[int]:
    for match in _END.finditer(text):
        if match[0].rstrip(_CLOSING) != "." or not _goes_on(text, match):
            yield match.end()


def _goes_on(text: str, stop: re.Match[str]) -> bool:
    """Whether a full stop is part of the word before it."""
    before = _LAST_WORD.search(text[max(0, stop.start() - _LOOK_BACK) : stop.start()])
    word = before[1].casefold() if before else ""
    if word in _SENTENCE_MAY_END_WITH:
        following = _NEXT.match(text, stop.end())
        return following is not None and not following[1].isupper() and following[1] != ""
    line = text[max(0, stop.start() - _LOOK_BACK) : stop.start()].rpartition("\n")[2]
    return word in _ABBREVIATIONS or (len(word) == 1 and word.isalpha() and word != "i") or line.strip(" *_#>\t").isdecimal()
