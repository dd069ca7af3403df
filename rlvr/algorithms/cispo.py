"""CISPO: clipped importance-weight policy optimization (MiniMax-M1, 2025, arXiv:2506.13585, eq. 4 and 5).

    J = 1/Σ|o_i| Σ_i Σ_t sg(clip(r, 1 - ε_low, 1 + ε_high)) A_i log π(o_t)        A_i = (R_i - mean(R)) / std(R)        no KL

The clip bounds a token's weight but never takes its gradient away, so rare words that steer the reasoning keep learning.
As in the paper, dynamic sampling and the length penalty are DAPO's.

Where ours departs:
- The paper sets no lower bound and does not publish its upper one. Here ε_low = 1, which no positive ratio reaches, and
  ε_high = 4, a largest weight of 5, the value that became usual after ScaleRL (arXiv:2510.13786).
- Overlong buffer and Σ|o_i|: as in dapo.py.
- The importance weight for the engine gap (see grpo.py) is an addition.
"""

from typing import Any

PRESET: dict[str, Any] = {
    "advantage": "group_normalized",
    "objective": "clipped_weight",
    "clip_low": 1.0,
    "clip_high": 4.0,
    "token_weights": "token_mean",
    "kl_coef": 0.0,
    "kl_estimator": "k3",
    "kl_placement": "loss",
    "dynamic_sampling": True,
    "overlong_buffer_tokens": 102,
    "overlong_filter": False,
}
