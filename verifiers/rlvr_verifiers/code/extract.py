"""The program in a completion: its last fenced block of the language. One pass over the lines."""

from __future__ import annotations

import dataclasses
import re

NAMES: dict[str, frozenset[str]] = {
    "python": frozenset({"python", "py", "python3", "py3"}),
    "sql": frozenset({"sql", "sqlite", "sqlite3"}),
}
"""What fences of a language are marked with."""

# Nothing is given back, so each character is read once.
_FENCE = re.compile(r"([ \t]*+)(`{3,}+|~{3,}+)[ \t]*+([\w+#.-]{0,20}+)([^`]*+)\Z")


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    language: str
    source: str
    closed: bool


def program_of(text: str, language: str) -> Block | None:
    """The last block marked as the language; without one, the last unmarked block. Other languages are never taken."""
    found = blocks(text)
    marked = [block for block in found if block.language in NAMES[language]]
    unmarked = [block for block in found if not block.language]
    return (marked or unmarked or [None])[-1]


def blocks(text: str) -> list[Block]:
    """Every fenced block in order; the last one may be open."""
    found: list[Block] = []
    lines: list[str] = []
    fence: re.Match[str] | None = None
    for line in text.split("\n"):
        match = _FENCE.match(line.rstrip("\r"))
        if fence is None:
            if match:
                fence, lines = match, []
        elif match and _closes(match, fence):
            found.append(_block(fence, lines, closed=True))
            fence = None
        else:
            lines.append(line.removeprefix(fence[1]))
    if fence is not None:
        found.append(_block(fence, lines, closed=False))
    return found


def _closes(match: re.Match[str], fence: re.Match[str]) -> bool:
    bare = not match[3] and not match[4].strip()
    return bare and match[2][0] == fence[2][0] and len(match[2]) >= len(fence[2])


def _block(fence: re.Match[str], lines: list[str], *, closed: bool) -> Block:
    return Block(fence[3].lower(), "\n".join(lines) + "\n", closed)
