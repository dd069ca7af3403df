"""A machine with more work than cores: what a program or a verifier waits for is not its time, and none can wait for ever."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from rlvr_sandbox import Call, Limits, Program, Result, Sandbox, SandboxError
from rlvr_sandbox.core_wait import pid_of, waited_s
from rlvr_verifiers.pool import VerifierPool
from rlvr_verifiers.types import Completion, Score, Task
from tests.attack.conftest import readable_interpreter

pytestmark = pytest.mark.xdist_group("one core")  # not two of these at once, where tests are run by several processes
WORK = """
import time
def f(seconds):
    while time.process_time() < seconds: pass
    return "done"
"""
WALL_S = 0.6
BACKENDS = ("zygote", "landlock")


@pytest.fixture(scope="module")
def shared_core() -> Iterator[int]:
    """One core, to which this process and all that it starts is bound, with somebody else who always wants it."""
    before = os.sched_getaffinity(0)
    core = max(before)
    os.sched_setaffinity(0, {core})
    # A session of its own: the kernel shares a core between sessions before it shares it between processes.
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
    try:
        yield core
    finally:
        other.kill()
        other.wait()
        os.sched_setaffinity(0, before)


@pytest.fixture(scope="module", params=BACKENDS)
def busy_sandbox(request: pytest.FixtureRequest, shared_core: int) -> Iterator[Sandbox]:
    interpreter = readable_interpreter() if request.param == "landlock" and os.geteuid() == 0 else None
    with Sandbox(request.param, interpreter=interpreter) as one:
        try:
            one.walls()
        except SandboxError as error:
            pytest.skip(str(error))
        yield one


def run(sandbox: Sandbox, source: str, *args: object, **limits: float) -> Result:
    allowed = Limits(**{"wall_s": WALL_S, "cpu_s": 10.0, **limits})  # type: ignore[arg-type]
    return sandbox.run_now(Program(source=source, mode="function", entry_point="f", limits=allowed), call=Call(args=args))


TRIES = 8
"""Others may use the core, too, and a program that waits longer than three times its limit is stopped with reason."""


def one_outlives(results: Iterable[Result], limit_s: float = WALL_S) -> bool:
    """Whether one goes well although it takes longer than its limit by the clock."""
    for result in results:
        if result.status == "ok" and result.wall_s > limit_s + 0.05:
            assert result.value == "done" or result.stdout == b"done\n"
            assert result.wall_s - result.waited_s < limit_s + 0.1
            return True
    return False


def test_what_a_program_waits_for_a_core_is_not_its_time(busy_sandbox: Sandbox) -> None:
    assert one_outlives(run(busy_sandbox, WORK, 0.4) for _ in range(TRIES))


def test_nor_that_of_one_call(busy_sandbox: Sandbox) -> None:
    assert one_outlives(run(busy_sandbox, WORK, 0.4, wall_s=10.0, case_wall_s=WALL_S) for _ in range(TRIES))


def test_nor_that_of_a_program_with_streams(busy_sandbox: Sandbox) -> None:
    program = Program(source=f"{WORK}\nprint(f(0.4))", limits=Limits(wall_s=WALL_S))
    assert one_outlives(busy_sandbox.run_now(program) for _ in range(TRIES))


def test_patience_has_an_end_and_the_waiting_is_told(busy_sandbox: Sandbox) -> None:
    result = run(busy_sandbox, WORK, 30.0)
    assert result.status == "timeout", result
    assert result.wall_s > WALL_S + 0.05
    assert result.waited_s <= 2 * WALL_S
    assert f"of which it waited {result.waited_s:.1f} s for a core" in result.message


def test_a_program_that_sleeps_waits_for_nothing(busy_sandbox: Sandbox) -> None:
    results = [run(busy_sandbox, "import time\ndef f(): time.sleep(60)") for _ in range(3)]
    assert {result.status for result in results} == {"timeout"}
    assert min(result.wall_s for result in results) < WALL_S + 0.3


def test_what_a_verifier_waits_for_a_core_is_not_its_time(shared_core: int) -> None:
    name = f"{Path(__file__).parent / 'misbehaving_verifiers.py'}:work"
    task = Task(id="work", prompt=({"role": "user", "content": "?"},), verifier=name, answer="")

    async def scores() -> list[Score]:
        async with VerifierPool(1, WALL_S, verifiers=(name,)) as pool:
            return [await pool.score(task, Completion(text=seconds)) for seconds in ["0.4"] * TRIES + ["30"]]

    *right, endless = asyncio.run(scores())
    assert any(score.value == 1.0 and score.seconds > WALL_S + 0.05 for score in right), right
    assert (endless.value, endless.reason) == (0.0, "timeout")
    assert "which it waited for a core" in endless.explanation


def test_waiting_is_counted_by_the_kernel(shared_core: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", WORK + "\nf(0.3)"], start_new_session=True)
    pidfd = os.pidfd_open(process.pid)
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)
    assert pid_of(pidfd) == process.pid
    counted = waited_s(process.pid)
    assert counted == int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[1]) / 1e9
    assert counted > 0.1
    process.wait()
    assert (pid_of(pidfd), waited_s(process.pid)) == (-1, 0.0)
    os.close(pidfd)
