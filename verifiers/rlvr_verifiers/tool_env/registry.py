"""Finds an environment class by name: a built-in, an entry point of the group `rlvr.environments`, `module:Class`, `file.py:Class`,
these two also behind `trl:` for a class of TRL's."""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.metadata
from collections.abc import Mapping
from typing import Any, Protocol

from rlvr_verifiers.arguments import clip
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.registry import file_module
from rlvr_verifiers.tool_env.tools import Tool, tools_of
from rlvr_verifiers.types import Task

ENTRY_POINT_GROUP = "rlvr.environments"

BUILT_IN: Mapping[str, str] = {
    "files": "rlvr_verifiers.tool_env.environments.files:Files",
    "python": "rlvr_verifiers.tool_env.environments.python:Python",
    "shop": "rlvr_verifiers.tool_env.environments.shop:Shop",
}


class Environment(Protocol):
    """What a class has to have to be an environment, beside methods marked with `@tool`. It is made without arguments.

    Further methods are optional. `state() -> JSON data`: what a final check compares; without it, all attributes that do not start
    with an underscore. `check(task, reply) -> str | None`: what is wrong in the end, or None. `close()`: frees what it holds.
    `in_process = True`: its tools are quick and always end, so it needs no process of its own. `own_clock = True`, beside that: it ends a
    call that takes too long itself and says so, and what a call waits for others does not count.

    Any method may be `async def`: an instance has an event loop of its own, which runs while a method of it does.
    """

    def reset(self, task: Task) -> Any:
        """Sets the state that a rollout of this task starts from, from `task.env_args`. Called once, on a fresh instance."""
        ...


def available() -> dict[str, str]:
    """Name to import path of every built-in and plug-in."""
    return {**{point.name: point.value for point in _plug_ins().values()}, **BUILT_IN}


@functools.lru_cache(maxsize=256)
def resolve(name: str) -> type[Environment]:
    """The environment class of that name. Raises VerifierError where there is none or it cannot be used."""
    bridged = name.startswith("trl:")
    path = BUILT_IN.get(name) or (name.removeprefix("trl:") if ":" in name else _value_of(name))
    location, _, attribute = path.rpartition(":")
    if not location or not attribute:
        raise VerifierError(f"environment {name!r}: give a registry name, module:Class or path/file.py:Class")
    try:
        module = file_module(location) if location.endswith(".py") else importlib.import_module(location)
        target: Any = getattr(module, attribute)
    except VerifierError:
        raise
    except (Exception, SystemExit) as error:  # whatever a plug-in does on import
        reason = f"{type(error).__name__}: {clip(str(error), 200)}"
        raise VerifierError(
            f"environment {name!r} cannot be loaded from {location}: {reason}; mend it or the name"
        ) from error
    if bridged and isinstance(target, type):
        from rlvr_verifiers.bridges.trl_environment import environment_of  # only who has such a class pays for it

        target = environment_of(target)
    if not isinstance(target, type) or not callable(getattr(target, "reset", None)):
        raise VerifierError(f"environment {name!r}: {attribute} has to be a class with a method reset(task)")
    tools_of(target)
    return target


def offered(task: Task) -> tuple[Mapping[str, Any], ...]:
    """Function schemas of the tools of a task's environment; `env_args.tools` may name those that are offered.

    Raises VerifierError where the environment, or a tool of that name, does not exist.
    """
    return tuple(dict(each.schema) for each in tools_for(task).values())


def tools_for(task: Task) -> Mapping[str, Tool]:
    """Name to tool, of what the task's environment offers in this task. Raises VerifierError as `offered` does."""
    if not task.environment:
        raise VerifierError(f"task {task.id!r} names no environment")
    tools = tools_of(resolve(task.environment))
    names = task.env_args.get("tools")
    if names is None:
        return tools
    unknown = [name for name in names if name not in tools]
    if unknown or not names:
        raise VerifierError(f"env_args.tools of task {task.id!r} is {clip(repr(names), 80)}; it has {', '.join(tools)}")
    return {name: tools[name] for name in names}


def _value_of(name: str) -> str:
    points = _plug_ins()
    if name in points:
        return points[name].value
    known = sorted({*BUILT_IN, *points})
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise VerifierError(
        f"no environment {name!r}; {hint}known: {', '.join(known)}; or give module:Class or path/file.py:Class"
    )


@functools.cache
def _plug_ins() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)}
