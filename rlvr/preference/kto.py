"""KTO (Ethayarajh et al., 2024, arXiv:2402.01306, eq. 7 and 8): single completions, each labelled good or bad.

    r = log π/π_ref        z = max(0, mean of r over mismatched prompts and completions), without gradient
    loss = λ_D (1 - σ(β (r - z)))   for a good completion        λ_U (1 - σ(β (z - r)))   for a bad one

λ_D and λ_U are `desirable_weight` and `undesirable_weight`; the paper wants λ_D n_D / (λ_U n_U) between 1 and 4/3 for n_D good and n_U bad
examples. Pairs serve as well: two labelled completions that share their prompt, which is computed once.

Where ours departs: z is the mean over the whole optimizer step, not over a micro-batch (the paper's m ≥ 4 is then always met, and the
gradient does not depend on the split); an example keeps its mismatched completion, the next other prompt's in the data set, for the
whole run, so that the reference's share of z can be kept on disk.
"""

from __future__ import annotations

import torch

from rlvr.config.schema import PreferenceAlgorithmConfig
from rlvr.errors import RlvrError
from rlvr.objectives.contract import LossOutput
from rlvr.preference.contract import PreferenceBatch
from rlvr.preference.pairs import label_means, log_ratios


def kto(policy_logprobs: torch.Tensor, batch: PreferenceBatch, config: PreferenceAlgorithmConfig) -> LossOutput:
    """See the module; shapes and sums as in rlvr/preference/contract.py."""
    if batch.kl is None:
        raise RlvrError(
            "kto needs the step's estimate of the KL (batch.kl); compute it over the mismatched completions first"
        )
    ratios = log_ratios(policy_logprobs, batch)  # [S]
    surprise = ratios - batch.kl
    side = torch.where(batch.desirable, ratios.new_tensor(1.0), ratios.new_tensor(-1.0))
    scale = torch.where(
        batch.desirable, ratios.new_tensor(config.desirable_weight), ratios.new_tensor(config.undesirable_weight)
    )
    losses = scale * (1 - torch.sigmoid(config.beta * side * surprise))  # [S]
    with torch.no_grad():
        metrics = {
            **label_means(policy_logprobs, batch, config.beta * ratios),
            "reward/accuracy": (batch.weights * (side * surprise > 0)).sum(),
            "kl": batch.weights.sum() * batch.kl,
        }
    return LossOutput(loss=(batch.weights * losses).sum(), metrics=metrics)
