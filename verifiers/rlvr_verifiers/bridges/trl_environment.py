"""TRL's environment classes (`environment_factory` of its GRPOTrainer, TRL 1.16) as environments and verifiers here.

`environment: trl:module:Class` in a task record: its public methods are the tools, its `reset(**columns)` gets the task's columns and
`env_args`. `verifier: trl:module:Class` beside it gives what its `get_reward()` says after the recorded calls have been run again on
a fresh instance, as `tool_env` does; any other verifier may judge its tasks, too.

Where it differs: an instance serves one rollout, and is never reset for a second one. A text that `reset` returns would be joined to the
prompt by TRL; here the prompt is the task's own, so such a class is refused.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any, cast

from rlvr_verifiers.bridges.columns import columns_of
from rlvr_verifiers.bridges.rubric import parameters_of
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.protocol import as_score
from rlvr_verifiers.tool_env.loops import where_no_loop_runs
from rlvr_verifiers.tool_env.registry import Environment, offered
from rlvr_verifiers.tool_env.replay import executed, opened, replay
from rlvr_verifiers.tool_env.tools import tool
from rlvr_verifiers.types import Completion, Score, Task

_OWN = frozenset({"reset", "get_reward"})


def environment_of(kind: type) -> type[Environment]:
    """The class as one of ours. Raises VerifierError where it has no `reset`."""
    if not callable(getattr(kind, "reset", None)):
        raise VerifierError(f"{kind.__name__} is no environment of TRL: it has no method reset")
    methods = {name: method for name, method in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}
    tools = {name: tool(_passed_on(method)) for name, method in methods.items() if name not in _OWN}
    return type(kind.__name__, (_Adapted,), {"kind": kind, "__doc__": kind.__doc__, **tools})


class _Adapted:
    """An instance of TRL's class behind our names."""

    kind: Callable[[], Any]

    def __init__(self) -> None:
        self._inner: Any = self.kind()

    def reset(self, task: Task) -> None:
        given = {**columns_of(task), "prompt": [dict(message) for message in task.prompt], **task.env_args}
        named, takes_all = parameters_of(self._inner.reset)
        shown = self._inner.reset(**{name: value for name, value in given.items() if takes_all or name in named})
        if shown is not None:
            name = type(self).__name__
            raise VerifierError(
                f"reset of {name} returns a text for the prompt; write it into the task's prompt and return None"
            )

    def state(self) -> dict[str, Any]:
        attributes = cast("dict[str, Any]", vars(self._inner))
        return {name: value for name, value in attributes.items() if not name.startswith("_")}

    def get_reward(self) -> Any:
        return self._inner.get_reward()

    def close(self) -> None:
        close = getattr(self._inner, "close", None)
        if callable(close) and "close" not in vars(type(self)):  # else it is a tool
            close()


def _passed_on(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: _Adapted, **arguments: Any) -> Any:
        return method(self._inner, **arguments)  # pyright: ignore[reportPrivateUsage]

    return call


class EnvironmentReward:
    """What an environment's own `get_reward` says of a conversation."""

    value_range = (-math.inf, math.inf)

    def __init__(self, kind: type) -> None:
        if not callable(getattr(kind, "get_reward", None)):
            raise VerifierError(f"{kind.__name__} has no get_reward(), so it is no verifier; name another for its tasks")
        self._name = kind.__name__

    @where_no_loop_runs
    def check_task(self, task: Task) -> str | None:
        if task.verifier_args:
            return f"{self._name}.get_reward() takes no verifier_args; what its reset needs goes into env_args or info"
        if task.environment != task.verifier:
            return f"environment: found {task.environment!r}; the reward of {self._name} is for its own, so give {task.verifier!r}"
        if offered(task) != tuple(task.tools):
            return f"tools are not those of the environment {task.environment!r}; leave them out, and they are filled in"
        with opened(task):
            return None

    @where_no_loop_runs
    def score(self, task: Task, completion: Completion) -> Score:
        with opened(task) as instance:
            replay(instance, executed(completion))
            return as_score(instance.finished(instance.environment.get_reward()), self._name)
