r"""Finds the answer a response states: the last complete `\boxed{}`, `####`, `<answer>` or "the answer is", else a bold last line.

A box counts more than the words around it, and a marker behind the last box more than the box: that is a correction. No marker
means no answer, never "the last number in the text": a truncated or rambling response must not be rewarded for
something it happened to mention. Every search is linear in the text.
"""

from __future__ import annotations

import dataclasses
import re
from collections import deque

from rlvr_verifiers.response import MAX_SCANNED

MAX_PARTS = 32
"""Boxes that can be joined to one answer."""
MAX_ANSWER = 2_000
"""Characters of one stated answer; a longer line is cut here and then refused by whoever reads it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Stated:
    """What a response gives as its answer."""

    parts: tuple[str, ...]
    """One content, or several where the response joins boxes with commas or "and"."""
    hedged: bool = False
    """Boxes joined by "or", "either", "possibly": several tries are not an answer."""


_BOX = re.compile(r"\\f?box(?:ed)?\s{0,3}\{")
_BRACE = re.compile(r"\\[^a-zA-Z]|[{}]")
_MAX_BOXES = 64
"""Boxes at the end of a text that are looked at."""
_MAX_BRACES = 20_000
"""Braces in all of them."""
_JOINER = re.compile(
    r"(?:[\s$,;&.*]|\\[()\[\],;:! ]|\\q?quad|\band\b|\bor\b|\\text\s?\{\s*(?:,|and|or)?\s*\})*", re.IGNORECASE
)
_OR = re.compile(r"\bor\b", re.IGNORECASE)
_MAYBE = re.compile(r"\b(?:either|possibl[ey]|maybe|perhaps|might|could)\b", re.IGNORECASE)
_MAX_JOINER = 40
_MAX_BOLD = 100
_PHRASE = re.compile(
    r"\b(?:answer|option|choice)(?:[ \t]+(?:to|for)[ \t][^.\n:=]{1,40}?)?[\s*_]{0,4}(?::|=|\bis\b|\bequals\b)"
    r"(?![\s*_]{0,4}(?:not|n't|never)\b)|^[ \t]*####",
    re.IGNORECASE | re.MULTILINE,
)
_MATH_START = re.compile(r"[\s*_]{0,4}[-+$\\(\[{.\d]")
_MANY = 16
"""More boxes with different contents than this are a search for the answer, not an answer."""
_DENIED = re.compile(
    r"(?:\bnot|n't|\bnever|\bneither)[^\S\n]+(?:equal\s+to\s+|be\s+|simply\s+)?[^\S\n]*[$(\\\[*][\s$(\\\[*]*\Z"
    r"|(?:\bnot|n't|\bnever|\bneither)[^\S\n]+(?:equal\s+to\s+|be\s+|simply\s+)?\Z",
    re.IGNORECASE,
)
_ALSO = re.compile(
    r"[\s$,;)*]{0,8}(?:\\[)\]]\s?)?\(?\bor\b\s++(?:maybe|perhaps|possibly|even|else)?+\s*+(\$[^$\n]{1,80}\$|[-+\\(]?\d[^\s,;]{0,40})",
    re.IGNORECASE,
)
_BOLD_END = re.compile(r"\*\*([^*\n]{1,100})\*\*[.!\s]*\Z")
_SENTENCE_END = re.compile(r"\n|[.!?](?=\s|\*|$)|</")
_ANSWER_TAG = re.compile(r"<answer>|</answer>", re.IGNORECASE)


def stated_answer(text: str, *, truncated: bool) -> Stated | None:
    """The answer a final turn states, or None.

    `truncated`: the token limit ended the text, so an answer that runs into its end may be cut and does not count.
    """
    text = text[-MAX_SCANNED:]
    boxes = [box for box in _boxes(text) if not _DENIED.search(text, max(0, box[0] - _MAX_JOINER), box[0])]
    if boxes:
        return _correction(text[boxes[-1][2] :], truncated) or _joined_boxes(text, boxes)
    found = [place for place in (_last_tagged(text), _last_phrase(text, truncated)) if place is not None]
    if found:
        return Stated((max(found)[1],))
    bold = None if truncated else _BOLD_END.search(text, max(0, len(text) - 2 * _MAX_BOLD))
    return Stated((bold[1].strip(),)) if bold else None


def _correction(tail: str, truncated: bool) -> Stated | None:
    """A marked answer behind the last box; words such as "the answer is correct" are none."""
    tagged = _last_tagged(tail)
    if tagged is not None:
        return Stated((tagged[1],))
    phrase = _last_phrase(tail, truncated)
    if phrase is None:
        return None
    marked = tail[phrase[0] - 4 : phrase[0]] == "####"
    return Stated((phrase[1],)) if marked or _MATH_START.match(phrase[1]) else None


def _boxes(text: str) -> list[tuple[int, int, int]]:
    r"""The last complete outermost boxes, as (start of `\boxed`, start of content, end of content), in order."""
    found: list[tuple[int, int, int]] = []
    steps = _MAX_BRACES
    for opening in reversed(deque(_BOX.finditer(text), maxlen=_MAX_BOXES)):
        end, used = _closing(text, opening.end(), steps)
        steps -= used
        if end is None:
            if steps <= 0:
                break
            continue
        while found and found[-1][0] < end:
            found.pop()  # it was inside this one
        found.append((opening.start(), opening.end(), end))
    return found[::-1]


def _closing(text: str, start: int, steps: int) -> tuple[int | None, int]:
    """Where the brace opened before `start` closes, and how many braces were looked at. A content longer than any answer is cut."""
    depth, used = 1, 0
    for match in _BRACE.finditer(text, start, min(len(text), start + 2 * MAX_ANSWER)):
        used += 1
        mark = match.group()
        depth += (mark == "{") - (mark == "}")
        if not depth:
            return match.start(), used
        if used >= steps:
            return None, used
    return (start + 2 * MAX_ANSWER if start + 2 * MAX_ANSWER < len(text) else None), used


def _joined_boxes(text: str, boxes: list[tuple[int, int, int]]) -> Stated:
    """The last box, with those right before it that only commas, "and" or "or" separate from it."""
    first = len(boxes) - 1
    hedged = False
    while first > 0 and len(boxes) - first < MAX_PARTS:
        gap = text[boxes[first - 1][2] + 1 : boxes[first][0]]
        if len(gap) > _MAX_JOINER or "\n\n" in gap or not _JOINER.fullmatch(gap):
            break
        if "\n" in gap and not gap.strip(" \n$.*"):
            break
        hedged = hedged or _OR.search(gap) is not None
        first -= 1
    parts = tuple(dict.fromkeys(text[start:end].strip()[: MAX_ANSWER + 1] for _, start, end in boxes[first:]))
    if len(parts) > 1:
        before = text[max(0, boxes[first][0] - _MAX_JOINER) : boxes[first][0]]
        hedged = hedged or _MAYBE.search(before) is not None
    also = _ALSO.match(text, boxes[-1][2] + 1)
    if also is not None:
        parts, hedged = tuple(dict.fromkeys((*parts, also[1]))), True
    everything = {text[start:end].strip() for _, start, end in boxes}
    if len(everything) > _MANY:
        parts, hedged = tuple(sorted(part[: MAX_ANSWER + 1] for part in everything))[:MAX_PARTS], True
    return Stated(parts, hedged and len(parts) > 1)


def _last_tagged(text: str) -> tuple[int, str] | None:
    """The last complete `<answer>` block, as (position, content); a phrase inside it is the answer itself."""
    last: tuple[int, int] | None = None
    opened = -1
    for match in _ANSWER_TAG.finditer(text):
        if match.group()[1] != "/":
            opened = match.end()
        elif opened >= 0:
            last, opened = (opened, match.start()), -1
    if last is None:
        return None
    content = text[last[0] : last[1]]
    inner = _last_phrase(content, truncated=False)
    return last[1], inner[1] if inner else content.strip()[: MAX_ANSWER + 1]


def _last_phrase(text: str, truncated: bool) -> tuple[int, str] | None:
    """The last `#### 5`, "Answer: 5" or "the answer is 5.", as (position, content to the end of the line or sentence)."""
    for start in reversed([match.end() for match in _PHRASE.finditer(text)]):
        window = text[start : start + MAX_ANSWER + 1]
        lead = len(window) - len(window.lstrip(" \t\r\n*_:"))
        end = _SENTENCE_END.search(window, lead)
        content = window[lead : end.start() if end else len(window)].strip().rstrip("*_").rstrip()
        complete = end is not None or len(window) > MAX_ANSWER or not truncated
        if content and complete:
            return start, content
    return None
