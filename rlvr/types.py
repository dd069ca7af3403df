"""The trainer's own values: a scored completion, and the group everything is learnt from.

Everything the trainer learns from is a group: one prompt and the completions that share it. RL: G sampled completions.
Preference pairs: G = 2. Supervised examples: G = 1.
"""

from __future__ import annotations

import dataclasses

from rlvr_verifiers.types import Completion, Score, Task


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """A completion and what its verifier said."""

    task: Task
    completion: Completion
    score: Score
    reward: float = 0.0
    """The scalar that trains: the score's value after shaping (overlong penalty, KL in the reward)."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """One prompt, G rollouts of it, and one advantage for each."""

    task: Task
    rollouts: tuple[Rollout, ...]  # [G]
    advantages: tuple[float, ...] = ()  # [G]
