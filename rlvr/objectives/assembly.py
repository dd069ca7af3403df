"""From a surrogate's gain per token to the loss: what all policy-gradient objectives share.

    loss = - Σ_t weight_t (importance_t gain_t - kl_coef KL_t)

over the tokens whose sampled log-prob is a finite number. Metrics are sums over those tokens; divided by the step's N they are
the means and fractions that their names say. A NaN in the policy's, old or reference log-probs is a fault of the learner: it is
not filtered, so the loss becomes NaN and the step is skipped and counted there.
"""

from __future__ import annotations

import torch

from rlvr.config.schema import AlgorithmConfig
from rlvr.errors import RlvrError
from rlvr.importance import ImportanceWeights, importance_weights
from rlvr.kl import kl_estimate
from rlvr.objectives.contract import LossOutput, TokenBatch


def old_logprobs(policy_logprobs: torch.Tensor, batch: TokenBatch) -> torch.Tensor:  # [N] -> [N]
    """The policy before this batch's first update; by default the policy itself, so that ratios are 1 but have a gradient."""
    return policy_logprobs.detach() if batch.old_logprobs is None else batch.old_logprobs


def batch_importance(learner_logprobs: torch.Tensor, batch: TokenBatch, config: AlgorithmConfig) -> ImportanceWeights:
    """Importance weights of the learner's log-probs [N] against the engine's."""
    return importance_weights(learner_logprobs, batch.sampled_logprobs, batch.sequence_id, len(batch.lengths), config)


def assemble_loss(
    policy_logprobs: torch.Tensor,  # [N]
    batch: TokenBatch,
    config: AlgorithmConfig,
    *,
    importance: ImportanceWeights,
    gain: torch.Tensor,  # [N] with gradient; to be maximised
    ratio: torch.Tensor,  # [N]
    clipped_low: torch.Tensor,  # [N] bool, the lower bound took effect
    clipped_high: torch.Tensor,  # [N] bool, the upper bound took effect
) -> LossOutput:
    """The loss of a micro-batch and its metrics. Raises `RlvrError` where a KL loss is asked for without reference log-probs."""
    valid = importance.valid
    per_token = importance.weight * gain
    if config.kl_coef > 0 and config.kl_placement == "loss":
        if batch.ref_logprobs is None:
            raise RlvrError(
                f"kl_coef is {config.kl_coef} but the batch has no ref_logprobs; score it under the reference first"
            )
        per_token = per_token - config.kl_coef * kl_estimate(policy_logprobs, batch.ref_logprobs, config.kl_estimator)
    loss = -torch.where(valid, batch.weights * per_token, 0.0).sum()

    with torch.no_grad():
        old = old_logprobs(policy_logprobs, batch)
        sums = {
            "ratio": ratio,
            "clip_low_fraction": clipped_low,
            "clip_high_fraction": clipped_high,
            "importance_weight": importance.weight,
            "importance_clipped_fraction": importance.clipped,
            "importance_masked_fraction": importance.masked,
            "approx_kl": kl_estimate(old, policy_logprobs, "k3"),  # KL(old || policy), from tokens of old
            "engine_gap": (old - batch.sampled_logprobs).abs(),
        }
        if batch.ref_logprobs is not None:
            sums["kl"] = kl_estimate(policy_logprobs, batch.ref_logprobs, "k3")
        metrics = {name: torch.where(valid, values.to(loss.dtype), 0.0).sum() for name, values in sums.items()}
        metrics["nonfinite_fraction"] = (~valid).sum().to(loss.dtype)
    return LossOutput(loss=loss, metrics=metrics)
