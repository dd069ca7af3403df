"""CISPO's surrogate: the log-prob, weighted by a clipped ratio without gradient (MiniMax-M1, 2025, arXiv:2506.13585, eq. 4, 5).

    gain = sg(clip(r, 1 - clip_low, 1 + clip_high)) A log π(o_t)        r = π(o_t) / π_old(o_t)

Where PPO's clip takes a token's gradient away, this one only bounds its size. `clip_low` of 1 or more is no lower bound, since
ratios are positive. TRL's `epsilon_high` is the bound itself, 1 + clip_high here.
"""

from __future__ import annotations

import torch

from rlvr.config.schema import AlgorithmConfig
from rlvr.importance import bounded_exp
from rlvr.objectives.assembly import assemble_loss, batch_importance, old_logprobs
from rlvr.objectives.contract import LossOutput, TokenBatch


def clipped_weight(policy_logprobs: torch.Tensor, batch: TokenBatch, config: AlgorithmConfig) -> LossOutput:
    """See the module; shapes and sums as in rlvr/objectives/contract.py."""
    old = old_logprobs(policy_logprobs, batch)
    low, high = 1 - config.clip_low, 1 + config.clip_high
    ratio = bounded_exp(policy_logprobs.detach() - old)  # [N]
    return assemble_loss(
        policy_logprobs,
        batch,
        config,
        importance=batch_importance(old, batch, config),
        gain=ratio.clamp(low, high) * batch.advantages * policy_logprobs,
        ratio=ratio,
        clipped_low=ratio < low,
        clipped_high=ratio > high,
    )
