"""Negative log-likelihood of demonstrations: supervised fine-tuning on the same primitive.

    loss = - Σ_t weight_t log π(o_t)

Tokens of a demonstration were sampled by nobody, so sampled, old and reference log-probs and advantages are ignored. `token_mean`
weights give the usual cross-entropy over the step, not over the micro-batch.
"""

from __future__ import annotations

import torch

from rlvr.config.schema import AlgorithmConfig
from rlvr.objectives.contract import LossOutput, TokenBatch


def likelihood(policy_logprobs: torch.Tensor, batch: TokenBatch, config: AlgorithmConfig | None = None) -> LossOutput:
    """Metric `nll`: nats, summed over the tokens. `config` is unused; it is there so that this is an `Objective`."""
    return LossOutput(loss=-(batch.weights * policy_logprobs).sum(), metrics={"nll": -policy_logprobs.detach().sum()})
