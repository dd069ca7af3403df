"""RLOO: REINFORCE leave-one-out (Ahmadian et al., Back to Basics, 2024, arXiv:2402.14740; Kool et al., 2019).

    ∇J = 1/G Σ_i A_i Σ_t ∇log π(o_t)        A_i = R_i - mean of the other R_j        R = score - β Σ_t log(π_old / π_ref)

The whole completion is one action: no clip, no critic, the KL inside the reward.

Where ours departs:
- β is 0 here (the paper tunes it per task, with a learned reward model); the reasons are in grpo.py. `kl_coef: 0.05` turns it
  on: k1, summed over the sequence, at the policy that sampled.
- 1/G over one question is 1/S over the optimizer step, as in grpo.py.
- Each token's gain is weighted by the truncated ratio of the present policy's to the engine's probability. That also corrects
  further updates on the same batch, to first order; without it (`importance_correction: none`) only `updates_per_batch: 1`
  is right: see rlvr/objectives/reinforce.py.
"""

from typing import Any

PRESET: dict[str, Any] = {
    "advantage": "leave_one_out",
    "objective": "reinforce",
    "token_weights": "sequence_sum",
    "kl_coef": 0.0,
    "kl_estimator": "k1",
    "kl_placement": "reward",
    "dynamic_sampling": False,
    "overlong_buffer_tokens": 0,
    "overlong_filter": False,
}
