"""An environment whose methods are coroutines, judged where an event loop runs already and where none does."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.registry import check_task, resolve
from rlvr_verifiers.scoring import score_now
from rlvr_verifiers.tool_call import Call
from rlvr_verifiers.tool_env import Environments, Episode, ToolError, offered, tool
from rlvr_verifiers.types import Completion, Score, Task


class Ledger:
    """Holds what only the event loop and the thread that it was made in may touch."""

    in_process = True

    async def reset(self, task: Task) -> None:
        self.lines: list[str] = []
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[str] = asyncio.Queue(1)

    @tool
    async def note(self, text: str) -> int:
        """Writes a line.

        Args:
            text: the line.
        """
        assert asyncio.get_running_loop() is self._loop
        if not text:
            raise ToolError("nothing to write")
        await asyncio.gather(self._queue.put(text), asyncio.sleep(0))
        self.lines.append(await self._queue.get())
        return len(self.lines)

    async def state(self) -> list[str]:
        assert asyncio.get_running_loop() is self._loop
        return self.lines

    async def check(self, task: Task, reply: str) -> str | None:
        await asyncio.sleep(0)
        return None if "done" in reply.lower() else "it does not say that it is done"

    async def close(self) -> None:
        assert asyncio.get_running_loop() is self._loop


class Cancelled(Ledger):
    """Cancels itself, as a scope that times out does."""

    async def reset(self, task: Task) -> None:
        if task.env_args:
            raise asyncio.CancelledError

    @tool
    async def note(self, text: str) -> None:
        """Writes a line."""
        raise asyncio.CancelledError(text)

    async def close(self) -> None:
        raise asyncio.CancelledError


def test_an_environment_that_cancels_itself_cancels_no_rollout() -> None:
    task = Task(id="t", prompt=(), verifier="", answer="", environment=f"{Path(__file__)}:Cancelled")

    async def play(task: Task) -> str:
        async with Environments("hermes").episode(task) as episode:
            (result,) = await episode.run([Call(name="note", arguments={"text": "enough"})])
            assert result.content == "error: CancelledError: enough"
        return result.content

    with pytest.raises(VerifierError, match="cannot be closed: CancelledError"):
        asyncio.run(play(task))
    with pytest.raises(VerifierError, match="cannot be reset for task 't': CancelledError"):
        asyncio.run(play(dataclasses.replace(task, env_args={"now": True})))


class Hosted(Ledger):
    in_process = False


class Database:
    """Its methods are plain, but SQLite wants one thread, and what they call wants a loop of its own."""

    def reset(self, task: Task) -> None:
        self._connection = sqlite3.connect(":memory:")
        self._connection.execute("CREATE TABLE lines (text)")

    @tool
    def note(self, text: str) -> int:
        """Writes a line."""
        self._connection.execute("INSERT INTO lines VALUES (?)", (text,))
        return asyncio.run(asyncio.sleep(0, self._connection.total_changes))

    def state(self) -> list[str]:
        return [text for (text,) in self._connection.execute("SELECT text FROM lines")]

    def close(self) -> None:
        self._connection.close()


def asked(kind: type, **changes: Any) -> Task:
    answer = json.dumps({"calls": [{"name": "note", "arguments": {"text": text}} for text in ("a", "b")]})
    name = f"{Path(__file__)}:{kind.__name__}"
    task = Task(id="t", prompt=(), verifier="tool_env", answer=answer, environment=name)
    return dataclasses.replace(task, tools=offered(task), **changes)


def written(*texts: str, reply: str = "Done.") -> Completion:
    noted = [{"role": "tool", "name": "note", "arguments": {"text": text}, "content": ""} for text in texts]
    return Completion(text=reply, messages=(*noted, {"role": "assistant", "content": reply}))


def plainly(task: Task, completion: Completion) -> Score:
    return score_now(task, completion)


def in_a_loop(task: Task, completion: Completion) -> Score:
    """As a server, `LoadedVerifier.score` or an asynchronous verifier around it does."""

    async def score() -> Score:
        return await resolve(task.verifier).score(task, completion)

    return asyncio.run(score())


def in_multi(task: Task, completion: Completion) -> Score:
    parts = [{"name": "tool_env"}, {"name": "regex", "answer": "(?i)done|both", "args": {"mode": "search"}}]
    return score_now(dataclasses.replace(task, verifier="multi", verifier_args={"verifiers": parts}), completion)


@pytest.mark.parametrize("kind", [Ledger, Database])
@pytest.mark.parametrize("judge", [plainly, in_a_loop, in_multi])
def test_the_state_is_judged_whoever_asks(judge: Callable[[Task, Completion], Score], kind: type) -> None:
    task = asked(kind)
    assert judge(task, written("a", "b")).reason == "ok"
    assert judge(task, written("a", "c")).reason == "wrong_state"
    failed = judge(task, written("a", "", "b")) if kind is Ledger else None
    assert failed is None or (failed.passed, max(failed.metrics.values())) == (True, 3.0)


@pytest.mark.parametrize("judge", [plainly, in_a_loop, in_multi])
def test_an_asynchronous_check_has_its_say(judge: Callable[[Task, Completion], Score]) -> None:
    refused = judge(asked(Ledger), written("a", "b", reply="Both."))
    assert (refused.reason, "does not say that it is done" in refused.explanation) == ("refused", True)


def test_a_check_alone_is_proved_not_to_pass_by_itself_also_in_a_loop() -> None:
    task = asked(Ledger, answer="")

    async def checked() -> str | None:
        return check_task(task)

    assert "passes before anything is done" in (asyncio.run(checked()) or "")
    assert asyncio.run(checked()) == check_task(task)


async def opened(task: Task) -> list[str]:
    async with Environments("hermes").episode(task) as episode:
        return await twice(episode)


async def by_itself(task: Task) -> list[str]:
    episode = Episode(task, format="hermes")
    try:
        return await twice(episode)
    finally:
        await episode.close()


async def twice(episode: Episode) -> list[str]:
    call = json.dumps({"name": "note", "arguments": {"text": "a"}})
    return [message["content"] for message in await episode.observe(f"<tool_call>{call}</tool_call>" * 2)]


@pytest.mark.parametrize("kind", [Ledger, Hosted])
@pytest.mark.parametrize("play", [opened, by_itself])
def test_a_rollout_keeps_its_loop_from_call_to_call(play: Callable[[Task], Any], kind: type) -> None:
    assert asyncio.run(play(asked(kind))) == ["1", "2"]
