"""Which calls answer which gold calls: a true maximum matching, so that no order of writing is unlucky."""

from __future__ import annotations

from collections.abc import Sequence

from rlvr_verifiers.tool_call.calls import Call
from rlvr_verifiers.tool_call.gold import Gold


def matched(gold: Gold, calls: Sequence[Call]) -> dict[int, int]:
    """Index of a gold call to the index of the call that answers it; every call answers at most one.

    With order `strict` call n can only answer gold call n.
    """
    if gold.order == "strict":
        pairs = enumerate(zip(gold.calls, calls, strict=False))
        return {number: number for number, (wanted, call) in pairs if wanted.wants(call.name, call.arguments)}
    wants = [
        [number for number, call in enumerate(calls) if wanted.wants(call.name, call.arguments)] for wanted in gold.calls
    ]
    answered_by: dict[int, int] = {}  # call to gold call
    for number in range(len(wants)):
        _augment(number, wants, answered_by, set())
    return {number: call for call, number in answered_by.items()}


def _augment(number: int, wants: Sequence[Sequence[int]], answered_by: dict[int, int], seen: set[int]) -> bool:
    """Kuhn's step: gives gold call `number` a call, moving others to another one of theirs where that frees it."""
    for call in wants[number]:
        if call in seen:
            continue
        seen.add(call)
        if call not in answered_by or _augment(answered_by[call], wants, answered_by, seen):
            answered_by[call] = number
            return True
    return False
