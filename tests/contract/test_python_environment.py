"""The `python` environment: one session a rollout, in the sandbox, also where there are more rollouts than boxes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.scoring import score_now
from rlvr_verifiers.tool_env import Environments, EpisodeLimits, offered
from rlvr_verifiers.tool_env.environments import python as module
from rlvr_verifiers.types import Completion, Task


def python_task(**env_args: Any) -> Task:
    return Task(id="t", prompt=(), verifier="math", answer="4", environment="python", env_args=env_args)


def run(code: str) -> str:
    return f"<tool_call>{json.dumps({'name': 'python', 'arguments': {'code': code}})}</tool_call>"


async def session(task: Task, cells: Sequence[str]) -> list[str]:
    async with Environments("hermes").episode(task) as episode:
        return [(await episode.observe(run(cell)))[0]["content"] for cell in cells]


def test_names_live_on_in_a_session_and_not_beyond_it() -> None:
    assert asyncio.run(session(python_task(), ["x = 2", "x + 2", "print(x)\nNone"])) == [
        "(nothing was printed)",
        "4\n",
        "2\n",
    ]
    (said,) = asyncio.run(session(python_task(), ["x"]))
    assert "NameError: name 'x' is not defined" in said


def test_errors_stalls_and_crashes_are_told_and_the_session_goes_on() -> None:
    said = asyncio.run(
        session(
            python_task(timeout_s=0.5),
            ["x = 1", "1 / 0", "x", "def", "while True: pass", "x", "import os; os._exit(0)", "'here'", "x" * 30_000],
        )
    )
    assert "ZeroDivisionError" in said[1]
    assert said[2] == "1\n"
    assert "SyntaxError" in said[3]
    assert said[4] == "error: the code ran longer than 0.5 s; the session was started anew, all names are gone"
    assert "NameError" in said[5]
    assert said[6].startswith("error: the code ended its own process")
    assert said[7] == "'here'\n"
    assert said[8].startswith("error: code has to be text")


def test_more_rollouts_than_boxes_keep_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions that lose their box are run again from their earlier calls."""
    sessions = module.Sessions(limit=2)
    monkeypatch.setattr(module, "_sessions", lambda: sessions)

    async def all_at_once() -> list[list[str]]:
        cells = ["total = {}", "total += 1; 1 / 0", "total += 1\ntotal", "total"]
        return await asyncio.gather(
            *(session(python_task(), [cell.replace("{}", str(10 * n)) for cell in cells]) for n in range(7))
        )

    for number, said in enumerate(asyncio.run(all_at_once())):
        assert said[2:] == [f"{10 * number + 2}\n"] * 2
    assert not sessions._idle
    sessions.close()


@pytest.mark.parametrize("backend", ["remote", "zygot"])
def test_a_sandbox_that_holds_no_sessions_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    monkeypatch.setenv("RLVR_SANDBOX", backend)
    monkeypatch.setattr(module, "_shared", {})
    with pytest.raises(VerifierError, match=f"a sandbox of this machine .*: no sandbox backend '{backend}'; give auto"):
        asyncio.run(session(python_task(), []))


def test_waiting_for_a_box_and_running_again_are_not_the_calls_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = module.Sessions(limit=2)
    monkeypatch.setattr(module, "_sessions", lambda: sessions)
    environments = Environments("hermes", EpisodeLimits(call_timeout_s=1.0))

    async def one(number: int) -> tuple[str, str | None]:
        async with environments.episode(python_task()) as episode:
            for cell in (f"import time; time.sleep(0.4); x = {number}", "time.sleep(0.4)"):
                await episode.observe(run(cell))
            (said,) = await episode.observe(run("x"))
            return said["content"], episode.ended and episode.ended[0]

    async def all_at_once() -> list[tuple[str, str | None]]:
        return await asyncio.gather(*map(one, range(8)))

    assert asyncio.run(all_at_once()) == [(f"{number}\n", None) for number in range(8)]
    sessions.close()


def test_a_session_that_cannot_be_run_again_is_our_failure() -> None:
    environment = module.Python()
    environment.reset(python_task())
    environment.python("x = 1")
    environment._history.append("import os; os._exit(0)")  # as if it had gone well
    module._sessions().drop(environment)
    with pytest.raises(VerifierError, match="an earlier call cannot be run again: the code ended its own process"):
        environment.python("x")
    environment.close()


def test_the_walls_are_those_of_the_sandbox(tmp_path: Path) -> None:
    owned = tmp_path / "owned"
    said = asyncio.run(
        session(
            python_task(),
            [
                f"open({str(owned)!r}, 'w')",
                "import socket; socket.create_connection(('127.0.0.1', 9), 1)",
                "x = 'a' * 2**40",
            ],
        )
    )
    assert not owned.exists()
    assert "Error" in said[0]
    assert "Error" in said[1]
    assert "Error" in said[2] or "error" in said[2]


def test_the_reply_is_judged_by_the_tasks_own_verifier() -> None:
    task = python_task()
    assert [schema["function"]["name"] for schema in offered(task)] == ["python"]
    messages = ({"role": "tool", "content": "4"}, {"role": "assistant", "content": r"\boxed{4}"})
    assert score_now(task, Completion(text="", messages=messages)).passed
