"""A fresh environment for one task: calls by name with checked arguments, every error a result. Nothing here has a clock."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import json
import time
from typing import Any

from rlvr_verifiers.arguments import clip
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.tool_call import Call
from rlvr_verifiers.tool_env.loops import OwnLoop
from rlvr_verifiers.tool_env.registry import resolve, tools_for
from rlvr_verifiers.tool_env.tools import Tool, ToolError
from rlvr_verifiers.types import Task

_FAILURES = (Exception, SystemExit, asyncio.CancelledError)
"""What an environment's code may raise. A coroutine that is cancelled by its own doing must not look like a rollout that is."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ToolResult:
    """What one call came to."""

    call: Call
    content: str
    error: bool = False
    ran: bool = True
    """False where the episode refused to run it."""
    seconds: float = 0.0


class Instance:
    """The environment and its tools by name."""

    def __init__(self, task: Task) -> None:
        """Raises VerifierError where there is no such environment or it cannot be reset."""
        self.tools = tools_for(task)
        made = resolve(task.environment or "")
        self._loop = OwnLoop()
        try:
            self.environment: Any = made()
            # Its own copy: an environment that edits its arguments must not edit those of the next rollout.
            self.finished(self.environment.reset(dataclasses.replace(task, env_args=copy.deepcopy(dict(task.env_args)))))
        except VerifierError:
            self._loop.close()
            raise
        except _FAILURES as error:
            self._loop.close()
            what = f"environment {task.environment!r} cannot be reset for task {task.id!r}"
            raise VerifierError(f"{what}: {_described(error)}") from error

    def run(self, call: Call, output_chars: int) -> ToolResult:
        """Raises VerifierError for a failure of the environment itself; everything else is a result."""
        begin = time.perf_counter()
        try:
            content, error = shown(self._run(call), output_chars), False
        except VerifierError:
            raise
        except ToolError as problem:
            content, error = error_text(str(problem), output_chars), True
        except _FAILURES as problem:
            content, error = error_text(f"{type(problem).__name__}: {problem}", output_chars), True
        return ToolResult(call=call, content=content, error=error, seconds=time.perf_counter() - begin)

    def _run(self, call: Call) -> object:
        found: Tool | None = self.tools.get(call.name)
        if found is None:
            raise ToolError(f"there is no tool {clip(call.name, 60)!r}; the tools are {', '.join(self.tools)}")
        return self.finished(found.method(self.environment, **found.bind(call.arguments)))

    def finished(self, value: object) -> Any:
        """What a method of the environment returned; where it is a coroutine, what that comes to in the environment's own loop."""
        return self._loop.finished(value)

    def close(self) -> None:
        """Raises VerifierError where the environment's own `close` fails, whatever it raises."""
        close = getattr(self.environment, "close", None)
        try:
            if close is not None:
                self.finished(close())
        except _FAILURES as error:
            what = f"environment {type(self.environment).__name__} cannot be closed"
            raise VerifierError(f"{what}: {_described(error)}") from error
        finally:
            self._loop.close()


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {clip(str(error), 200)}"


def shown(value: object, limit: int) -> str:
    """A tool's value as the policy reads it: text as it is, anything else as JSON; the middle cut out where it is long."""
    if isinstance(value, str):
        text = value
    else:
        try:
            text = json.dumps(value, ensure_ascii=False)
        except (TypeError, ValueError, RecursionError):
            text = str(value)
    text = encodable(text)
    if len(text) <= limit:
        return text
    note = f"\n... {len(text) - limit} characters are left out ...\n"
    return text[: limit // 2] + note + text[len(text) - (limit - limit // 2) :]


def encodable(text: str) -> str:
    """Text that a tokenizer takes: half of a surrogate pair, which a tool or the JSON of a call can smuggle in, is spelt out."""
    return text.encode("utf-8", "backslashreplace").decode()


def error_text(message: str, limit: int) -> str:
    return shown(f"error: {message}", limit)
