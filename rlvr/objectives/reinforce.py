"""REINFORCE: advantage times log-prob (Williams, 1992); RLOO uses it.

    gain = A log π(o_t)

There is no ratio to an older policy, so the plain form is right only while the policy is the one that sampled. The importance
weight is therefore taken between the *present* policy and the engine (the other objectives take the old policy's): one bounded
weight then covers both the engine gap and the updates already made on this batch. With `importance_correction: none` nothing
does, and a second update on the same batch would be silently biased: `RlConfig` refuses `updates_per_batch` above 1 there.
Nothing is clipped; `clip_low` and `clip_high` have no effect.
"""

from __future__ import annotations

import torch

from rlvr.config.schema import AlgorithmConfig
from rlvr.importance import bounded_exp
from rlvr.objectives.assembly import assemble_loss, batch_importance, old_logprobs
from rlvr.objectives.contract import LossOutput, TokenBatch


def reinforce(policy_logprobs: torch.Tensor, batch: TokenBatch, config: AlgorithmConfig) -> LossOutput:
    """See the module; shapes and sums as in rlvr/objectives/contract.py."""
    present = policy_logprobs.detach()
    never = torch.zeros_like(present, dtype=torch.bool)
    return assemble_loss(
        policy_logprobs,
        batch,
        config,
        importance=batch_importance(present, batch, config),
        gain=batch.advantages * policy_logprobs,
        ratio=bounded_exp(present - old_logprobs(policy_logprobs, batch)),
        clipped_low=never,
        clipped_high=never,
    )
