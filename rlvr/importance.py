"""Importance weights: the engine sampled the tokens, the learner trains on them, and the two disagree about their probability.

    w = π_learner / π_engine        per token, or the product over a sequence's loss tokens

Different kernels and number formats make the gap even for the same weights, so every batch is a little off-policy. The weight
corrects it; to bound the variance it is either
    truncated   min(w, cap)             (TIS: Yao et al., Your Efficient RL Framework Secretly Brings You Off-Policy RL Training, 2025)
    masked      w if floor <= w <= cap, else 0    (the token or sequence is left out; IcePop keeps such a band)
The product over a sequence is the exact weight of a completion, but its variance grows with the length; one weight a token is a
first-order approximation that stays near 1. The weight carries no gradient.

A token whose sampled log-prob is NaN or infinite has no weight: either the engine did not say how probable it was, or it claims
to have sampled the impossible. Such tokens leave the loss and are counted (weight 1, as some trainers do, would silently train
on what may be a broken engine); the remaining tokens keep their weights, so that nothing depends on the split into micro-batches.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from rlvr.config.schema import AlgorithmConfig

MAX_LOG_RATIO = 20.0
"""e^20 = 4.9e8: beyond any ratio worth telling apart, and squares of it still fit in float32."""


class ImportanceWeights(NamedTuple):
    weight: torch.Tensor  # [N] no gradient; 0 where masked or not finite
    valid: torch.Tensor  # [N] bool, the sampled log-prob is a finite number
    clipped: torch.Tensor  # [N] bool, the cap changed the weight
    masked: torch.Tensor  # [N] bool, outside [floor, cap] and therefore left out


def bounded_exp(log_ratio: torch.Tensor) -> torch.Tensor:
    """exp, continued as a straight line beyond `MAX_LOG_RATIO`: never infinite, and the gradient keeps its sign and stays finite.

    A plain clamp would make the gradient 0 just where a policy has run away and most needs pulling back.
    """
    capped = log_ratio.clamp(max=MAX_LOG_RATIO)
    return capped.exp() * (1 + (log_ratio - capped))


def sequence_sum(values: torch.Tensor, sequence_id: torch.Tensor, num_sequences: int) -> torch.Tensor:  # [N] -> [S]
    """Sums the tokens of each sequence."""
    return values.new_zeros(num_sequences).index_add(0, sequence_id, values)


def importance_weights(
    learner_logprobs: torch.Tensor,  # [N]
    sampled_logprobs: torch.Tensor,  # [N]
    sequence_id: torch.Tensor,  # [N]
    num_sequences: int,
    config: AlgorithmConfig,
) -> ImportanceWeights:
    """Weights of the learner's probabilities against the engine's, as `config` bounds them. Shapes [N] throughout."""
    valid = sampled_logprobs.isfinite()
    nothing = torch.zeros_like(valid)
    if config.importance_correction == "none":
        return ImportanceWeights(weight=valid.to(learner_logprobs.dtype), valid=valid, clipped=nothing, masked=nothing)
    log_weight = torch.where(valid, learner_logprobs.detach() - sampled_logprobs, 0.0)
    if config.importance_level == "sequence":
        log_weight = sequence_sum(log_weight, sequence_id, num_sequences)[sequence_id]
    weight = bounded_exp(log_weight)
    above = valid & (weight > config.importance_cap)
    if config.importance_correction == "truncate":
        return ImportanceWeights(weight.clamp(max=config.importance_cap) * valid, valid, clipped=above, masked=nothing)
    outside = above | (valid & (weight < config.importance_floor))
    return ImportanceWeights(torch.where(valid & ~outside, weight, 0.0), valid, clipped=nothing, masked=outside)
