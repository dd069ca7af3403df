"""Aggregation: the weights are the papers' denominators, and belong to the step and not to the micro-batch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlvr.errors import RlvrError
from rlvr.token_weights import StepTotals, WeightKind, step_totals, token_weights

KINDS: list[WeightKind] = ["sequence_mean", "token_mean", "sequence_sum", "fixed_length"]
LIMIT = 16


def aggregate(kind: WeightKind, losses: list[list[float]]) -> float:
    """The papers' sums, written out: `losses` are per token, per sequence; empty sequences are out of the loss."""
    losses = [tokens for tokens in losses if tokens]
    if kind == "sequence_mean":
        return sum(sum(tokens) / len(tokens) for tokens in losses) / len(losses)
    if kind == "token_mean":
        return sum(sum(tokens) for tokens in losses) / sum(len(tokens) for tokens in losses)
    if kind == "sequence_sum":
        return sum(sum(tokens) for tokens in losses) / len(losses)
    return sum(sum(tokens) for tokens in losses) / (len(losses) * LIMIT)


@pytest.mark.parametrize("kind", KINDS)
@given(losses=st.lists(st.lists(st.floats(-3, 3), max_size=LIMIT), min_size=1, max_size=8).filter(any))
def test_weighted_sum_is_the_papers_aggregation(kind: WeightKind, losses: list[list[float]]) -> None:
    lengths = [len(tokens) for tokens in losses]
    weights = token_weights(kind, lengths, step_totals(lengths), LIMIT)
    flat = torch.tensor([x for tokens in losses for x in tokens])
    assert float(weights @ flat) == pytest.approx(aggregate(kind, losses), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@given(lengths=st.lists(st.integers(0, LIMIT), min_size=1, max_size=8), cut=st.integers(0, 8))
def test_weights_do_not_depend_on_the_split(kind: WeightKind, lengths: list[int], cut: int) -> None:
    totals = step_totals(lengths)
    whole = token_weights(kind, lengths, totals, LIMIT)
    parts = [token_weights(kind, part, totals, LIMIT) for part in (lengths[:cut], lengths[cut:])]
    assert torch.equal(whole, torch.cat(parts))


def test_totals_count_sequences_that_have_loss_tokens() -> None:
    assert step_totals([3, 0, 2]) == StepTotals(sequences=2, tokens=5)
    assert step_totals([]) == StepTotals(sequences=0, tokens=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_without_loss_tokens_has_no_weights(kind: WeightKind) -> None:
    assert token_weights(kind, [0, 0], step_totals([0, 0]), LIMIT).shape == (0,)


@pytest.mark.parametrize("kind", KINDS)
def test_a_micro_batchs_own_totals_are_refused(kind: WeightKind) -> None:
    with pytest.raises(RlvrError, match="totals of the whole step"):
        token_weights(kind, [3, 4], step_totals([3]), LIMIT)
