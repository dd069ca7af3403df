"""Rubrics of PrimeIntellect's `verifiers`, version 0: reward functions with weights, called by argument name.

`verifiers:module:target` in a task record, where target is a rubric (`funcs`, `weights`), a `load_environment()` whose result
has one, or a single function. Arguments that a function may ask for: prompt, completion (messages), answer, info, state, task,
parser, and every column of the task; a group function asks for prompts, completions, answers, infos, states, tasks.

Where it differs: an exception is a failure of ours (None), while version 0 logs it and pays 0.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, cast

from rlvr_verifiers.bridges.columns import as_messages, columns_of, missing_column, parameters_of
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.types import Completion, Score, Task

RewardFunction = Callable[..., Any]
_GROUP = frozenset({"prompts", "completions", "answers", "infos", "states", "tasks"})


class RubricVerifier:
    """A rubric as a verifier: the weighted sum; passed from 1.0 up. Each function is a metric under its name."""

    value_range = (-math.inf, math.inf)

    def __init__(self, target: Any) -> None:
        if callable(target) and getattr(target, "__name__", "") == "load_environment":
            target = cast(Any, target())
        rubric: Any = getattr(target, "rubric", target)
        self._parser: Any = getattr(rubric, "parser", None)
        functions: Any = getattr(rubric, "funcs", None)
        if functions is None:
            if not callable(rubric):
                raise VerifierError(f"a {type(rubric).__name__} is no rubric: it has no `funcs`, and it cannot be called")
            functions = [rubric]
        self._functions: list[RewardFunction] = list(functions)
        weights: Any = getattr(rubric, "weights", None) or [1.0] * len(self._functions)
        self._weights = [float(weight) for weight in weights]
        self.whole_group = any(_GROUP & parameters_of(function)[0].keys() for function in self._functions)
        if len(self._weights) != len(self._functions) or not self._functions:
            raise VerifierError(f"the rubric has {len(self._functions)} functions and {len(self._weights)} weights")

    def check_task(self, task: Task) -> str | None:
        given = {**self._given(task, Completion(text="")), **dict.fromkeys(_GROUP)}
        for function in self._functions:
            missing = missing_column(function, given)
            if missing:
                return f"reward function {function.__name__} asks for {missing!r}; put it into the task's info"
        return None

    async def score_batch(self, task: Task, completions: Sequence[Completion]) -> list[Score]:
        each = [self._given(task, completion) for completion in completions]
        columns: dict[str, list[float]] = {}
        for number, function in enumerate(self._functions):
            name = getattr(function, "__name__", f"function_{number}")
            columns[name if name not in columns else f"{name}#{number}"] = await self._rewards(function, each)
        return [self._sum({name: values[n] for name, values in columns.items()}) for n in range(len(completions))]

    async def _rewards(self, function: RewardFunction, each: list[dict[str, Any]]) -> list[float]:
        named, takes_all = parameters_of(function)
        if _GROUP & named.keys():
            group = {
                f"{name}s": [given[name] for given in each]
                for name in ("prompt", "completion", "answer", "info", "state", "task")
            }
            rewards = await _finished(function(**{name: value for name, value in group.items() if name in named}))
            if len(rewards) != len(each):
                raise VerifierError(f"{function.__name__} returned {len(rewards)} rewards for {len(each)} completions")
            return [float(reward) for reward in rewards]
        return [
            float(await _finished(function(**{name: value for name, value in given.items() if takes_all or name in named})))
            for given in each
        ]

    def _sum(self, rewards: dict[str, float]) -> Score:
        value = sum(weight * reward for weight, reward in zip(self._weights, rewards.values(), strict=True))
        passed = value >= 1.0
        return Score(value=value, passed=passed, reason="ok" if passed else "mismatch", metrics=rewards)

    def _given(self, task: Task, completion: Completion) -> dict[str, Any]:
        messages = as_messages(completion)
        prompt = [dict(message) for message in task.prompt]
        info = dict(task.info)
        state = {"prompt": prompt, "completion": messages, "answer": task.answer, "info": info, "task": task.data_source}
        return {**columns_of(task), **state, "state": state, "parser": self._parser}


async def _finished(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result
