r"""The two forms in which procedural tasks ask for an answer, `Answer: 57` and `\boxed{57}`, and how `exact` finds them.

Where the question is itself an expression (13 + 29), a verifier that understands mathematics would accept it back as the
answer. There the answer must be a bare integer, and the patterns below match nothing else.
"""

from __future__ import annotations

from typing import Any

INTEGER_LINE = r"(?im)\banswer(?: is)?[ \t:*_$]*(-?\d+)[ \t.*_$]*$"
INTEGER_BOXED = r"\\boxed\{[ \t]*(-?\d+)[ \t]*\}"
TEXT_LINE = r"(?m)^[ \t]*Answer:[ \t]*(\S.*)$"
TEXT_BOXED = r"\\boxed\{([^{}]*)\}"


def stated(answer: str, *, boxed: bool) -> str:
    """The answer as a completion should state it."""
    return f"\\boxed{{{answer}}}" if boxed else f"Answer: {answer}"


def exact_integer(*, boxed: bool) -> dict[str, Any]:
    """verifier_args of `exact` for an answer that is one bare integer."""
    return {"pattern": INTEGER_BOXED if boxed else INTEGER_LINE}


def exact_text(*, boxed: bool, ignore_case: bool = False) -> dict[str, Any]:
    """verifier_args of `exact` for an answer that is one line of text."""
    case = {"ignore_case": True} if ignore_case else {}
    return {"pattern": TEXT_BOXED if boxed else TEXT_LINE, **case}
