"""The contract of an objective: a pure function over the flat loss tokens of one micro-batch.

N = loss tokens of the micro-batch, S = its sequences. There is no padding and no row structure: how tokens were laid out
for the forward pass is private to `rlvr.logprobs`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import torch

from rlvr.config.schema import AlgorithmConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenBatch:
    """Everything an objective may know about the loss tokens of a micro-batch."""

    sampled_logprobs: torch.Tensor  # [N] by the engine, when the token was sampled
    old_logprobs: torch.Tensor | None  # [N] by the learner before the first update on this batch; None: the policy itself
    ref_logprobs: torch.Tensor | None  # [N] by the reference; None where no KL is asked for
    advantages: torch.Tensor  # [N] the sequence's advantage on each of its tokens
    sequence_id: torch.Tensor  # [N] int64 in [0, S)
    lengths: torch.Tensor  # [S] loss tokens of each sequence; sequences are never split over micro-batches
    weights: torch.Tensor  # [N] aggregation, computed over the whole optimizer step (rlvr/token_weights.py)


@dataclasses.dataclass(frozen=True)
class LossOutput:
    """`loss` is this micro-batch's share of the step's loss: shares add up, whatever the split."""

    loss: torch.Tensor  # []
    metrics: Mapping[str, torch.Tensor]  # each a SUM over this micro-batch's loss tokens; the learner divides by the step's


Objective = Callable[[torch.Tensor, TokenBatch, AlgorithmConfig], LossOutput]
"""(policy_logprobs [N] with gradient, batch, config) -> LossOutput."""
