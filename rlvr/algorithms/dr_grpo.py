"""Dr. GRPO: GRPO done right (Liu et al., Understanding R1-Zero-Like Training, 2025, arXiv:2503.20783).

    J = 1/G Σ_i Σ_t min(r A_i, clip(r, 1 - ε, 1 + ε) A_i)        A_i = R_i - mean(R)        no KL

Neither length nor standard deviation divides: GRPO's 1/|o_i| makes long wrong answers cheap, its 1/std favours questions that
are nearly always or nearly never answered.

Where ours departs:
- Token sums are divided by the constant `max_completion_tokens`, as the authors' code does and their formula does not. The
  gradient's direction is the same; its size stays comparable with the other presets'.
- 1/G over one question is 1/S over the optimizer step, as in grpo.py.
- The importance weight for the engine gap (see grpo.py) is an addition.
"""

from typing import Any

PRESET: dict[str, Any] = {
    "advantage": "group_centered",
    "objective": "clipped",
    "clip_low": 0.2,
    "clip_high": 0.2,
    "token_weights": "fixed_length",
    "kl_coef": 0.0,
    "kl_estimator": "k3",
    "kl_placement": "loss",
    "dynamic_sampling": False,
    "overlong_buffer_tokens": 0,
    "overlong_filter": False,
}
