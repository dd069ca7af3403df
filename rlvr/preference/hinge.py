"""The hinge loss on DPO's margin (Liu et al., 2023, arXiv:2309.06657, `hinge-norm`; from SLiC, Zhao et al., 2023, arXiv:2305.10425).

    h as in DPO        loss = max(0, 1 - β h)

A pair whose margin has reached 1 / β has no gradient any more. Where ours departs: SLiC's calibration loss has no reference (its
margin is of log-probs); this form has one.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from rlvr.config.schema import PreferenceAlgorithmConfig
from rlvr.objectives.contract import LossOutput
from rlvr.preference.contract import PreferenceBatch
from rlvr.preference.pairs import log_ratios, pair_loss


def hinge(policy_logprobs: torch.Tensor, batch: PreferenceBatch, config: PreferenceAlgorithmConfig) -> LossOutput:
    """See the module; shapes and sums as in rlvr/preference/contract.py."""
    rewards = config.beta * log_ratios(policy_logprobs, batch, per_token=config.length_normalization)  # [S]
    losses = F.relu(1 - (rewards[0::2] - rewards[1::2]))  # [P]
    return pair_loss(policy_logprobs, batch, config, losses=losses, rewards=rewards.detach())
