"""PPO's clipped surrogate, one ratio a token (Schulman et al., 2017, arXiv:1707.06347, eq. 7); GRPO, DAPO, Dr. GRPO, REINFORCE++.

    gain = min(r A, clip(r, 1 - clip_low, 1 + clip_high) A)        r = π(o_t) / π_old(o_t)

The two bounds are separate (DAPO's clip-higher). There is no third bound on r for A < 0 (dual clip).
"""

from __future__ import annotations

import torch

from rlvr.config.schema import AlgorithmConfig
from rlvr.importance import bounded_exp
from rlvr.objectives.assembly import assemble_loss, batch_importance, old_logprobs
from rlvr.objectives.contract import LossOutput, TokenBatch


def clipped(policy_logprobs: torch.Tensor, batch: TokenBatch, config: AlgorithmConfig) -> LossOutput:
    """See the module; shapes and sums as in rlvr/objectives/contract.py."""
    old = old_logprobs(policy_logprobs, batch)
    low, high = 1 - config.clip_low, 1 + config.clip_high
    ratio = bounded_exp(policy_logprobs - old)  # [N]
    return assemble_loss(
        policy_logprobs,
        batch,
        config,
        importance=batch_importance(old, batch, config),
        gain=torch.minimum(ratio * batch.advantages, ratio.clamp(low, high) * batch.advantages),
        ratio=ratio,
        clipped_low=(ratio < low) & (batch.advantages < 0),
        clipped_high=(ratio > high) & (batch.advantages > 0),
    )
