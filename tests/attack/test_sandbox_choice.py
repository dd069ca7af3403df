"""Which backend is taken, and what happens when the thing that it lives in dies."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from rlvr_sandbox import Interpreter, Limits, Program, Sandbox, SandboxError, probe
from rlvr_sandbox import sandbox as sandbox_module
from rlvr_sandbox.launch import Launched, start_unsafe, start_zygote
from tests.attack.conftest import readable_interpreter

ONE = Program(source="def f(): return 1", mode="function", entry_point="f")


def refuses(_: Interpreter) -> Launched:
    raise SandboxError("not today")


def test_auto_takes_the_best_that_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    launchers = {"zygote": (refuses,), "bwrap": (refuses, start_zygote), "landlock": (refuses,)}
    monkeypatch.setattr(sandbox_module, "_LAUNCHERS", launchers)
    monkeypatch.setattr(sandbox_module, "SAFE_BACKENDS", tuple(launchers))
    with Sandbox() as sandbox:
        assert sandbox.backend == "auto"
        assert sandbox.run_now(ONE).value == 1
        assert sandbox.backend == "bwrap"


def test_auto_never_takes_what_does_not_stand_the_self_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backend without walls, passed off as a safe one. Not as root, to which the attacks could do harm on this machine."""
    if os.geteuid() == 0:
        monkeypatch.setattr(sandbox_module, "breaches", lambda _: ["a file of the host can be read"])
    launchers = {"zygote": (start_unsafe,), "bwrap": (refuses,)}
    monkeypatch.setattr(sandbox_module, "_LAUNCHERS", launchers)
    monkeypatch.setattr(sandbox_module, "SAFE_BACKENDS", tuple(launchers))
    with (
        Sandbox() as sandbox,
        pytest.raises(SandboxError, match=r"zygote: .*a file of the host can be read.*bwrap: not today"),
    ):
        sandbox.run_now(ONE)


def test_starting_what_the_second_box_needs_is_not_the_first_ones_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(interpreter: Interpreter) -> Launched:
        time.sleep(1.0)
        return start_zygote(interpreter)

    monkeypatch.setattr(sandbox_module, "_LAUNCHERS", {"zygote": (slowly,)})
    check = Program(source="def check(candidate): assert candidate() == 1", mode="check", entry_point="f")
    hasty = dataclasses.replace(ONE, limits=Limits(wall_s=0.9))
    with Sandbox("zygote") as sandbox, sandbox.open_pair(hasty, check) as (box, checker):
        assert checker.next_message() == ("call", 1, (), {})
        assert box.call().value == 1


def test_a_report_of_every_backend_says_what_holds_or_why_not() -> None:
    reports = {report.name: report for report in probe()}
    assert tuple(reports) == sandbox_module.SAFE_BACKENDS
    for report in reports.values():
        assert "seccomp" in report.detail if report.works else report.detail


def test_a_report_of_what_cannot_be_started_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    launchers = dict.fromkeys(sandbox_module.SAFE_BACKENDS, (refuses, refuses))
    monkeypatch.setattr(sandbox_module, "_LAUNCHERS", launchers)
    assert [(report.works, report.detail) for report in probe()] == [(False, "not today")] * len(launchers)
    with pytest.raises(SandboxError, match=f"{', '.join(launchers)}: not today$"), Sandbox() as sandbox:
        sandbox.walls()


def test_a_missing_engine_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody")
    with Sandbox("docker") as one, pytest.raises(SandboxError, match=r"no engine answers at .*nobody .*; start dockerd"):
        one.run_now(ONE)


def test_a_missing_image_is_told_with_what_to_do(sandbox: Sandbox) -> None:
    if sandbox.backend != "docker":
        pytest.skip("a property of docker")
    nowhere = Interpreter(image="rlvr-no-such-image")
    with Sandbox("docker", interpreter=nowhere) as one, pytest.raises(SandboxError, match="make sandbox-image"):
        one.run_now(ONE)


