"""Micro-batches: every sequence exactly once, within the budget, never split."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rlvr.token_groups import TokenGroup, split_into_micro_batches


def _group(prompt: int, lengths: list[int], start: int = 0) -> TokenGroup:
    return TokenGroup(
        prompt_ids=tuple(range(start, start + prompt)),
        completion_ids=tuple(tuple(range(n)) for n in lengths),
        loss_masks=tuple((True,) * n for n in lengths),
    )


group_lists = st.lists(
    st.builds(_group, st.integers(1, 12), st.lists(st.integers(0, 30), min_size=1, max_size=6)), min_size=1, max_size=6
)


@given(group_lists, st.integers(1, 80))
@example([_group(8, [1, 3, 3, 3, 7])], 14)  # one sequence alone is over the budget, the others still have to keep to it
def test_every_sequence_travels_once_and_whole(groups: list[TokenGroup], max_tokens: int) -> None:
    everything = [(group.prompt_ids, ids) for group in groups for ids in group.completion_ids]
    seen: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    for micro in split_into_micro_batches(groups, max_tokens):
        members = [(group.prompt_ids, ids) for group in micro.groups for ids in group.completion_ids]
        assert len(members) == len(micro.sequences)
        seen.update(zip(micro.sequences, members, strict=True))
        tokens = sum(len(g.prompt_ids) + sum(map(len, g.completion_ids)) for g in micro.groups)
        assert tokens <= max_tokens or len(micro.sequences) == 1
    assert [seen[s] for s in sorted(seen)] == everything


def test_a_group_that_fits_is_not_cut() -> None:
    (micro,) = split_into_micro_batches([_group(10, [5, 5, 5])], 25)
    assert len(micro.groups) == 1
    assert micro.sequences == (0, 1, 2)


def test_a_group_needs_a_prompt() -> None:
    with pytest.raises(ValueError, match="at least one prompt token"):
        _group(0, [3])
