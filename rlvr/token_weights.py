"""Aggregation: what each loss token counts for in the loss of the whole optimizer step.

With S sequences and N loss tokens in the step, over all micro-batches and all ranks, a token of a sequence with len loss tokens
has the weight

    sequence_mean   1 / (S len)     GRPO: mean over tokens, then over sequences
    token_mean      1 / N           DAPO: mean over tokens
    sequence_sum    1 / S           RLOO: the sequence's log-prob is the sum of its tokens'
    fixed_length    1 / (S L_max)   Dr. GRPO: as sequence_sum, scaled by the constant completion limit

Because S and N belong to the step and not to the micro-batch, shares of the loss add up to the same number however the
sequences are split. Across ranks the shares must be *summed*: where gradients are averaged (DDP), multiply by the world size.

S counts sequences with at least one loss token. A completion taken out of the loss (overlong filter) thus leaves the mean
altogether, exactly as a rollout dropped because its verifier failed, and exactly as N treats it under token_mean. TRL divides
by its batch size, masked rows included, so a step in which many were filtered is a smaller step there. Sequences with
advantage 0 do count: they are part of the average, also when the caller saves their forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch

from rlvr.errors import RlvrError

WeightKind = Literal["sequence_mean", "token_mean", "sequence_sum", "fixed_length"]


class StepTotals(NamedTuple):
    """Size of an optimizer step. Totals of ranks add up field by field."""

    sequences: int
    """S: sequences with at least one loss token."""
    tokens: int
    """N: loss tokens."""


def step_totals(lengths: Sequence[int]) -> StepTotals:
    """Totals of these sequences; `lengths` [S] are loss tokens of each, 0 for a sequence out of the loss."""
    return StepTotals(sequences=sum(length > 0 for length in lengths), tokens=sum(lengths))


def token_weights(
    kind: WeightKind, lengths: Sequence[int], totals: StepTotals, max_completion_tokens: int
) -> torch.Tensor:  # [n]
    """The weight of each loss token of these sequences, in order; float32, on the CPU.

    `lengths` are the loss tokens of each sequence of a micro-batch (n = their sum), `totals` the whole step's.

    Raises `RlvrError` when the sequences are more than the step's: then `totals` is a micro-batch's and the gradient would
    depend on the split.
    """
    local = step_totals(lengths)
    if local.sequences > totals.sequences or local.tokens > totals.tokens:
        raise RlvrError(
            f"token weights: these sequences are {local}, the optimizer step only {totals}; pass the totals of the whole step"
        )
    match kind:
        case "sequence_mean":
            per_sequence = [1 / (totals.sequences * length) if length else 0.0 for length in lengths]
        case "token_mean":
            per_sequence = [1 / max(totals.tokens, 1)] * len(lengths)
        case "sequence_sum":
            per_sequence = [1 / max(totals.sequences, 1)] * len(lengths)
        case "fixed_length":
            per_sequence = [1 / (max(totals.sequences, 1) * max_completion_tokens)] * len(lengths)
    return torch.repeat_interleave(torch.tensor(per_sequence, dtype=torch.float32), torch.tensor(lengths, dtype=torch.int64))
