"""Scorers of other projects as targets of `rlvr verifiers audit benchmarks/audit_targets.py:NAME`; `audits.py` runs them all.

They come with `make bench`. verl's scorers are its own files, imported without verl's package, which needs ray. Its math_verify is
left out: that is Math-Verify in processes of its own, which an audit could not hold.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from functools import cache
from types import ModuleType
from typing import Any

from rlvr_verifiers.types import Completion, Task


class MathVerify:
    """Math-Verify as its README uses it: both sides parsed from text, the gold in a box."""

    def prepare(self) -> None:
        importlib.import_module("math_verify")

    def score(self, task: Task, completion: Completion) -> bool:
        from math_verify import parse, verify

        return verify(parse(f"\\boxed{{{task.answer}}}"), parse(completion.content))


class TrlAccuracy:
    """TRL's accuracy_reward, the gold in a box as in its own documentation of solutions."""

    def prepare(self) -> None:
        importlib.import_module("trl.rewards.accuracy_rewards")

    def score(self, task: Task, completion: Completion) -> float:
        from trl.rewards.accuracy_rewards import accuracy_reward

        (reward,) = accuracy_reward([[{"role": "assistant", "content": completion.content}]], [f"\\boxed{{{task.answer}}}"])
        if reward is None:
            raise ValueError("accuracy_reward gives no reward: it cannot read the gold")
        return reward


class Verl:
    """One of verl's scorers."""

    def __init__(self, name: str) -> None:
        self._name = name

    def prepare(self) -> None:
        _verl(self._name)

    def score(self, task: Task, completion: Completion) -> float:
        result = _verl(self._name).compute_score(completion.content, task.answer)
        if isinstance(result, dict):
            return float(result["acc"])
        return float(result[0] if isinstance(result, tuple) else result)


math_verify = MathVerify()
trl_accuracy_reward = TrlAccuracy()
verl_gsm8k = Verl("gsm8k")
"""Strict: `#### n`."""
verl_math_dapo = Verl("math_dapo")
"""`Answer:` in the last 300 characters."""
verl_math_reward = Verl("math_reward")
"""The default for MATH: the last box, compared as a string after clean-up."""
verl_prime_math = Verl("prime_math")
"""For Numina's data: the grader of prm800k and a second one behind it."""


@cache
def _verl(name: str) -> Any:
    """The module, its parents bare packages: what stands in their own __init__.py is the trainer."""
    folder = importlib.metadata.distribution("verl").locate_file("verl")
    for package in ("verl", "verl.utils", "verl.utils.reward_score"):
        bare = ModuleType(package)
        bare.__path__ = [str(folder) + package.removeprefix("verl").replace(".", "/")]
        sys.modules.setdefault(package, bare)
    module = importlib.import_module(f"verl.utils.reward_score.{name}")
    if name == "prime_math":  # it starts a process for a comparison, to have a deadline; here the audit's own has one
        module.are_equal_under_sympy = module.are_equal_under_sympy.__wrapped__  # type: ignore[attr-defined]
    return module
