"""Estimates of KL(policy || reference) from the sampled tokens alone (Schulman, Approximating KL Divergence, 2020).

With δ = log π - log π_ref of a sampled token:

    k1 = δ                     unbiased value, high variance, may be negative
    k2 = δ² / 2                biased value, low variance
    k3 = exp(-δ) - 1 + δ       unbiased value, never negative

Value and gradient are different questions (Liu et al., Rethinking KL Regularization in RLHF, 2025, arXiv:2510.01555). The gradient
of the reverse KL is E[δ ∇log π]. What each one does as a *loss* term on on-policy tokens:

    k1   gradient ∇log π, whose expectation is zero: it adds noise and does not regularise. Offered because it has a name; use
         it in the reward.
    k2   gradient δ ∇log π: the right one.
    k3   gradient (1 - exp(-δ)) ∇log π: equals k2's to first order in δ, is weaker where the policy has moved up and much
         stronger where the reference is far more likely. GRPO's choice.

In the *reward* the estimate is a constant of the sampled sequence: its policy-gradient is E[k ∇log π], right for k1 (RLOO) and
not the gradient of any KL for k2 and k3. Once the policy has been updated on a batch, tokens are no longer the policy's own and
all of these are biased; as in the GRPO paper and unlike TRL's `use_bias_correction_kl`, no ratio corrects the loss term.
"""

from __future__ import annotations

from typing import Literal

import torch

from rlvr.importance import MAX_LOG_RATIO, sequence_sum

KlEstimator = Literal["k1", "k2", "k3"]


def kl_estimate(
    policy_logprobs: torch.Tensor, ref_logprobs: torch.Tensor, estimator: KlEstimator
) -> torch.Tensor:  # [N], [N] -> [N]
    """The estimate for each token, in nats; differentiable in `policy_logprobs`. See the module for what the gradient means."""
    delta = policy_logprobs - ref_logprobs
    match estimator:
        case "k1":
            return delta
        case "k2":
            return delta.square() / 2
        case "k3":
            # expm1 keeps the digits of tiny differences; beyond MAX_LOG_RATIO exp goes on as a straight line, see bounded_exp.
            capped = (-delta).clamp(max=MAX_LOG_RATIO)
            return torch.expm1(capped) + capped.exp() * (-delta - capped) + delta


def sequence_kl(
    old_logprobs: torch.Tensor,  # [N]
    ref_logprobs: torch.Tensor,  # [N]
    sequence_id: torch.Tensor,  # [N]
    num_sequences: int,
    estimator: KlEstimator,
) -> torch.Tensor:  # [S]
    """The estimates summed over each sequence, without gradient: what `kl_placement: reward` subtracts."""
    with torch.no_grad():
        return sequence_sum(kl_estimate(old_logprobs, ref_logprobs, estimator), sequence_id, num_sequences)
