"""IPO (Azar et al., 2023, arXiv:2310.12036, eq. 17): the margin is regressed on a number instead of being pushed up for ever.

    h as in DPO        loss = (h - 1 / (2 β))²

β is the paper's τ. Where ours departs: the preset takes means over tokens (`length_normalization`) where the paper's formula has
sequence log-probs; sums would make the target a matter of length, and the means are what its authors say their results used (TRL
documents that, and does the same). Turn it off for the formula to the letter.
"""

from __future__ import annotations

import torch

from rlvr.config.schema import PreferenceAlgorithmConfig
from rlvr.objectives.contract import LossOutput
from rlvr.preference.contract import PreferenceBatch
from rlvr.preference.pairs import log_ratios, pair_loss


def ipo(policy_logprobs: torch.Tensor, batch: PreferenceBatch, config: PreferenceAlgorithmConfig) -> LossOutput:
    """See the module; shapes and sums as in rlvr/preference/contract.py."""
    ratios = log_ratios(policy_logprobs, batch, per_token=config.length_normalization)  # [S]
    losses = (ratios[0::2] - ratios[1::2] - 1 / (2 * config.beta)).square()  # [P]
    return pair_loss(policy_logprobs, batch, config, losses=losses, rewards=config.beta * ratios.detach())
