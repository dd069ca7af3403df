"""DPO (Rafailov et al., 2023, arXiv:2305.18290, eq. 7), with its variants for noisy labels and unequal lengths.

    h = log π/π_ref (chosen) - log π/π_ref (rejected)        loss = -log σ(β h)

`label_smoothing` with `smoothing: conservative` is cDPO, with `robust` rDPO (rlvr/preference/pairs.py). `length_normalization` takes the
mean over each side's tokens instead of the sum (Tulu 3, arXiv:2411.15124; with a β of 5).
`sft_weight` adds the chosen side's cross-entropy (Pang et al., 2024, arXiv:2404.19733), which keeps its log-prob from falling with the
rejected one's.

Where ours departs: Pang et al. divide each chosen answer's log-prob by its own length; ours is a mean over the step's chosen tokens,
as everywhere in supervised fine-tuning.
"""

from __future__ import annotations

import torch

from rlvr.config.schema import PreferenceAlgorithmConfig
from rlvr.objectives.contract import LossOutput
from rlvr.preference.contract import PreferenceBatch
from rlvr.preference.pairs import log_ratios, logistic, pair_loss


def dpo(policy_logprobs: torch.Tensor, batch: PreferenceBatch, config: PreferenceAlgorithmConfig) -> LossOutput:
    """See the module; shapes and sums as in rlvr/preference/contract.py."""
    rewards = config.beta * log_ratios(policy_logprobs, batch, per_token=config.length_normalization)  # [S]
    losses = logistic(rewards[0::2] - rewards[1::2], config)  # [P]
    return pair_loss(policy_logprobs, batch, config, losses=losses, rewards=rewards.detach())
