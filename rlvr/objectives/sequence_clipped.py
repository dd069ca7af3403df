"""GSPO's clipped surrogate, one ratio a sequence (Zheng et al., 2025, arXiv:2507.18071, eq. 5 and 7).

    gain = min(s A, clip(s, 1 - clip_low, 1 + clip_high) A)        s = exp(mean over the sequence of log(π / π_old))

The gradient flows through s, to all tokens of the sequence alike. GSPO-token replaces s by sg(s) π(o_t) / sg(π(o_t)); with one
advantage a sequence, which is what every estimator here gives, its gradient is the same, so there is no second objective.

Each token carries its sequence's gain, so token weights mean what they mean elsewhere: `sequence_mean` is the paper's mean over
sequences. Tokens without a usable sampled log-prob are left out of the mean as they are left out of the loss.
"""

from __future__ import annotations

import torch

from rlvr.config.schema import AlgorithmConfig
from rlvr.importance import bounded_exp, sequence_sum
from rlvr.objectives.assembly import assemble_loss, batch_importance, old_logprobs
from rlvr.objectives.contract import LossOutput, TokenBatch


def sequence_clipped(policy_logprobs: torch.Tensor, batch: TokenBatch, config: AlgorithmConfig) -> LossOutput:
    """See the module; shapes and sums as in rlvr/objectives/contract.py."""
    old = old_logprobs(policy_logprobs, batch)
    importance = batch_importance(old, batch, config)
    low, high = 1 - config.clip_low, 1 + config.clip_high
    log_ratio = torch.where(importance.valid, policy_logprobs - old, 0.0)  # [N]
    total = sequence_sum(log_ratio, batch.sequence_id, len(batch.lengths))  # [S]
    count = sequence_sum(importance.valid.to(log_ratio.dtype), batch.sequence_id, len(batch.lengths))  # [S]
    ratio = bounded_exp(total / count.clamp(min=1))[batch.sequence_id]  # [N]
    return assemble_loss(
        policy_logprobs,
        batch,
        config,
        importance=importance,
        gain=torch.minimum(ratio * batch.advantages, ratio.clamp(low, high) * batch.advantages),
        ratio=ratio,
        clipped_low=(ratio < low) & (batch.advantages < 0),
        clipped_high=(ratio > high) & (batch.advantages > 0),
    )
