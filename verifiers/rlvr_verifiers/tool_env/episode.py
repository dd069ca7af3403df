"""`Episode`: one rollout's own environment. Fresh state, calls by name with checked arguments, errors as messages, every call timed.

    environments = Environments(format="hermes")
    async with environments.episode(task) as episode:
        messages = await episode.observe(turn)      # tool messages; () where the turn calls nothing

A turn with anything unreadable in it runs nothing: the policy is told why and can write it again. Calls of one turn run one after
another, since they share a state; different episodes do not wait for each other. A call that overruns its time cannot be stopped
inside this process: the policy is told, and the episode refuses further calls (when it is scored, a worker that can be killed meets
the same call). Only a failure of the environment itself (VerifierError) is raised.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import dataclasses
import inspect
import json
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future
from typing import Any, cast

from rlvr_verifiers.arguments import clip
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.tool_call import FORMATS, Call, parse_calls
from rlvr_verifiers.tool_env.registry import resolve, tools_for
from rlvr_verifiers.tool_env.tools import Tool, ToolError
from rlvr_verifiers.types import Message, Task


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EpisodeLimits:
    call_timeout_s: float = 10.0
    """Wall time of one call."""
    output_chars: int = 4_000
    """Of one result that the policy is shown; the middle of a longer one is cut out."""
    calls: int = 64
    """In one episode."""


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
    """A fresh environment for one task, and its tools by name. Nothing here has a clock."""

    def __init__(self, task: Task) -> None:
        """Raises VerifierError where there is no such environment or it cannot be reset."""
        self.tools = tools_for(task)
        self.environment: Any = resolve(task.environment or "")()
        try:
            # Its own copy: an environment that edits its arguments must not edit those of the next rollout.
            self.environment.reset(dataclasses.replace(task, env_args=copy.deepcopy(dict(task.env_args))))
        except VerifierError:
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {clip(str(error), 200)}"
            raise VerifierError(f"environment {task.environment!r} cannot be reset for task {task.id!r}: {what}") from error

    def run(self, call: Call, output_chars: int) -> ToolResult:
        """Raises VerifierError for a failure of the environment itself; everything else is a result."""
        begin = time.perf_counter()
        try:
            content, error = shown(self._run(call), output_chars), False
        except VerifierError:
            raise
        except ToolError as problem:
            content, error = _error(str(problem), output_chars), True
        except (Exception, SystemExit) as problem:
            content, error = _error(f"{type(problem).__name__}: {problem}", output_chars), True
        return ToolResult(call=call, content=content, error=error, seconds=time.perf_counter() - begin)

    def _run(self, call: Call) -> object:
        found: Tool | None = self.tools.get(call.name)
        if found is None:
            raise ToolError(f"there is no tool {clip(call.name, 60)!r}; the tools are {', '.join(self.tools)}")
        value = found.method(self.environment, **found.bind(call.arguments))
        if inspect.iscoroutine(value):
            return asyncio.run(cast("Any", value))
        return value

    def close(self) -> None:
        close = getattr(self.environment, "close", None)
        if close is not None:
            close()


class Episode:
    """Made by `Environments.episode`, or by itself and then to be closed."""

    def __init__(self, task: Task, *, format: str = "auto", limits: EpisodeLimits | None = None) -> None:  # noqa: A002
        """Raises VerifierError as `Instance` does."""
        self._instance = Instance(task)
        self._schemas = [tool.schema for tool in self._instance.tools.values()]
        self._format = format
        self._limits = limits or EpisodeLimits()
        self._calls = 0
        self._stuck = ""

    async def observe(self, turn: str) -> Sequence[Message]:
        """Runs the calls in a turn (special tokens kept). The messages to show the policy; none where the turn calls no tool.

        A message of a call that ran holds its `arguments` beside what chat templates need: scoring replays it from there.
        Raises VerifierError where the environment itself fails.
        """
        parsed = parse_calls(turn, self._format, self._schemas)
        if parsed.failures:
            said = "; ".join(dict.fromkeys(failure.message for failure in parsed.failures[:3]))
            return ({"role": "tool", "content": _error(f"{said}. Nothing was run.", self._limits.output_chars)},)
        first = self._calls
        return [_message(result, number) for number, result in enumerate(await self.run(parsed.calls), first)]

    async def run(self, calls: Sequence[Call]) -> list[ToolResult]:
        """Runs calls one after another. Raises VerifierError where the environment itself fails."""
        return [await self._run(call) for call in calls]

    async def _run(self, call: Call) -> ToolResult:
        self._calls += 1
        if self._stuck:
            return self._refusal(call, self._stuck)
        if self._calls > self._limits.calls:
            return self._refusal(call, f"no more than {self._limits.calls} calls can be made")
        timeout_s = self._limits.call_timeout_s
        running = _in_thread(lambda: self._instance.run(call, self._limits.output_chars))
        waiting = asyncio.wrap_future(running)
        done, _ = await asyncio.wait([waiting], timeout=timeout_s)
        if done:
            return waiting.result()
        waiting.cancel()
        self._stuck = f"{clip(call.name, 60)} ran longer than {timeout_s:g} s; no further call can be made"
        return ToolResult(call=call, content=_error(self._stuck, self._limits.output_chars), error=True, seconds=timeout_s)

    def _refusal(self, call: Call, why: str) -> ToolResult:
        return ToolResult(call=call, content=_error(why, self._limits.output_chars), error=True, ran=False)

    def close(self) -> None:
        if not self._stuck:  # else a thread is still inside it
            self._instance.close()


class Environments:
    """Opens an episode for each rollout of a task that names an environment.

    format: how the policy writes calls, one of `rlvr_verifiers.tool_call.FORMATS`. Raises VerifierError for one that is not.
    """

    def __init__(self, format: str = "auto", limits: EpisodeLimits | None = None) -> None:  # noqa: A002
        if format not in FORMATS:
            raise VerifierError(f"no tool call format {format!r}; known: {', '.join(FORMATS)}")
        self._format = format
        self._limits = limits

    @contextlib.asynccontextmanager
    async def episode(self, task: Task) -> AsyncGenerator[Episode]:
        """Raises VerifierError where the task's environment cannot be had."""
        episode = await _awaited(lambda: Episode(task, format=self._format, limits=self._limits))
        try:
            yield episode
        finally:
            await _awaited(episode.close)


