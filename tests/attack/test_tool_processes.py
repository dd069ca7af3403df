"""Tools that hang, crash and flood: each episode's process can be killed, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.tool_env import Environments, Episode, EpisodeLimits, hosted, tool
from rlvr_verifiers.types import Task

HERE = f"{Path(__file__)}:"
LIMITS = EpisodeLimits(call_timeout_s=1.5)


class Wild:
    seen: ClassVar[list[int]] = []

    def reset(self, task: Task) -> None:
        if task.env_args.get("broken"):
            os._exit(5)
        time.sleep(task.env_args.get("sleep", 0))
        self.stays = task.env_args.get("stays")

    @tool
    def pid(self) -> int:
        """Says which process this is."""
        self.seen.append(1)
        return os.getpid()

    @tool
    def count(self) -> int:
        """Counts calls in what all instances of the class share."""
        self.seen.append(1)
        return len(self.seen)

    @tool
    def backtrack(self) -> str:
        """Hangs in C, where no other thread of its process gets a turn."""
        return str(re.match(r"(a+)+b", "a" * 60))

    @tool
    def leave(self, path: str) -> None:
        """Starts a program that outlives its call, and hangs."""
        with subprocess.Popen(["sleep", "1000"]) as process:
            Path(path).write_text(str(process.pid))
            time.sleep(1000)

    @tool
    def exit(self) -> None:
        """Ends the process."""
        os._exit(3)

    @tool
    def fill(self) -> int:
        """Takes more memory than there is."""
        return len(bytearray(64 << 30))

    @tool
    def shout(self) -> str:
        """Writes to standard output, where no protocol is."""
        print("x" * 100_000)
        return "done"

    def close(self) -> None:
        if self.stays:
            raise RuntimeError(self.stays)


class Tame(Wild):
    in_process = True


class Unmade(Tame):
    def __init__(self) -> None:
        raise SystemExit("no licence")


def task(environment: str = "Wild", **env_args: Any) -> Task:
    return Task(id="t", prompt=(), verifier="tool_env", answer="", environment=HERE + environment, env_args=env_args)


async def call(episode: Episode, name: str, **arguments: Any) -> str:
    turn = f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"
    return str((await episode.observe(turn))[0]["content"])


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def gone(pid: int, within_s: float = 20.0) -> bool:
    """Whether the process has ended; a zombie that nobody has reaped yet has."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def test_a_call_that_hangs_in_c_is_killed_and_stalls_no_other_episode() -> None:
    async def side_by_side() -> tuple[str, int, tuple[str, str] | None]:
        environments = Environments("hermes", LIMITS)
        async with environments.episode(task()) as stuck, environments.episode(task()) as quick:
            pid = int(await call(stuck, "pid"))
            hanging = asyncio.create_task(call(stuck, "backtrack"))
            answered = 0
            while not hanging.done():
                await call(quick, "pid")
                answered += 1
                await asyncio.sleep(0.02)
            said = await hanging
            assert gone(pid)
            assert "no further call" in await call(stuck, "pid")
            return said, answered, stuck.ended

    said, answered, ended = asyncio.run(side_by_side())
    assert said == "error: backtrack ran longer than 1.5 s; no further call can be made"
    assert ended is not None
    assert ended[0] == "tool_timeout"
    assert answered > 5


def test_what_a_tool_started_is_killed_with_it(tmp_path: Path) -> None:
    async def one() -> None:
        async with Environments("hermes", LIMITS).episode(task()) as episode:
            await call(episode, "leave", path=str(tmp_path / "pid"))

    asyncio.run(one())
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_tool_that_ends_its_process_ends_its_episode_alone() -> None:
    async def two() -> tuple[str, tuple[str, str] | None, str]:
        environments = Environments("hermes", LIMITS)
        async with environments.episode(task()) as first, environments.episode(task()) as second:
            return await call(first, "exit"), first.ended, await call(second, "count")

    said, ended, other = asyncio.run(two())
    assert said.startswith("error: exit ended its own process")
    assert ended is not None
    assert ended[0] == "tool_crash"
    assert other == "1"


def test_not_even_what_a_class_holds_is_shared() -> None:
    async def two() -> list[str]:
        environments = Environments("hermes", LIMITS)
        async with environments.episode(task()) as first, environments.episode(task()) as second:
            return [await call(episode, "count") for episode in (first, second, first)]

    assert asyncio.run(two()) == ["1", "1", "2"]


def test_memory_is_bounded_and_output_disturbs_nothing() -> None:
    async def one() -> list[str]:
        async with Environments("hermes", EpisodeLimits(memory_mb=512)).episode(task()) as episode:
            return [await call(episode, name) for name in ("fill", "shout", "count")]

    assert asyncio.run(one()) == ["error: MemoryError: ", "done", "1"]


def test_no_process_is_left_when_an_episode_ends() -> None:
    async def one() -> int:
        async with Environments("hermes").episode(task()) as episode:
            pid = int(await call(episode, "pid"))
            assert pid != os.getpid()
            return pid

    assert gone(asyncio.run(one()))


def test_a_quick_environment_may_stay_in_this_process() -> None:
    async def one() -> int:
        async with Environments("hermes").episode(task("Tame")) as episode:
            return int(await call(episode, "pid"))

    threads = threading.active_count()
    assert asyncio.run(one()) == os.getpid()
    until = time.monotonic() + 20.0
    while threading.active_count() > threads and time.monotonic() < until:
        time.sleep(0.01)  # the thread of a call that is answered has a moment to end
    assert threading.active_count() <= threads


