"""What the words of a programming problem say about its judge: are there several right answers, and is there a tolerance?

Comparing output with output is only fair where there is one right output. Problems that have several need a judge of their
own, which data sets do not ship, so they have to be told apart by their statement. The phrases below err on the side of
leaving a problem out: a right program that scores 0 teaches worse than a problem that is missing.
"""

from __future__ import annotations

import re

MAX_STATEMENT = 100_000
"""Characters; longer ones are refused by the source before anything searches them."""
LARGEST_TOLERANCE = 0.01

_SEVERAL = re.compile(
    r"""(?ix)
    \bany\ (?:one\ )?of\ (?:them|these|those|the\ (?:answers|solutions|possible|valid|correct|optimal|suitable))\b
    | \b(?:print|output|return|display|find|choose|write|report)\s+(?:out\s+)?any\b(?!\s+(?:more|other|extra|additional|spaces?|whitespace))
    | \bany\ (?:valid|correct|suitable|such|possible|optimal|acceptable)\b.{0,40}\b(?:accepted|ok|allowed|printed|output)\b
    | \bin\ (?:any|arbitrary)\ order\b
    | \bother\ (?:valid|correct|possible|optimal)?\s*(?:answers?|solutions?|outputs?)\ (?:will|are|may|can|is)\b
    | \bif\ there\ (?:are|is|exist)\ (?:several|multiple|many|more\ than\ one|a\ number\ of)\b
    | \bif\ (?:several|multiple|many|more\ than\ one)\ (?:\w+\ ){0,3}(?:answers?|solutions?|ways?|sequences?|strings?)\b
    | \b(?:several|multiple|more\ than\ one)\ (?:possible\ |correct\ |valid\ |optimal\ |acceptable\ )(?:answers?|solutions?|outputs?)\b
    | \bone\ (?:of\ (?:the\ |many\ |several\ )?)?possible\ (?!to\b)\w+
    | \bspecial\ (?:judge|checker)\b
    """
)
_INTERACTIVE = re.compile(r"(?i)\binteract(?:ive|or|ion)\b|\bflush\b|\bto ask (?:a question|the query|f)\b")
_LEXICOGRAPHIC = re.compile(
    r"(?i)\blexicographically\s+(?:smallest|largest|minimal|maximal|least|greatest|earliest|first|last)\b"
)
_ERROR = re.compile(
    r"(?i)\b(?:absolute|relative)\b[^.\n]{0,60}\b(?:error|difference)\b|\berror\b[^.\n]{0,40}\b(?:absolute|relative)\b"
)
_POWER = re.compile(r"10\s*\^?\s*[({]?\s*[-\u2212\u2013]\s*(\d{1,2})\s*[)}]?")
_DECIMAL = re.compile(r"\b1e-?0?(\d{1,2})\b|\b0\.(0{1,12})1\b", re.IGNORECASE)
_NEAR = 160
"""Characters behind the word `error` in which its size has to stand."""


def several_answers(statement: str) -> str | None:
    """The words that say that more than one output is right, or None. The lexicographically smallest of several is one."""
    found = _SEVERAL.search(statement)
    if found is None or _LEXICOGRAPHIC.search(statement):
        return None
    return " ".join(found[0].split())


def interactive(statement: str) -> str | None:
    """The word that says that the program talks with its judge, or None."""
    found = _INTERACTIVE.search(statement)
    return found[0] if found else None


def tolerance(statement: str) -> float | None:
    """The error that the statement allows: 0.0 where it speaks of none, None where it does not say how much."""
    found = _ERROR.search(statement)
    if found is None:
        return 0.0
    words = statement[found.start() : found.end() + _NEAR]
    power, decimal = _POWER.search(words), _DECIMAL.search(words)
    if power is not None:
        allowed = 10.0 ** -int(power[1])
    elif decimal is not None:
        allowed = 10.0 ** -(int(decimal[1]) if decimal[1] else len(decimal[2]) + 1)
    else:
        return None
    return allowed if allowed <= LARGEST_TOLERANCE else None
