"""Rubrics of PrimeIntellect's `verifiers`, version 0: reward functions with weights, called by argument name.

Imported here, and by path in other interpreters (`prime_host.py`): so it imports nothing but the standard library.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

GROUP = ("prompt", "completion", "answer", "info", "state", "task")
"""What a group function may ask for, in the plural."""


def parameters_of(function: Callable[..., Any]) -> tuple[Mapping[str, inspect.Parameter], bool]:
    """Parameters that can be given by name, and whether it takes any others (**kwargs)."""
    found = inspect.signature(function).parameters
    named = {name: each for name, each in found.items() if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)}
    return named, any(each.kind is each.VAR_KEYWORD for each in found.values())


@dataclasses.dataclass(frozen=True)
class Rubric:
    functions: tuple[Callable[..., Any], ...]
    weights: tuple[float, ...]
    parser: Any = None

    @classmethod
    def of(cls, target: Any) -> Rubric:
        """From a rubric, a group of rubrics, something that has one, or a function. Raises ValueError where it is none of these."""
        rubric: Any = getattr(target, "rubric", target)
        parts: Any = getattr(rubric, "rubrics", None)
        if parts:
            rubrics = [cls.of(part) for part in parts]
            functions = sum((each.functions for each in rubrics), ())
            weights = sum((each.weights for each in rubrics), ())
            return cls(functions, weights, next((each.parser for each in rubrics if each.parser is not None), None))
        found: Any = getattr(rubric, "funcs", None)
        if found is None:
            found = getattr(rubric, "reward_funcs", None)
        if found is None:
            if not callable(rubric):
                raise ValueError(f"a {type(rubric).__name__} is no rubric: it has no `funcs`, and it cannot be called")
            found = [rubric]
        functions = tuple(found)
        given: Any = getattr(rubric, "weights", None) or getattr(rubric, "reward_weights", None) or [1.0] * len(functions)
        weights = tuple(float(weight) for weight in given)
        if len(weights) != len(functions) or not functions:
            raise ValueError(f"the rubric has {len(functions)} functions and {len(weights)} weights")
        return cls(functions, weights, getattr(rubric, "parser", None))

    @property
    def judges_groups(self) -> bool:
        return any(_of_groups(function) for function in self.functions)

    async def rewards(self, each: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
        """Each function's reward for each completion, under its name; `each` holds what functions may ask for."""
        columns: dict[str, list[float]] = {}
        for number, function in enumerate(self.functions):
            name = getattr(function, "__name__", f"function_{number}")
            columns[name if name not in columns else f"{name}#{number}"] = await _rewards(function, each)
        return [{name: values[n] for name, values in columns.items()} for n in range(len(each))]

    def total(self, rewards: Mapping[str, float]) -> float:
        return sum(weight * reward for weight, reward in zip(self.weights, rewards.values(), strict=True))


def state_of(
    prompt: object, completion: object, answer: object, info: object, task: object, *, truncated: bool
) -> dict[str, Any]:
    """What a rollout of one turn leaves in version 0's `state`, as far as a reward can ask for it; no client, no response object."""
    given = {"prompt": prompt, "completion": completion, "answer": answer, "info": info, "task": task}
    step: dict[str, Any] = {
        "prompt": prompt,
        "completion": completion,
        "response": None,
        "tokens": None,
        "reward": None,
        "extras": {},
    }
    return {**given, "turn": 1, "trajectory": [step], "is_completed": True, "is_truncated": truncated, "error": None}


def _of_groups(function: Callable[..., Any]) -> bool:
    return bool({f"{name}s" for name in GROUP} & parameters_of(function)[0].keys())


async def _rewards(function: Callable[..., Any], each: Sequence[Mapping[str, Any]]) -> list[float]:
    named, takes_all = parameters_of(function)
    if _of_groups(function):
        group = {f"{name}s": [given[name] for given in each] for name in GROUP}
        rewards = await _finished(function(**{name: value for name, value in group.items() if name in named}))
        if len(rewards) != len(each):
            raise ValueError(f"{function.__name__} returned {len(rewards)} rewards for {len(each)} completions")
        return [float(reward) for reward in rewards]
    asked = [{name: value for name, value in given.items() if takes_all or name in named} for given in each]
    return [float(await _finished(function(**arguments))) for arguments in asked]


async def _finished(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result
