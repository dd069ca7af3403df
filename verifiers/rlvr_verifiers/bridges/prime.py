"""A rubric of PrimeIntellect's `verifiers`, version 0, in this process. (`prime_process.py` runs whole environments in another.)

`verifiers:module:target` in a task record, where target is a rubric (`funcs`, `weights`), a `load_environment()` whose result
has one, or a single function. Arguments that a function may ask for: prompt, completion (messages), answer, info, state, task,
parser, and every column of the task; a group function asks for prompts, completions, answers, infos, states, tasks.

Where it differs: an exception is a failure of ours (None), while version 0 logs it and pays 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

from rlvr_verifiers.bridges.columns import as_messages, columns_of, missing_column
from rlvr_verifiers.bridges.rubric import GROUP, Rubric, state_of
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.types import Completion, Score, Task


class RubricVerifier:
    """A rubric as a verifier: the weighted sum; passed from 1.0 up. Each function is a metric under its name."""

    value_range = (-math.inf, math.inf)

    def __init__(self, target: Any) -> None:
        if callable(target) and getattr(target, "__name__", "") == "load_environment":
            target = cast(Any, target())
        try:
            self._rubric = Rubric.of(target)
        except ValueError as error:
            raise VerifierError(str(error)) from None
        self.whole_group = self._rubric.judges_groups

    def check_task(self, task: Task) -> str | None:
        given = {**self._given(task, Completion(text="")), **{f"{name}s": None for name in GROUP}}
        for function in self._rubric.functions:
            missing = missing_column(function, given)
            if missing:
                return f"reward function {function.__name__} asks for {missing!r}; put it into the task's info"
        return None

    async def score_batch(self, task: Task, completions: Sequence[Completion]) -> list[Score]:
        rewards = await self._rubric.rewards([self._given(task, completion) for completion in completions])
        return [score_of(self._rubric.total(each), each) for each in rewards]

    def _given(self, task: Task, completion: Completion) -> dict[str, Any]:
        messages = as_messages(completion)
        prompt = [dict(message) for message in task.prompt]
        truncated = completion.finish_reason == "length"
        state = state_of(prompt, messages, task.answer, dict(task.info), task.data_source, truncated=truncated)
        return {**columns_of(task), **state, "state": state, "parser": self._rubric.parser}


def score_of(value: float, metrics: dict[str, float]) -> Score:
    passed = value >= 1.0
    told = ", ".join(f"{name} {reward:g}" for name, reward in metrics.items())
    return Score(value=value, passed=passed, reason="ok" if passed else "mismatch", explanation=told, metrics=metrics)
