"""Does a completion end in a loop? Looks at token ids only, and only at the end, so its cost does not grow with the length."""

from __future__ import annotations

from collections.abc import Sequence

LONGEST_PERIOD = 32
FEWEST_REPEATS = 3
FEWEST_TOKENS = 24  # a loop is at least so long: `....` and a ruler are none


def ends_in_a_loop(token_ids: Sequence[int]) -> bool:
    """Whether the last tokens repeat a piece of at most 32 tokens three times or more, over at least 24 tokens.

    A last token of its own (an end-of-turn) may stand behind the loop.
    """
    return any(_loops(token_ids[: len(token_ids) - tail]) for tail in (0, 1))


def _loops(ids: Sequence[int]) -> bool:
    for period in range(1, LONGEST_PERIOD + 1):
        needed = max(FEWEST_REPEATS * period, FEWEST_TOKENS)
        if len(ids) >= needed and all(ids[-i] == ids[-i - period] for i in range(1, needed - period + 1)):
            return True
    return False