def test_a_reset_that_dies_is_the_environments_failure_and_the_next_episode_opens() -> None:
    async def two() -> str:
        environments = Environments("hermes")
        with pytest.raises(VerifierError, match="died while it was reset"):
            async with environments.episode(task(broken=True)):
                pass
        async with environments.episode(task()) as episode:
            return await call(episode, "count")

    assert asyncio.run(two()) == "1"


def test_a_reset_that_takes_too_long_is_the_environments_failure_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def two() -> str:
        environments = Environments("hermes")
        async with environments.episode(task()) as healthy:
            await call(healthy, "pid")
            monkeypatch.setattr(hosted, "OPEN_DEADLINE_S", 1.0)
            with pytest.raises(VerifierError, match="reset took over 1 s for task 't'"):
                async with environments.episode(task(sleep=600)):
                    pass
            return await call(healthy, "count")

    assert asyncio.run(two()) == "2"


@pytest.mark.parametrize("rollouts", [1, 400])
def test_an_import_that_hangs_ends_no_episode_and_the_next_one_opens(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rollouts: int
) -> None:
    """It hangs in the server alone, which forks nothing meanwhile; 400 requests do not fit into its socket."""
    module = tmp_path / "hangs.py"
    source = Path(__file__).read_text()
    hang = "import sys\nif 'rlvr_verifiers.tool_env.server' in sys.orig_argv: __import__('time').sleep(600)\n"
    module.write_text(source.replace("import asyncio\n", f"{hang}import asyncio\n", 1))

    async def three() -> tuple[str, str]:
        environments = Environments("hermes")
        async with environments.episode(task()) as healthy:
            pid = int(await call(healthy, "pid"))
            monkeypatch.setattr(hosted, "OPEN_DEADLINE_S", 1.0)
            hanging = dataclasses.replace(task(), environment=f"{module}:Wild")
            failures = await asyncio.gather(*(opened(environments, hanging) for _ in range(rollouts)))
            assert {type(failure) for failure in failures} == {VerifierError}
            others = [str(failure) for failure in failures if "was not imported within 1 s" not in str(failure)]
            assert others == []
            monkeypatch.setattr(hosted, "OPEN_DEADLINE_S", 60.0)
            async with environments.episode(task()) as other:
                found = await call(healthy, "count"), await call(other, "count")
        assert gone(pid)
        return found

    assert asyncio.run(three()) == ("2", "1")


@pytest.mark.parametrize("environment", ["Wild", "Tame"])
def test_an_environment_that_cannot_be_closed_is_its_failure(environment: str) -> None:
    async def one() -> None:
        async with Environments("hermes").episode(task(environment, stays="the database does not let go")) as episode:
            await call(episode, "count")

    with pytest.raises(VerifierError, match="cannot be closed: RuntimeError: the database does not let go"):
        asyncio.run(one())


def test_what_goes_wrong_first_is_what_is_told() -> None:
    async def one() -> None:
        async with Environments("hermes").episode(task("Tame", stays="it stays")):
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(one())


def test_an_environment_that_cannot_be_made_is_its_failure() -> None:
    async def one() -> None:
        async with Environments("hermes").episode(task("Unmade")):
            pass

    with pytest.raises(VerifierError, match="cannot be reset for task 't': SystemExit: no licence"):
        asyncio.run(one())


async def opened(environments: Environments, task: Task) -> BaseException | None:
    try:
        async with environments.episode(task):
            return None
    except VerifierError as error:
        return error


def test_when_the_server_dies_its_episodes_end_and_the_next_one_gets_another() -> None:
    async def two() -> str:
        environments = Environments("hermes")
        async with environments.episode(task()) as first:
            pid = int(await call(first, "pid"))
            os.kill(parent_of(pid), signal.SIGKILL)
            assert gone(pid)
            with pytest.raises(VerifierError, match="process that runs tools has died"):  # ours: never the policy's 0
                await call(first, "pid")
            assert first.ended is None
        async with environments.episode(task()) as second:
            return await call(second, "count")

    assert asyncio.run(two()) == "1"


TRAINER = """
import asyncio, sys, time
from tests.attack.test_tool_processes import call, task
from rlvr_verifiers.tool_env import Environments

async def main():
    async with Environments("hermes").episode(task()) as episode:
        print(await call(episode, "pid"), flush=True)
        await call(episode, *sys.argv[1:2], **dict([argument.split("=") for argument in sys.argv[2:]]))

asyncio.run(main())
"""


@contextlib.contextmanager
def training(*tool: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A trainer that calls a tool, killed in the end, and the process of its episode."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen([sys.executable, "-c", TRAINER, *tool], stdout=subprocess.PIPE, env=environment) as trainer:
        assert trainer.stdout is not None
        try:
            yield trainer, int(trainer.stdout.readline())
        finally:
            trainer.kill()


def test_when_the_trainer_is_killed_a_hanging_tool_dies_with_it() -> None:
    with training("backtrack") as (_, pid):
        time.sleep(0.3)
    assert gone(pid)


@pytest.mark.parametrize("killed", ["trainer", "server"])
def test_when_trainer_or_server_is_killed_what_a_tool_started_dies_with_it(tmp_path: Path, killed: str) -> None:
    started = tmp_path / "pid"
    with training("leave", f"path={started}") as (trainer, pid):
        until = time.monotonic() + 20.0
        while not (started.exists() and started.read_text()) and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(trainer.pid if killed == "trainer" else parent_of(pid), signal.SIGKILL)
        assert gone(pid)
        assert gone(int(started.read_text()))
