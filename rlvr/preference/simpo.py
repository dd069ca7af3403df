"""SimPO (Meng et al., 2024, arXiv:2405.14734, eq. 6): no reference; the score is the mean log-prob of a token, and it wants a lead.

    s = β / len · log π        loss = -log σ(s(chosen) - s(rejected) - γ)

γ is `target_margin`. Without a reference nothing but the learning rate holds the policy back: watch the retention tasks. Label
smoothing is not in the paper; 0 by default.
"""

from __future__ import annotations

import torch

from rlvr.config.schema import PreferenceAlgorithmConfig
from rlvr.objectives.contract import LossOutput
from rlvr.preference.contract import PreferenceBatch
from rlvr.preference.pairs import logistic, pair_loss


def simpo(policy_logprobs: torch.Tensor, batch: PreferenceBatch, config: PreferenceAlgorithmConfig) -> LossOutput:
    """See the module; shapes and sums as in rlvr/preference/contract.py."""
    rewards = config.beta * policy_logprobs / batch.lengths  # [S]
    losses = logistic(rewards[0::2] - rewards[1::2] - config.target_margin, config)  # [P]
    return pair_loss(policy_logprobs, batch, config, losses=losses, rewards=rewards.detach())
