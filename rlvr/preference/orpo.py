"""ORPO (Hong et al., 2024, arXiv:2403.07691, eq. 6 and 7): supervised fine-tuning with a penalty on the odds of the rejected side.

    p = exp(mean log π of a token)        odds = p / (1 - p)
    loss = sft_weight · cross-entropy(chosen) + β · (-log σ(log odds(chosen) - log odds(rejected)))

β is the paper's λ; there is no reference. It replaces supervised fine-tuning, so it needs no SFT stage before it.

Where ours departs: the cross-entropy is over the chosen completion's tokens, averaged over the step (TRL: prompt and completion,
averaged over a micro-batch). A sequence that is certain (p = 1) has finite odds here: log p is held below -1e-6.
"""

from __future__ import annotations

import torch

from rlvr.config.schema import PreferenceAlgorithmConfig
from rlvr.objectives.contract import LossOutput
from rlvr.preference.contract import PreferenceBatch
from rlvr.preference.pairs import logistic, pair_loss

HIGHEST_LOGPROB = -1e-6


def orpo(policy_logprobs: torch.Tensor, batch: PreferenceBatch, config: PreferenceAlgorithmConfig) -> LossOutput:
    """See the module; shapes and sums as in rlvr/preference/contract.py."""
    mean = (policy_logprobs / batch.lengths).clamp(max=HIGHEST_LOGPROB)  # [S]
    log_odds = mean - torch.log(-torch.expm1(mean))  # [S]
    losses = config.beta * logistic(log_odds[0::2] - log_odds[1::2], config)  # [P]
    return pair_loss(policy_logprobs, batch, config, losses=losses, rewards=config.beta * mean.detach())
