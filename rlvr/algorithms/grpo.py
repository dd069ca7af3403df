"""GRPO: group relative policy optimization (Shao et al., DeepSeekMath, 2024, arXiv:2402.03300, eq. 3 and 4).

    J = 1/G Σ_i 1/|o_i| Σ_t { min(r A_i, clip(r, 1 - ε, 1 + ε) A_i) - β k3 }
    r = π(o_t) / π_old(o_t)        A_i = (R_i - mean(R)) / std(R)        k3 = π_ref/π - 1 - log(π_ref/π)

Where ours departs:
- β is 0 here, 0.04 in the paper. The paper keeps the policy where its learned reward model can be trusted; a verifier's word
  does not get worse far from the reference, and the reference costs another forward pass. `kl_coef: 0.04` restores the
  paper's term (estimator and placement are already the paper's), and limits forgetting.
- ε is not stated in the paper; 0.2 is PPO's.
- std is the sample standard deviation with 1e-6 added (rlvr/advantages.py); the paper does not say which.
- 1/G over one question is 1/S over all sequences of the optimizer step: the same when groups are full, well defined when a
  rollout was dropped because its verifier failed.
- Each token's gain is weighted by the truncated ratio of the learner's to the engine's probability (rlvr/importance.py). The
  paper has one set of probabilities and no such gap; `importance_correction: none` takes the weight away.
"""

from typing import Any

PRESET: dict[str, Any] = {
    "advantage": "group_normalized",
    "objective": "clipped",
    "clip_low": 0.2,
    "clip_high": 0.2,
    "token_weights": "sequence_mean",
    "kl_coef": 0.0,
    "kl_estimator": "k3",
    "kl_placement": "loss",
    "dynamic_sampling": False,
    "overlong_buffer_tokens": 0,
    "overlong_filter": False,
}
