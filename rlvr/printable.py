"""Model-written text made safe to show: nothing in it can move the cursor, recolour the terminal or pass for our own words."""

from __future__ import annotations

import re
import unicodedata

# Control, format (bidirectional overrides, zero-width), surrogate, line and paragraph separators.
UNSAFE_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}
SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
BRACKET = re.compile(r"(\\*)\[(?=(.?))", re.DOTALL)
TAG_START = re.compile(r"[a-z#/@]?")  # empty: the text ends here, and what follows it may complete a tag


def visible(text: str, limit: int) -> str:
    """`text` on one line: control, ANSI and direction-changing characters spelt out, the middle cut beyond `limit` characters.

    The end is kept because answers stand there. For plain output; rich markup in it is still live (see `printable`).
    """
    if limit < 3:
        raise ValueError(f"limit must be at least 3 characters, not {limit}")
    if len(text) <= limit:
        return _spelt_out(text)
    # Cut before looking at each character: hostile text may be megabytes.
    tail = (limit - 1) // 3
    head = limit - 1 - tail
    return f"{_spelt_out(text[:head])}…{_spelt_out(text[len(text) - tail :])}"


def printable(text: str, limit: int) -> str:
    """`visible(text, limit)` with rich markup escaped: safe inside a string given to `Console.print`.

    rich's own `escape` leaves an unclosed `[red` live, which a later `]` completes, and lets three final backslashes swallow the
    tag behind them. Here every bracket is escaped; the price is that some backslashes before one show doubled.
    """
    escaped = BRACKET.sub(_escape_bracket, visible(text, limit))
    final_backslashes = len(escaped) - len(escaped.rstrip("\\"))
    return escaped + "\\" * final_backslashes


def _escape_bracket(match: re.Match[str]) -> str:
    backslashes, following = match.groups()
    doubled = backslashes if TAG_START.fullmatch(following) else ""
    return f"{backslashes}{doubled}\\["


def _spelt_out(text: str) -> str:
    return "".join(_spell(c) if unicodedata.category(c) in UNSAFE_CATEGORIES else c for c in text)


def _spell(character: str) -> str:
    code = ord(character)
    width = "\\x%02x" if code < 0x100 else "\\u%04x" if code < 0x10000 else "\\U%08x"
    return SHORT_ESCAPES.get(character) or width % code
