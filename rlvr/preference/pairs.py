"""What the objectives for pairs share: the two sides' scores, the logistic loss under noisy labels, and the assembly.

loss = Σ_pairs weight · loss(pair) + sft_weight · (- Σ_chosen log π / chosen tokens of the step)
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from rlvr.config.schema import PreferenceAlgorithmConfig
from rlvr.errors import RlvrError
from rlvr.objectives.contract import LossOutput
from rlvr.preference.contract import PreferenceBatch


def log_ratios(policy_logprobs: torch.Tensor, batch: PreferenceBatch, *, per_token: bool = False) -> torch.Tensor:
    """log π/π_ref of each sequence [S], or its mean over the sequence's tokens. Raises `RlvrError` without a reference."""
    if batch.ref_logprobs is None:
        raise RlvrError("this objective compares with a reference, but the batch has no ref_logprobs; score it first")
    ratios = policy_logprobs - batch.ref_logprobs
    return ratios / batch.lengths if per_token else ratios


def logistic(margin: torch.Tensor, config: PreferenceAlgorithmConfig) -> torch.Tensor:  # [P] -> [P]
    """-log σ(margin) where a share `label_smoothing` of the labels is taken to be flipped.

    `conservative` (cDPO; Mitchell, 2023) trains on the mixed labels and so stops at a finite margin; `robust` (Chowdhury et al.,
    2024, arXiv:2403.00409) is unbiased: its mean over the flips is the loss on the true labels.
    """
    right, wrong, flipped = -F.logsigmoid(margin), -F.logsigmoid(-margin), config.label_smoothing
    if config.smoothing == "robust":
        return ((1 - flipped) * right - flipped * wrong) / (1 - 2 * flipped)
    return (1 - flipped) * right + flipped * wrong


def pair_loss(
    policy_logprobs: torch.Tensor,  # [S]
    batch: PreferenceBatch,
    config: PreferenceAlgorithmConfig,
    *,
    losses: torch.Tensor,  # [P] with gradient
    rewards: torch.Tensor,  # [S] the scores that the pairs were compared by
) -> LossOutput:
    """The loss of a micro-batch and its metrics."""
    loss = (batch.weights[0::2] * losses).sum()
    nll = -torch.where(batch.desirable, policy_logprobs, 0.0).sum() / batch.chosen_tokens
    if config.sft_weight > 0:
        loss = loss + config.sft_weight * nll
    with torch.no_grad():
        margins = rewards[0::2] - rewards[1::2]
        metrics = {
            **label_means(policy_logprobs, batch, rewards),
            "reward/margin": (batch.weights[0::2] * margins).sum(),
            "reward/accuracy": (batch.weights[0::2] * (margins > 0)).sum(),
            "nll": nll.detach(),
        }
    return LossOutput(loss=loss, metrics=metrics)


@torch.no_grad()
def label_means(policy_logprobs: torch.Tensor, batch: PreferenceBatch, rewards: torch.Tensor) -> dict[str, torch.Tensor]:
    """Means over chosen and over rejected sequences, as shares of the step's."""
    good, bad = batch.mean_weights * batch.desirable, batch.mean_weights * ~batch.desirable  # [S]
    return {
        "reward/chosen": (good * rewards).sum(),
        "reward/rejected": (bad * rewards).sum(),
        "logprob/chosen": (good * policy_logprobs / batch.lengths).sum(),
        "logprob/rejected": (bad * policy_logprobs / batch.lengths).sum(),
    }
