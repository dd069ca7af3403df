"""GSPO: group sequence policy optimization (Zheng et al., 2025, arXiv:2507.18071, eq. 5 to 7; clip ranges section 5.1).

    J = 1/G Σ_i min(s_i A_i, clip(s_i, 1 - 3e-4, 1 + 4e-4) A_i)        s_i = exp(1/|o_i| Σ_t log(π(o_t) / π_old(o_t)))
    A_i = (R_i - mean(R)) / std(R)

One ratio a sequence, the geometric mean of its token ratios, so the unit that is clipped is the unit that is rewarded. Ratios
that are averaged stay near 1: hence the narrow clip. It differs from GRPO only off-policy (`updates_per_batch` above 1).

Where ours departs:
- GSPO-token (eq. 13 to 15) is not a separate objective: with one advantage a sequence its gradient is the same.
- 1/G over one question is 1/S over the optimizer step, as in grpo.py.
- The paper drops the KL term; so does the preset.
- The importance weight for the engine gap (see grpo.py) is an addition, per token by default.
"""

from typing import Any

PRESET: dict[str, Any] = {
    "advantage": "group_normalized",
    "objective": "sequence_clipped",
    "clip_low": 3e-4,
    "clip_high": 4e-4,
    "token_weights": "sequence_mean",
    "kl_coef": 0.0,
    "kl_estimator": "k3",
    "kl_placement": "loss",
    "dynamic_sampling": False,
    "overlong_buffer_tokens": 0,
    "overlong_filter": False,
}
