"""The contract of a preference objective: a pure function over whole sequences of one micro-batch.

S = sequences of the micro-batch. Objectives for pairs get them as chosen, rejected, chosen, rejected, ...: a pair is a group of two and is
never split over micro-batches. Everything that depends on more than one pair (how many there are, KTO's estimate of the KL) is
computed over the whole optimizer step before any micro-batch is formed, so the gradient does not depend on the split.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch

from rlvr.config.schema import PreferenceAlgorithmConfig
from rlvr.objectives.contract import LossOutput


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreferenceBatch:
    """Everything an objective may know about the sequences of a micro-batch."""

    ref_logprobs: torch.Tensor | None  # [S] log-prob of the whole sequence under the reference; None where there is none
    lengths: torch.Tensor  # [S] loss tokens
    desirable: torch.Tensor  # [S] bool; chosen, or labelled as good
    weights: torch.Tensor  # [S] 1 / the step's pairs; for objectives without pairs 1 / the step's sequences
    mean_weights: (
        torch.Tensor
    )  # [S] 1 / the step's sequences of the same label: sums of weighted values are means over a label
    chosen_tokens: float  # loss tokens of all desirable sequences of the step
    kl: torch.Tensor | None = None  # [] KTO: estimate of the KL to the reference, over the step


PreferenceObjective = Callable[[torch.Tensor, PreferenceBatch, PreferenceAlgorithmConfig], LossOutput]
"""(log-prob of each sequence under the policy [S] with gradient, batch, config) -> LossOutput.

Unlike the metrics of a policy-gradient objective, each metric is this micro-batch's share of the step's mean: shares add up.
"""
