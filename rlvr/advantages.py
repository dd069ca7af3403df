"""Advantages: how much better each completion did than its group. Plain floats, no torch.

    group_normalized   (R_i - mean) / (std + 1e-6)          GRPO (arXiv:2402.03300), DAPO, GSPO, CISPO
    group_centered     R_i - mean                           Dr. GRPO (arXiv:2503.20783)
    leave_one_out      R_i - mean of the others             RLOO (arXiv:2402.14740); equals G/(G-1) times group_centered
    batch_normalized   (R_i - group mean) / (std over the batch of those differences + 1e-6)   REINFORCE++ (arXiv:2501.03262)

std is the sample standard deviation (n - 1). The papers do not say which; TRL and verl use it (it is torch's default), and with
a small group the two differ: by 7 % at G = 8. The 1e-6 is there for groups with a tiny spread; a group with none gets exact
zeros, never a rounding error divided by 1e-6. Groups may differ in size: a rollout whose verifier failed is simply absent, and
a group of one has nothing to be compared with, so its advantage is 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from rlvr.errors import RlvrError

AdvantageKind = Literal["group_normalized", "group_centered", "leave_one_out", "batch_normalized"]

STD_EPSILON = 1e-6
MIN_SPREAD = 1e-9
"""Rewards closer together than this are equal: far below any difference a verifier means, far above float rounding."""


def is_informative(rewards: Sequence[float]) -> bool:
    """Whether a group teaches anything: its largest and smallest rewards differ.

    Looks at the spread itself and not at a standard deviation, whose rounding can make equal rewards look different.
    """
    return len(rewards) > 1 and max(rewards) - min(rewards) > MIN_SPREAD


def compute_advantages(rewards: Sequence[Sequence[float]], kind: AdvantageKind) -> list[list[float]]:
    """One advantage for each reward, in the shape of `rewards` ([groups][rollouts], ragged).

    `batch_normalized` needs every group of the step, over all ranks, in one call; the other kinds look at one group at a time.

    Raises `RlvrError` for a reward that is NaN or infinite: it would spread to its whole group.
    """
    for index, group in enumerate(rewards):
        if not all(map(math.isfinite, group)):
            raise RlvrError(f"group {index}: rewards must be finite, got {list(group)}; check the verifier's Score.value")
    match kind:
        case "group_normalized":
            return [_scaled(_centered(group), _sample_std(group)) for group in rewards]
        case "group_centered":
            return [_centered(group) for group in rewards]
        case "leave_one_out":
            return [_leave_one_out(group) for group in rewards]
        case "batch_normalized":
            centered = [_centered(group) for group in rewards]
            std = _sample_std([advantage for group in centered for advantage in group])
            return [_scaled(group, std) for group in centered]


def _centered(group: Sequence[float]) -> list[float]:
    if not is_informative(group):
        return [0.0] * len(group)
    mean = math.fsum(group) / len(group)
    return [reward - mean for reward in group]


def _leave_one_out(group: Sequence[float]) -> list[float]:
    return (
        [advantage * len(group) / (len(group) - 1) for advantage in _centered(group)]
        if len(group) > 1
        else [0.0] * len(group)
    )


def _sample_std(values: Sequence[float]) -> float:
    """Square root of the sum of squared deviations over n - 1; 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _scaled(centered: Sequence[float], std: float) -> list[float]:
    return [advantage / (std + STD_EPSILON) for advantage in centered]
