"""Prompts and completions as token ids, and how a step's worth of them is split into micro-batches.

Sequences are numbered 0 .. S-1 over the whole optimizer step, in group order. A micro-batch is a list of parts of groups;
sequences are never split, so sequence-level objectives see whole sequences.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TokenGroup:
    """One prompt and the completions that share it. G = completions, L_g = tokens of completion g."""

    prompt_ids: tuple[int, ...]  # [P], P >= 1: the first completion token needs a predecessor
    completion_ids: tuple[tuple[int, ...], ...]  # [G][L_g]
    loss_masks: tuple[tuple[bool, ...], ...]  # [G][L_g] True on tokens that count

    def __post_init__(self) -> None:
        if not self.prompt_ids:
            raise ValueError("a group needs at least one prompt token")
        if [len(ids) for ids in self.completion_ids] != [len(mask) for mask in self.loss_masks]:
            raise ValueError("every completion token needs a loss mask entry")

    @property
    def loss_tokens(self) -> tuple[int, ...]:
        """Loss tokens of each completion, [G]."""
        return tuple(sum(mask) for mask in self.loss_masks)

    def take(self, members: Sequence[int]) -> TokenGroup:
        """The group with only these completions."""
        return TokenGroup(
            prompt_ids=self.prompt_ids,
            completion_ids=tuple(self.completion_ids[g] for g in members),
            loss_masks=tuple(self.loss_masks[g] for g in members),
        )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class MicroBatch:
    """What is forwarded at once, and which of the step's sequences it holds, in order."""

    groups: tuple[TokenGroup, ...]
    sequences: tuple[int, ...]  # numbers over the whole step


def split_into_micro_batches(
    groups: Sequence[TokenGroup], max_tokens: int, *, whole_groups: bool = False
) -> list[MicroBatch]:
    """Fills micro-batches of at most `max_tokens` prompt and completion tokens, longest groups first (first fit).

    A group larger than the budget is cut into parts, each with its own copy of the prompt; a single sequence larger than
    the budget travels alone. With `whole_groups` a group is never cut and its completions keep their order, because an objective
    compares them; one beyond the budget travels alone. Sorting keeps rows of like length together, which is what a padded layout needs.
    """
    parts: list[tuple[int, TokenGroup, tuple[int, ...]]] = []  # (tokens, group part, sequence numbers)
    first = 0
    for group in groups:
        everyone = tuple(range(len(group.completion_ids)))
        for members in [everyone] if whole_groups else _cut(group, max_tokens):
            part = group.take(members)
            tokens = len(part.prompt_ids) + sum(map(len, part.completion_ids))
            parts.append((tokens, part, tuple(first + g for g in members)))
        first += len(group.completion_ids)
    parts.sort(key=lambda part: (-part[0], part[2]))

    bins: list[list[tuple[int, TokenGroup, tuple[int, ...]]]] = []
    room: list[int] = []
    for part in parts:
        for i, free in enumerate(room):
            if part[0] <= free:
                bins[i].append(part)
                room[i] -= part[0]
                break
        else:
            bins.append([part])
            room.append(max_tokens - part[0])
    return [MicroBatch(groups=tuple(p[1] for p in bin_), sequences=tuple(s for p in bin_ for s in p[2])) for bin_ in bins]


def _cut(group: TokenGroup, max_tokens: int) -> list[tuple[int, ...]]:
    """Members of each part of the group; one part where everything fits, else parts of about equal size."""
    lengths = [len(ids) for ids in group.completion_ids]
    if not lengths:
        return []
    parts = _fill(lengths, max_tokens - len(group.prompt_ids))
    even = _fill(lengths, max(max(lengths), math.ceil(sum(lengths) / len(parts))))
    return even if len(even) == len(parts) else parts


def _fill(lengths: Sequence[int], room: int) -> list[tuple[int, ...]]:
    """Shortest first, a new part wherever the next one does not fit any more."""
    parts: list[tuple[int, ...]] = []
    current: list[int] = []
    used = 0
    for g in sorted(range(len(lengths)), key=lambda g: lengths[g]):
        if current and used + lengths[g] > room:
            parts.append(tuple(current))
            current, used = [], 0
        current.append(g)
        used += lengths[g]
    return [*parts, tuple(current)]
