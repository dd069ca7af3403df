"""A task as the columns of a data set, which is how reward functions of other trainers see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rlvr_verifiers.bridges.rubric import parameters_of
from rlvr_verifiers.types import Completion, Message, Task

GOLD_NAMES = ("answer", "solution", "ground_truth", "gold", "label", "target", "reference")
"""Names under which functions ask for the gold; a column of that name in `info` comes first."""


def columns_of(task: Task) -> dict[str, Any]:
    """Every column a function may ask for. What `info` and `verifier_args` hold are columns of their own names."""
    golds = dict.fromkeys(GOLD_NAMES, task.answer)
    fields = {"id": task.id, "data_source": task.data_source, "ability": task.ability, "split": task.split, "task": task.id}
    return {**golds, **fields, **task.info, **task.verifier_args}


def as_messages(completion: Completion) -> list[Message]:
    """The completion as chat messages, which it is even where only its text is known."""
    return list(completion.messages) or [{"role": "assistant", "content": completion.text}]


def missing_column(function: Callable[..., Any], known: Mapping[str, Any]) -> str | None:
    """A parameter without default that nothing fills."""
    named, _ = parameters_of(function)
    return next((name for name, each in named.items() if each.default is each.empty and name not in known), None)
