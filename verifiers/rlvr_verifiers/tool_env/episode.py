"""`Episode`: one rollout's own environment. Fresh state, calls by name with checked arguments, errors as messages, every call timed.

    environments = Environments(format="hermes")
    async with environments.episode(task) as episode:
        messages = await episode.observe(turn)      # tool messages; () where the turn calls nothing

A turn with anything unreadable in it runs nothing: the policy is told why and can write it again. Calls of one turn run one after
another, since they share a state; different episodes do not wait for each other. Only a failure of the environment itself
(VerifierError) is raised.

Each episode has a process of its own (`server.py`), so that a call which overruns its time is killed, with whatever it started, and no
tool can stall or crash the trainer. An environment whose tools are quick and end by themselves says `in_process = True` and is spared
the process; a call of it that hangs keeps its thread. Either way the episode has `ended` then, and says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from rlvr_verifiers.arguments import clip
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.tool_call import FORMATS, Call, parse_calls
from rlvr_verifiers.tool_env.hosted import OPEN_DEADLINE_S, tool_server
from rlvr_verifiers.tool_env.instance import Instance, ToolResult, encodable, error_text
from rlvr_verifiers.tool_env.loops import where_no_loop_runs
from rlvr_verifiers.tool_env.registry import resolve, tools_for
from rlvr_verifiers.types import Message, Task


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EpisodeLimits:
    call_timeout_s: float = 10.0
    """Wall time of one call; not where the environment has its own clock."""
    output_chars: int = 4_000
    """Of one result that the policy is shown; the middle of a longer one is cut out."""
    calls: int = 64
    """In one episode."""
    memory_mb: int | None = 4096
    """Private writable memory of an episode's process (RLIMIT_DATA); None: no limit."""


OWN_CLOCK_DEADLINE_S = 1800.0
"""For a call of an environment that ends its calls itself: its queue included, which a thousand rollouts may stand in."""


class Runner(Protocol):
    """Where an episode's environment lives."""

    async def run(self, call: Call, output_chars: int, timeout_s: float) -> ToolResult:
        """Raises TimeoutError where the call overruns its time, EOFError where it ends its process; then nothing more can be run.

        Raises VerifierError where the environment itself fails.
        """
        ...

    async def close(self) -> None:
        """Raises VerifierError where the environment cannot be closed."""
        ...


class InThisProcess:
    """A call in a thread of its own, not of a pool: one that hangs takes nobody's place and does not keep the process alive."""

    def __init__(self, task: Task) -> None:
        """Raises VerifierError as `Instance` does."""
        self._instance = where_no_loop_runs(lambda: Instance(task))()
        self._hangs = False

    async def run(self, call: Call, output_chars: int, timeout_s: float) -> ToolResult:
        own_clock = getattr(self._instance.environment, "own_clock", False)
        limit_s = OWN_CLOCK_DEADLINE_S if own_clock else timeout_s
        try:
            return await _within(limit_s, lambda: self._instance.run(call, output_chars))
        except TimeoutError:
            self._hangs = True
            if not own_clock:
                raise
            raise VerifierError(
                f"{clip(call.name, 60)} was not ended by its environment's own clock in {limit_s:g} s"
            ) from None

    async def close(self) -> None:
        if not self._hangs:  # else a thread is still inside it
            await _awaited("close an environment", self._instance.close)


