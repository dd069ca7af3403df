"""REINFORCE++ with baseline (Hu et al., 2025, arXiv:2501.03262v9, eq. 6 to 8).

    J = 1/|o_i| Σ_t min(r A_i, clip(r, 1 - ε, 1 + ε) A_i) - λ k2        k2 = ½ log(π / π_ref)²
    A'_i = R_i - mean of its group        A_i = (A'_i - mean over the batch of A') / (std over the batch of A' + ε)

The baseline is the group's, the scale is the batch's: a group with nearly equal rewards is not blown up.

Where ours departs:
- This is the variant for several completions a prompt; the paper's plain REINFORCE++ (one completion a prompt, KL in the
  reward) is not offered, because everything here is a group.
- Batch statistics are taken over sequences, one advantage each. The mean of A' is zero by construction and is not subtracted.
- λ is 0 here; the reasons are in grpo.py. `kl_coef` turns the paper's k2 loss term on.
- ε is PPO's 0.2.
- The importance weight for the engine gap (see grpo.py) is an addition.
"""

from typing import Any

PRESET: dict[str, Any] = {
    "advantage": "batch_normalized",
    "objective": "clipped",
    "clip_low": 0.2,
    "clip_high": 0.2,
    "token_weights": "sequence_mean",
    "kl_coef": 0.0,
    "kl_estimator": "k2",
    "kl_placement": "loss",
    "dynamic_sampling": False,
    "overlong_buffer_tokens": 0,
    "overlong_filter": False,
}
