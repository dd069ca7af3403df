"""What a task's environment offers the policy: the schemas that are filled in when data is loaded, and the names for a prompt."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from rlvr_tasks.errors import TaskError
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.tool_env import offered
from rlvr_verifiers.types import Task


def with_tools(tasks: Sequence[Task]) -> Sequence[Task]:
    """Fills in the tools of tasks that name an environment and leave them out. Raises TaskError where there is no such environment."""
    if not any(task.environment and not task.tools for task in tasks):
        return tasks
    try:
        return [
            dataclasses.replace(task, tools=offered(task)) if task.environment and not task.tools else task for task in tasks
        ]
    except VerifierError as error:
        raise TaskError(str(error)) from None


def tool_names(environment: str, env_args: Mapping[str, Any]) -> tuple[str, ...]:
    """The tools that an environment offers under these arguments. Raises TaskError, in one line, where it cannot be had."""
    anyone = Task(id="(every row)", prompt=(), verifier="", answer="", environment=environment, env_args=env_args)
    try:
        return tuple(schema["function"]["name"] for schema in offered(anyone))
    except VerifierError as error:
        raise TaskError(f"environment: {error}") from None