def test_a_container_that_dies_is_our_failure_and_is_replaced(sandbox: Sandbox) -> None:
    if sandbox.backend != "docker":
        pytest.skip("a property of docker")
    slow = Program(source="import time\ndef f(): time.sleep(60)", mode="function", entry_point="f", limits=Limits(wall_s=20))
    with Sandbox("docker") as one:
        one.walls()
        process: Any = one._idle[0]._process
        with one.open(slow) as box:
            box.load()
            process._client.kill(process.id)
            with pytest.raises(SandboxError):
                box.call()
        assert one.run_now(ONE).value == 1
        assert one.restarts == 1


def test_a_container_is_replaced_after_many_programs(sandbox: Sandbox) -> None:
    if sandbox.backend != "docker":
        pytest.skip("a property of docker")
    with Sandbox("docker", zygotes=2) as one:
        one.run_now(ONE)
        old = one._idle[0]
        old._launched = dataclasses.replace(old._launched, serves=1)
        assert one.run_now(ONE).value == 1
        assert (old in one._idle, one.restarts) == (False, 0)
        assert one.run_now(ONE).value == 1


def test_nothing_is_left_when_the_controller_is_killed(sandbox: Sandbox) -> None:
    """Not a process, and so no container: each zygote sees its controller's end of the channel close."""
    source = f"""
import os, signal
from rlvr_sandbox import Interpreter, Program, Sandbox
def tree(pid):
    found = [pid]
    for task in os.listdir(f"/proc/{{pid}}/task"):
        for child in open(f"/proc/{{pid}}/task/{{task}}/children").read().split():
            found += tree(int(child))
    return found
sandbox = Sandbox({sandbox.backend!r}, interpreter=Interpreter(path={(readable_interpreter() or Interpreter()).path!r}))
sandbox.walls()
held = sandbox._idle[0]._process
first = held.pid if hasattr(held, "pid") else held._client.inspect_container(held.id)["State"]["Pid"]
program = Program(source="import os, time\\ndef f():\\n    os.fork()\\n    time.sleep(600)", mode="function", entry_point="f")
with sandbox.open(program) as box:
    box.load()
    print(*tree(first), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    processes = {Path("/proc", pid) for pid in done.stdout.split()}
    assert len(processes) >= 2
    until = time.monotonic() + 10
    while any(process.exists() for process in processes) and time.monotonic() < until:
        time.sleep(0.05)
    assert not [process for process in processes if process.exists()]


def test_a_killed_zygote_without_namespaces_takes_its_box_along() -> None:
    """What the kernel does elsewhere: the controller ends the process group, and the next zygote removes the folder."""
    interpreter = readable_interpreter()
    if interpreter is None:
        pytest.skip("no interpreter that other users can read")
    folder = Path(tempfile.gettempdir())
    spread = "import os, time\nopen('left', 'w').close()\nif os.fork() == 0: time.sleep(600)\ndef f(): time.sleep(600)"
    program = Program(source=spread, mode="function", entry_point="f", limits=Limits(wall_s=20))
    try:
        one = Sandbox("landlock", interpreter=interpreter)
        one.walls()
    except SandboxError as error:
        pytest.skip(str(error))
    with one:
        zygote: Any = one._idle[0]._process
        (mine,) = folder.glob(f"rlvr-landlock-{zygote.pid}-*")
        with one.open(program) as box:
            assert box.load().status == "ok"
            assert len(_working_in(mine)) >= 2
            os.kill(zygote.pid, signal.SIGKILL)
            with pytest.raises(SandboxError):
                box.call()
        until = time.monotonic() + 10  # killed they are; the kernel takes its time to put them away
        while (living := _working_in(mine)) and time.monotonic() < until:
            time.sleep(0.01)
        assert living == []
        assert one.run_now(ONE).value == 1
        assert not mine.exists()


def _working_in(folder: Path) -> list[Path]:
    """Processes, by the link to their working directory."""
    return [link for link in Path("/proc").glob("[0-9]*/cwd") if _leads_to(link, folder)]


def _leads_to(link: Path, folder: Path) -> bool:
    try:
        return os.readlink(link).startswith(str(folder))
    except OSError:
        return False
