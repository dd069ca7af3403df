"""DAPO: decoupled clip and dynamic sampling policy optimization (Yu et al., 2025, arXiv:2503.14476, eq. 8 to 13).

    J = 1/Σ|o_i| Σ_i Σ_t min(r A_i, clip(r, 1 - ε_low, 1 + ε_high) A_i)     subject to 0 < (number of right answers) < G
    A_i = (R_i - mean(R)) / std(R)        R = correctness + R_length (eq. 13, rlvr/rewards.py)        no KL

The pieces: clip-higher (0.2 / 0.28), dynamic sampling, token-level loss, soft overlong punishment, no KL.

Where ours departs:
- The paper's buffer is 4,096 of 20,480 tokens, one fifth. `overlong_buffer_tokens` is in tokens: 102 is one fifth of the
  default `max_completion_tokens` of 512. Set it to one fifth of yours; a buffer beyond the limit is refused.
- A completion here is never longer than `max_completion_tokens`, so eq. 13's third case is reached only at the limit itself,
  where the second case gives the same -1.
- Overlong filtering (dropping cut completions from the loss) is a step on the paper's way, before soft punishment. It is off:
  with both on, the completions that the punishment is strongest for would never reach the loss. `overlong_filter: true`
  with `overlong_buffer_tokens: 0` gives that variant.
- The paper scores +1 and -1; scores here are what the verifier says, usually 0 and 1, so the same overlong penalty of 1 is
  twice as heavy relative to correctness. `overlong_penalty: 0.5` gives the paper's proportion.
- Sampling for a step stops after `max_sampling_rounds` rounds instead of going on for ever.
- Σ|o_i| runs over the optimizer step, all ranks and micro-batches (the paper writes it for one group).
- The importance weight for the engine gap (see grpo.py) is an addition.
"""

from typing import Any

PRESET: dict[str, Any] = {
    "advantage": "group_normalized",
    "objective": "clipped",
    "clip_low": 0.2,
    "clip_high": 0.28,
    "token_weights": "token_mean",
    "kl_coef": 0.0,
    "kl_estimator": "k3",
    "kl_placement": "loss",
    "dynamic_sampling": True,
    "overlong_buffer_tokens": 102,
    "overlong_filter": False,
}
