"""The part of a completion that is judged: its final turn, without reasoning and end-of-turn tokens.

One rule for all verifiers, the same that rollouts use: reasoning is cut off first; an opened and never closed block means
that there is no answer; a closing tag without an opening one was opened in the prompt.
"""

from __future__ import annotations

import re

from rlvr_verifiers.types import Completion

REASONING_TAGS = ("think", "thinking", "reasoning")
_REASONING = (*((f"<{tag}>", f"</{tag}>") for tag in REASONING_TAGS), ("[THINK]", "[/THINK]"))
MAX_SCANNED = 100_000
"""Characters at the end of a completion that are searched for an answer; an answer stands at the end."""

_END_TOKENS = re.compile(
    r"(?:<\|im_end\|>|<\|endoftext\|>|<\|eot_id\|>|<\|eom_id\|>|<\|eot\|>|<\|end_of_text\|>|<\|return\|>|<end_of_turn>|<eos>|</s>|<\uff5cend\u2581of\u2581sentence\uff5c>)\s*\Z"
)


def final_text(completion: Completion) -> str | None:
    """What the policy answered, or None where it never came to an answer (open reasoning, cut inside a tool's output)."""
    text = turn_text(completion)
    return None if text is None else after_reasoning(text)


def turn_text(completion: Completion) -> str | None:
    """The policy's last turn, reasoning included; None where the last message is not the policy's own."""
    if completion.messages:
        role = completion.messages[-1].get("role", "assistant")
        return completion.content if role == "assistant" else None
    return without_end_tokens(completion.text)


def without_end_tokens(text: str) -> str:
    """The text up to the end-of-turn tokens at its very end."""
    while match := _END_TOKENS.search(text, max(0, len(text) - 200)):
        text = text[: match.start()]
    return text


def after_reasoning(text: str) -> str | None:
    """The text behind the last reasoning block; None where a block is still open."""
    if "<" not in text and "[THINK]" not in text and "[/THINK]" not in text:
        return text
    cut = 0
    for opening, closing in _REASONING:
        closed = text.rfind(closing)
        opened = text.rfind(opening)
        if opened > closed:
            return None
        if closed >= 0:
            cut = max(cut, closed + len(closing))
    return text[cut:]
