"""TRL's reward functions, both ways (call shape of TRL 1.16's GRPOTrainer).

In: `trl:module:function` in a task record. The function gets the whole group at once, conversations as lists of messages, and
the task's `info`, `verifier_args` and gold as columns. Token ids, the trainer's state and environments do not travel to worker
processes, so a function that asks for these by name is refused. None is a completion that it does not judge.

Out: `GRPOTrainer(..., reward_funcs=reward_function("math", answer="solution"))`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

from rlvr_verifiers.bridges.background import BackgroundPool
from rlvr_verifiers.bridges.columns import GOLD_NAMES, as_messages, columns_of, missing_column
from rlvr_verifiers.bridges.rubric import parameters_of
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.registry import resolve
from rlvr_verifiers.types import Completion, Message, Task

RewardFunction = Callable[..., Sequence[float | None] | Awaitable[Sequence[float | None]]]
_OF_THE_TRAINER = frozenset({"completion_ids", "trainer_state", "environments"})


def _ignore(*_: object) -> None:
    """Stands for log_extra and log_metric: nobody keeps these tables here."""


class TrlReward:
    """A TRL reward function as a verifier."""

    value_range = (-math.inf, math.inf)

    def __init__(self, function: RewardFunction) -> None:
        named, self._takes_all = parameters_of(function)
        needed = [name for name in named if name in _OF_THE_TRAINER and named[name].default is named[name].empty]
        if needed:
            raise VerifierError(
                f"a TRL reward function that needs {', '.join(needed)} cannot be used: it stays in the trainer"
            )
        self._function = function
        self._named = named.keys()

    def check_task(self, task: Task) -> str | None:
        missing = missing_column(self._function, self._given(task, ()))
        return f"the reward function asks for a column {missing!r}; put it into the task's info" if missing else None

    def score_batch(self, task: Task, completions: Sequence[Completion]) -> Any:
        given = self._given(task, completions)
        return self._function(**{name: value for name, value in given.items() if self._takes_all or name in self._named})

    def _given(self, task: Task, completions: Sequence[Completion]) -> dict[str, Any]:
        count = len(completions)
        columns = {name: [value] * count for name, value in columns_of(task).items()}
        return {
            **columns,
            "prompts": [[dict(message) for message in task.prompt]] * count,
            "completions": [as_messages(completion) for completion in completions],
            "log_extra": _ignore,
            "log_metric": _ignore,
        }


def verifier_of(target: Any) -> Any:
    """What makes a verifier of `trl:module:target`: a reward function, or a class of environments that has a `get_reward`."""
    if isinstance(target, type) and hasattr(target, "reset"):
        from rlvr_verifiers.bridges.trl_environment import EnvironmentReward  # which needs the tools of environments

        return EnvironmentReward(target)
    return TrlReward(target)


def reward_function(
    verifier: str,
    *,
    answer: str | None = None,
    verifier_args: Mapping[str, Any] | None = None,
    deadline_s: float = 5.0,
    workers: int = 0,
) -> Callable[..., list[float | None]]:
    """A verifier as a TRL reward function; its workers start with the first call and are killed at a deadline.

    answer: the column that holds the gold; by default the first of `answer`, `solution`, `ground_truth`, ... that is there.
    Where our side fails the reward is None, which TRL leaves out. Raises VerifierError where the verifier cannot be loaded and,
    when called, at a task it refuses.
    """
    loaded = resolve(verifier)
    pool = BackgroundPool(workers, deadline_s, verifier)

    def reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        column = answer or next((name for name in GOLD_NAMES if name in columns), None)
        golds: Sequence[Any] = [""] * len(prompts) if column is None else columns[column]
        tasks = [
            _task(verifier, prompt, str(gold), verifier_args or {}) for prompt, gold in zip(prompts, golds, strict=True)
        ]
        rewards: list[float | None] = []
        for task, group in itertools.groupby(zip(tasks, completions, strict=True), key=lambda pair: pair[0]):
            problem = loaded.check_task(task)
            if problem is not None:
                raise VerifierError(f"verifier {verifier!r} cannot judge the row with gold {task.answer!r:.60}: {problem}")
            rewards += [score.value for score in pool.score_group(task, [_completion(text) for _, text in group])]
        return rewards

    reward.__name__ = verifier
    return reward


def _task(verifier: str, prompt: Any, gold: str, arguments: Mapping[str, Any]) -> Task:
    messages = (
        ({"role": "user", "content": prompt},) if isinstance(prompt, str) else tuple(cast("Sequence[Message]", prompt))
    )
    return Task(id="trl", prompt=messages, verifier=verifier, answer=gold, verifier_args=arguments)


def _completion(completion: Any) -> Completion:
    if isinstance(completion, str):
        return Completion(text=completion)
    messages = tuple(cast("Sequence[Message]", completion))
    content = messages[-1].get("content") if messages else ""
    return Completion(text=content if isinstance(content, str) else "", messages=messages)