class Episode:
    """Made by `Environments.episode`, or by itself, in this process, and then to be closed."""

    def __init__(
        self,
        task: Task,
        *,
        format: str = "auto",  # noqa: A002
        limits: EpisodeLimits | None = None,
        runner: Runner | None = None,
    ) -> None:
        """Raises VerifierError as `Instance` does."""
        self._schemas = [tool.schema for tool in tools_for(task).values()]
        self._runner = runner or InThisProcess(task)
        self._format = format
        self._limits = limits or EpisodeLimits()
        self._calls = 0
        self.ended: tuple[str, str] | None = None
        """Reason (`tool_timeout`, `tool_crash`) and explanation, once a call has left nothing to go on with."""

    async def observe(self, turn: str) -> Sequence[Message]:
        """Runs the calls in a turn (special tokens kept). The messages to show the policy; none where the turn calls no tool.

        A message of a call that ran holds its `arguments` beside what chat templates need: scoring replays it from there.
        Raises VerifierError where the environment itself fails.
        """
        parsed = parse_calls(turn, self._format, self._schemas)
        if parsed.failures:
            said = "; ".join(dict.fromkeys(failure.message for failure in parsed.failures[:3]))
            return ({"role": "tool", "content": error_text(f"{said}. Nothing was run.", self._limits.output_chars)},)
        first = self._calls
        return [_message(result, number) for number, result in enumerate(await self.run(parsed.calls), first)]

    async def run(self, calls: Sequence[Call]) -> list[ToolResult]:
        """Runs calls one after another. Raises VerifierError where the environment itself fails."""
        return [await self._run(call) for call in calls]

    async def _run(self, call: Call) -> ToolResult:
        self._calls += 1
        if self.ended:
            return self._refusal(call, self.ended[1])
        if self._calls > self._limits.calls:
            return self._refusal(call, f"no more than {self._limits.calls} calls can be made")
        timeout_s = self._limits.call_timeout_s
        try:
            return await self._runner.run(call, self._limits.output_chars, timeout_s)
        except TimeoutError:
            problem = "tool_timeout", f"{clip(call.name, 60)} ran longer than {timeout_s:g} s; no further call can be made"
        except EOFError:
            problem = "tool_crash", f"{clip(call.name, 60)} ended its own process; no further call can be made"
        self.ended = problem
        return ToolResult(
            call=call, content=error_text(problem[1], self._limits.output_chars), error=True, seconds=timeout_s
        )

    def _refusal(self, call: Call, why: str) -> ToolResult:
        return ToolResult(call=call, content=error_text(why, self._limits.output_chars), error=True, ran=False)

    async def close(self) -> None:
        await self._runner.close()


class Environments:
    """Opens an episode for each rollout of a task that names an environment.

    format: how the policy writes calls, one of `rlvr_verifiers.tool_call.FORMATS`. Raises VerifierError for one that is not.
    """

    def __init__(self, format: str = "auto", limits: EpisodeLimits | None = None) -> None:  # noqa: A002
        if format not in FORMATS:
            raise VerifierError(f"no tool call format {format!r}; known: {', '.join(FORMATS)}")
        self._format = format
        self._limits = limits or EpisodeLimits()

    @contextlib.asynccontextmanager
    async def episode(self, task: Task) -> AsyncGenerator[Episode]:
        """Raises VerifierError where the task's environment cannot be had, or not be closed in the end."""
        what = f"open environment {task.environment!r}"
        if getattr(await _awaited(what, lambda: resolve(task.environment or "")), "in_process", False):
            runner: Runner = await _awaited(what, lambda: InThisProcess(task))
        else:
            runner = await tool_server().open(task, self._limits.memory_mb)
        try:
            yield Episode(task, format=self._format, limits=self._limits, runner=runner)
        except BaseException:
            with contextlib.suppress(VerifierError):  # what went wrong first is what is told
                await runner.close()
            raise
        await runner.close()


def _message(result: ToolResult, number: int) -> Message:
    call = result.call
    # Nine letters and digits: some templates insist.
    names = {"tool_call_id": encodable(call.id) or f"call{number % 100_000:05d}", "name": encodable(call.name)}
    noted = {"arguments": dict(call.arguments)} if result.ran else {}
    return {"role": "tool", **names, **noted, "content": result.content}


async def _awaited(what: str, function: Callable[[], Any]) -> Any:
    try:
        return await _within(OPEN_DEADLINE_S, function)
    except TimeoutError:
        raise VerifierError(f"to {what} took over {OPEN_DEADLINE_S:g} s") from None


async def _within(seconds: float, function: Callable[[], Any]) -> Any:
    """Raises TimeoutError where it takes longer; its thread goes on."""
    waiting = asyncio.wrap_future(_in_thread(function))
    done, _ = await asyncio.wait([waiting], timeout=seconds)
    if done:
        return waiting.result()
    waiting.cancel()
    raise TimeoutError


def _in_thread(function: Callable[[], Any]) -> Future[Any]:
    future: Future[Any] = Future()

    def work() -> None:
        future.set_running_or_notify_cancel()
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    try:
        threading.Thread(target=work, name="tool call", daemon=True).start()
    except RuntimeError as error:
        raise VerifierError(f"no thread for an environment: {error}; too many rollouts at once for this machine") from error
    return future
