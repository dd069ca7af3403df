"""Reward shaping: from what the verifier said to the scalar that trains. Plain floats, no torch.

    reward = score + overlong penalty - kl_coef * KL of the sequence

The overlong penalty is DAPO's soft punishment (arXiv:2503.14476, eq. 13), with the height as a parameter:

    0                                           length <= limit - buffer
    penalty * (limit - buffer - length) / buffer          up to the limit
    -penalty                                    beyond

The KL is subtracted only with `kl_placement: reward`; see rlvr/kl.py for what that means for the gradient. Whether a group is
informative (dynamic sampling) is a question about scores, not about shaped rewards: a group in which every answer is wrong and
some are long has a spread of penalties, and the paper's condition still throws it away.
"""

from __future__ import annotations

from collections.abc import Sequence

from rlvr.config.schema import AlgorithmConfig
from rlvr.errors import RlvrError


def overlong_penalty(length: int, max_completion_tokens: int, buffer: int, penalty: float = 1.0) -> float:
    """What is added to the reward of a completion of `length` tokens: between -`penalty` and 0. `buffer` 0 is off.

    `length` counts whatever counts towards `max_completion_tokens`. Raises `RlvrError` for a buffer beyond the limit.
    """
    if buffer > max_completion_tokens:
        raise RlvrError(
            f"overlong_buffer_tokens ({buffer}) is beyond max_completion_tokens ({max_completion_tokens}), so every completion "
            f"would be punished; DAPO takes one fifth of the limit: {max_completion_tokens // 5}"
        )
    if buffer == 0:
        return 0.0
    excess = min(max(length - (max_completion_tokens - buffer), 0), buffer)
    return -penalty * excess / buffer


def shape_rewards(
    scores: Sequence[float],
    lengths: Sequence[int],
    config: AlgorithmConfig,
    max_completion_tokens: int,
    kls: Sequence[float] | None = None,
) -> list[float]:
    """The reward of each rollout from its score, its length in tokens and, for KL in the reward, its sequence's KL.

    `kls` comes from `rlvr.kl.sequence_kl`. Raises `RlvrError` where the config puts the KL into the reward and none is given.
    """
    in_reward = config.kl_placement == "reward" and config.kl_coef > 0
    if in_reward and kls is None:
        raise RlvrError(
            f"kl_placement is `reward` and kl_coef {config.kl_coef}, but no KL was computed; score the rollouts under the "
            "policy and the reference first, or set kl_coef: 0"
        )
    costs = [config.kl_coef * kl for kl in kls] if in_reward and kls is not None else [0.0] * len(scores)
    return [
        score
        + overlong_penalty(length, max_completion_tokens, config.overlong_buffer_tokens, config.overlong_penalty)
        - cost
        for score, length, cost in zip(scores, lengths, costs, strict=True)
    ]