def shown(value: object, limit: int) -> str:
    """A tool's value as the policy reads it: text as it is, anything else as JSON; the middle cut out where it is long."""
    if isinstance(value, str):
        text = value
    else:
        try:
            text = json.dumps(value, ensure_ascii=False)
        except (TypeError, ValueError, RecursionError):
            text = str(value)
    if len(text) <= limit:
        return text
    note = f"\n... {len(text) - limit} characters are left out ...\n"
    return text[: limit // 2] + note + text[len(text) - (limit - limit // 2) :]


def _error(message: str, limit: int) -> str:
    return shown(f"error: {message}", limit)


def _message(result: ToolResult, number: int) -> Message:
    call = result.call
    # Nine letters and digits: some templates insist.
    names = {"tool_call_id": call.id or f"call{number % 100_000:05d}", "name": call.name}
    noted = {"arguments": dict(call.arguments)} if result.ran else {}
    return {"role": "tool", **names, **noted, "content": result.content}


async def _awaited(function: Callable[[], Any]) -> Any:
    return await asyncio.wrap_future(_in_thread(function))


def _in_thread(function: Callable[[], Any]) -> Future[Any]:
    """A daemon thread of its own, not a pool: one that hangs takes nobody's place and does not keep the process alive."""
    future: Future[Any] = Future()

    def work() -> None:
        future.set_running_or_notify_cancel()
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name="tool call", daemon=True).start()
    return future
