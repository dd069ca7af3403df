"""Scorers of other projects as targets of `rlvr verifiers audit benchmarks/audit_targets.py:NAME`; results in docs/audits.md.

verl's scorers are its own files, loaded without verl's top package, whose import needs ray. Its prime_math
imports that package itself and is left out.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from rlvr_verifiers.types import Completion, Task


def math_verify(task: Task, completion: Completion) -> bool:
    """Math-Verify as its README uses it: both sides parsed from text, the gold in a box."""
    from math_verify import parse, verify

    return verify(parse(f"\\boxed{{{task.answer}}}"), parse(completion.content))


def trl_accuracy_reward(task: Task, completion: Completion) -> float:
    """TRL's accuracy_reward, the gold in a box as in its own documentation of solutions."""
    from trl.rewards import accuracy_reward

    (reward,) = accuracy_reward([[{"role": "assistant", "content": completion.content}]], [f"\\boxed{{{task.answer}}}"])
    if reward is None:
        raise ValueError("accuracy_reward gives no reward: it cannot read the gold")
    return reward


def verl_math_reward(task: Task, completion: Completion) -> float:
    """verl's default for MATH: the last box, compared as a string after clean-up."""
    return _verl("math_reward").compute_score(completion.content, task.answer)


def verl_gsm8k(task: Task, completion: Completion) -> float:
    """verl's GSM8K scorer, strict: `#### n`."""
    return _verl("gsm8k").compute_score(completion.content, task.answer)


def verl_math_dapo(task: Task, completion: Completion) -> bool:
    """verl's DAPO scorer: `Answer:` in the last 300 characters."""
    return bool(_verl("math_dapo").compute_score(completion.content, task.answer)["acc"])


@cache
def _verl(name: str) -> Any:
    path = Path(str(importlib.metadata.distribution("verl").locate_file(f"verl/utils/reward_score/{name}.py")))
    spec = importlib.util.spec_from_file_location(f"verl_scorer_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
