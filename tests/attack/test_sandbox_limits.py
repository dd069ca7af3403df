"""Limits: each is reached, reported by its name, costs the program its answer, and never costs us a box or a moment more."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import pytest

from rlvr_sandbox import Call, Limits, Program, Result, Sandbox, SandboxError
from tests.attack.conftest import readable_interpreter

GRACE_S = 0.2
"""A box and everything in it is gone this soon after its deadline."""
PATIENCE = 5
"""A busy machine is late now and then; a sandbox that is always late is late five times."""


def slowness(sandbox: Sandbox) -> float:
    """Seconds that a box takes which does nothing: a few thousandths, or far more while others use the machine."""
    begin = time.monotonic()
    call(sandbox, "def f(): return 1")
    return time.monotonic() - begin


def limits(**more: Any) -> Limits:
    return Limits(
        **{
            "wall_s": 10.0,
            "cpu_s": 10.0,
            "memory_mb": 256,
            "processes": 8,
            "disk_mb": 16,
            "fsize_mb": 8,
            "files": 64,
            **more,
        }
    )


def children() -> set[int]:
    return {int(pid) for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}


def call(sandbox: Sandbox, source: str, *args: Any, **more: Any) -> Result:
    program = Program(source=source, mode="function", entry_point="f", limits=limits(**more))
    return sandbox.run_now(program, call=Call(args=args))


STALLS = {
    "a loop": "def f():\n    while True: pass",
    "a sleep": "import time\ndef f(): time.sleep(60)",
    "a loop that catches everything": """
def f():
    while True:
        try:
            while True: pass
        except BaseException: pass
""",
    "a loop in C": "def f(): return sum(range(1 << 40))",
    "a stop signal": """
import os, signal
def f():
    os.kill(os.getpid(), signal.SIGSTOP)
    while True: pass
""",
    "ignored signals": """
import signal
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
def f():
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    while True: pass
""",
    "a loop while it is loaded": "while True: pass",
    "a regular expression": "import re\ndef f(): re.match('(a+)+b', 'a' * 64)",
    "a big power": "def f(): return 7 ** 7 ** 9",
    "threads": """
import threading
def loop():
    while True: pass
for _ in range(5): threading.Thread(target=loop).start()
def f(): loop()
""",
    "waiting on its channel": "import os\ndef f(): os.read(3, 1)",
    "waiting on a pipe of its own": "import os\ndef f(): os.read(os.pipe()[0], 1)",
    "an endless __del__": "class D:\n    def __del__(self):\n        while True: pass\ndef f():\n    D()",
    "an endless exit handler": """
import atexit
def loop():
    while True: pass
atexit.register(loop)
def f():
    loop()
""",
}


def stopped_in_time(sandbox: Sandbox, source: str) -> bool:
    program = Program(source=source, mode="function", entry_point="f", limits=limits(wall_s=0.3))
    before = slowness(sandbox)
    with sandbox.open(program) as box:
        outcome = box.call()
        late = time.monotonic() - box.deadline
        gone = box.deserted()
    assert outcome.status in ("timeout", "memory"), outcome
    assert gone
    return late < GRACE_S + 10 * max(before, slowness(sandbox))


@pytest.mark.parametrize("name", STALLS)
def test_a_stalling_program_is_stopped_in_time(sandbox: Sandbox, name: str) -> None:
    assert any(stopped_in_time(sandbox, STALLS[name]) for _ in range(PATIENCE))


DAEMON = """
import os, signal, time
def spread(depth):
    for _ in range(2):
        if os.fork() == 0:
            os.setsid()
            for number in (1, 2, 3, 15, 18): signal.signal(number, signal.SIG_IGN)
            if depth: spread(depth - 1)
            if depth == 1: os.kill(os.getpid(), signal.SIGSTOP)
            while True: time.sleep(0.01)
"""
DESERTERS = {
    "daemons under a parent that stalls": DAEMON + "def f():\n    spread(1)\n    while True: time.sleep(1)",
    "daemons whose parent leaves": DAEMON + "def f():\n    spread(1)\n    os._exit(0)",
    "daemons whose parent answers": DAEMON + "def f():\n    spread(1)\n    return 1",
    "daemons whose parent is killed": DAEMON + "def f():\n    spread(1)\n    import ctypes\n    ctypes.string_at(0)",
}


@pytest.mark.parametrize("name", DESERTERS)
def test_a_box_takes_its_descendants_with_it(sandbox: Sandbox, name: str) -> None:
    program = Program(source=DESERTERS[name], mode="function", entry_point="f", limits=limits(wall_s=0.5))

    def gone_in_time() -> bool:
        with sandbox.open(program) as box:
            box.call()
            box._reap()
            return box.deserted()

    assert any(gone_in_time() for _ in range(PATIENCE))


def test_an_answer_that_was_there_in_time_counts_however_late_it_is_read(sandbox: Sandbox) -> None:
    source = "import time\ndef f(seconds):\n    time.sleep(seconds)\n    return seconds"
    program = Program(source=source, mode="function", entry_point="f", limits=limits(wall_s=1.0))
    with sandbox.open(program) as box:
        answers = box.calls(Call(args=(seconds,)) for seconds in (0.0, 0.2, 60.0))
        outcomes = [next(answers)]
        time.sleep(1.5)
        outcomes += answers
    assert [(outcome.status, outcome.value) for outcome in outcomes] == [("ok", 0.0), ("ok", 0.2), ("timeout", None)]


def test_processor_time_is_limited_apart_from_the_wall(sandbox: Sandbox) -> None:
    result = call(sandbox, "def f():\n    while True: pass", cpu_s=1, wall_s=60.0)
    assert (result.status, result.wall_s < 30) == ("timeout", True), result
    assert "CPU" in result.message


@pytest.mark.parametrize("mode", ["stdio", "function"])
def test_a_program_that_floods_at_once_is_no_failure_of_ours(sandbox: Sandbox, mode: Literal["stdio", "function"]) -> None:
    """What it writes may be there before the box's own word that it is ready has been read."""
    source = "import os\nwhile True: os.write(2, b'x' * 60000)"
    program = Program(source=source, mode=mode, entry_point="f", limits=limits(stderr_bytes=100))
    for _ in range(25):
        assert sandbox.run_now(program, call=Call() if mode == "function" else None).status == "output_limit"


BURNERS = {
    "processes that live": """
import os
def f():
    for _ in range(3): os.fork()
    while True: pass
""",
    "short processes that nobody waits for": """
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
def f():
    while True:
        try: child = os.fork()
        except OSError: child = time.sleep(0.01)
        if child == 0:
            end = time.process_time() + 0.05
            while time.process_time() < end: pass
            os._exit(0)
""",
    "orphans": """
import os
def f():
    while True:
        try: child = os.fork()
        except OSError: child = None
        if child == 0:
            try: os.fork() or [None for _ in range(10**6)]
            finally: os._exit(0)
        if child: os.waitpid(child, 0)
""",
    "threads and processes": """
import os, threading
def f():
    os.fork()
    for _ in range(2): threading.Thread(target=lambda: [0 for _ in iter(int, 1)]).start()
    while True: pass
""",
}


@pytest.mark.parametrize("name", BURNERS)
def test_processor_time_of_all_processes_counts_together(sandbox: Sandbox, name: str) -> None:
    if not sandbox.walls().cgroup:
        pytest.skip("nothing counts a whole box without a control group")
    result = call(sandbox, BURNERS[name], cpu_s=1, wall_s=60.0)
    assert (result.status, result.message) == ("timeout", "over 1 s of CPU time"), result
    assert 1.0 <= result.cpu_s < 2.0


MEMORY = {
    "one array": "def f(): return len(bytearray(1 << 30))",
    "a growing list": "def f():\n    v = [0]\n    while True: v = v + v",
    "a growing text": "def f():\n    v = 'x'\n    while True: v += v",
    "a caught error": """
def f():
    v = []
    while True:
        try: v.append(bytearray(1 << 20))
        except MemoryError: raise
""",
    "anonymous maps": """
import mmap
def f():
    v = []
    while True:
        v.append(mmap.mmap(-1, 1 << 26))
        v[-1].write(bytes(1 << 26))
""",
}


@pytest.mark.parametrize("name", MEMORY)
def test_memory_is_limited(sandbox: Sandbox, name: str) -> None:
    result = call(sandbox, MEMORY[name])
    assert result.status in ("memory", "error"), result  # mmap's own error is an OSError
    assert result.peak_memory_mb < 256 + 300


def test_memory_of_many_processes_is_limited_together(sandbox: Sandbox) -> None:
    if not sandbox.walls().cgroup and sandbox.walls().namespaces:
        pytest.skip("no control group can be made here, so each process is limited by itself")
    source = """
import os, time
def f():
    for _ in range(5):
        if os.fork() == 0:
            block = bytearray(150 << 20)
            for place in range(0, len(block), 4096): block[place] = 1
            time.sleep(1)
            os._exit(0)
    return sum(os.waitstatus_to_exitcode(os.wait()[1]) == -9 for _ in range(5))
"""
    result = call(sandbox, source)
    assert result.status == "memory" or result.value >= 3, result  # 256 MB hold one of them and most of a second
    assert call(sandbox, "def f(): return 1").value == 1


def test_files_cannot_fill_the_disk(sandbox: Sandbox) -> None:
    source = """
def f():
    written = 0
    try:
        for number in range(50):
            with open(str(number), "wb", buffering=0) as file:
                written += file.write(bytes(1 << 20))
    except OSError as error:
        return written >> 20, error.errno
"""
    result = call(sandbox, source)
    assert result.value == (16, 28) or result.events == ("over_disk",), result


def test_a_file_cannot_grow_without_end(sandbox: Sandbox) -> None:
    source = "def f():\n    with open('a', 'wb', buffering=0) as file:\n        while True: file.write(bytes(1 << 20))"
    result = call(sandbox, source)
    assert result.status == "error"
    assert "too large" in result.message


def test_files_cannot_be_made_without_end(sandbox: Sandbox) -> None:
    source = "def f():\n    for n in range(30000): open(str(n), 'w').close()"
    result = call(sandbox, source)
    assert (result.status, "No space" in result.message or "disk" in result.message) == ("error", True), result


def test_sparse_and_linked_files_count(sandbox: Sandbox) -> None:
    source = "import os\ndef f():\n    open('a', 'w').close()\n    for n in range(30000): os.link('a', f'a{n}')"
    assert call(sandbox, source).status == "error"


BOMBS = {
    "forks": "import os\ndef f():\n    while True:\n        try: os.fork()\n        except OSError: pass",
    "threads": """
import threading, time
def f():
    while True:
        try: threading.Thread(target=time.sleep, args=(60,)).start()
        except RuntimeError: pass
""",
    "descriptors": "import os\ndef f():\n    while True: os.pipe()",
    "programs": """
import subprocess, sys
def f():
    while True: subprocess.Popen([sys.executable, '-c', 'input()'])
""",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_hurts_only_its_own_box(sandbox: Sandbox, name: str) -> None:
    result = call(sandbox, BOMBS[name], wall_s=1.0)
    assert result.status in ("timeout", "error", "memory"), result
    assert (
        call(
            sandbox,
            "import os\ndef f():\n    pid = os.fork()\n    if not pid: os._exit(0)\n    os.waitpid(pid, 0)\n    return 1",
        ).value
        == 1
    )


def test_processes_are_counted(sandbox: Sandbox) -> None:
    source = """
import os, time
def f():
    made = 0
    try:
        while True:
            if os.fork() == 0: time.sleep(60)
            made += 1
    except OSError:
        return made
"""
    result = call(sandbox, source, processes=5)
    assert result.value == 4 or result.events == ("over_processes",), result


def test_output_is_read_up_to_its_limit_and_no_further(sandbox: Sandbox) -> None:
    program = Program(source="while True: print('x' * 1000)", limits=limits(stdout_bytes=100_000))
    result = sandbox.run_now(program)
    assert (result.status, result.stdout) == ("output_limit", b"")
    assert result.wall_s < 5


def test_standard_error_is_limited_and_cut(sandbox: Sandbox) -> None:
    result = call(sandbox, "import sys\ndef f():\n    while True: print('x' * 1000, file=sys.stderr)")
    assert result.status == "output_limit"
    assert len(result.stderr) == 8192


def test_a_value_is_limited(sandbox: Sandbox) -> None:
    assert call(sandbox, "def f(): return 'x' * 996", value_bytes=1000).status == "bad_value"
    assert call(sandbox, "def f(): return 'x' * 995", value_bytes=1000).status == "ok"


def test_a_gigabyte_of_input_that_nobody_reads_does_not_stall(sandbox: Sandbox) -> None:
    result = sandbox.run_now(Program(source="print(1)", limits=limits()), stdin=bytes(1 << 26))
    assert (result.status, result.stdout) == ("ok", b"1\n")


def test_input_and_output_flow_at_the_same_time(sandbox: Sandbox) -> None:
    source = "import sys\nfor line in sys.stdin.buffer: sys.stdout.buffer.write(line)"
    data = b"x" * 99 + b"\n"
    result = sandbox.run_now(Program(source=source, limits=limits()), stdin=data * 50_000)
    assert (result.status, result.stdout == data * 50_000) == ("ok", True)


def test_one_call_has_a_limit_of_its_own(sandbox: Sandbox) -> None:
    program = Program(
        source="import time\ndef f(s):\n    time.sleep(s)\n    return s",
        mode="function",
        entry_point="f",
        limits=limits(case_wall_s=0.5),
    )
    with sandbox.open(program) as box:
        assert box.call((0.0,)).status == "ok"
        begin = time.monotonic()
        assert box.call((30.0,)).status == "timeout"
        assert time.monotonic() - begin < 5
        assert box.call((0.0,)).status == "timeout"  # it is over


@pytest.mark.parametrize("backend", ["zygote", "landlock"])
def test_a_killed_zygote_is_our_failure_and_is_replaced(backend: str) -> None:
    with Sandbox(backend, interpreter=readable_interpreter()) as one:
        source = "import time\ndef f(seconds=0):\n    time.sleep(seconds)\n    return 1"
        program = Program(source=source, mode="function", entry_point="f", limits=limits())
        before = children()
        try:
            assert one.run_now(program).value == 1
        except SandboxError as error:
            pytest.skip(str(error))
        (zygote,) = children() - before
        with one.open(program) as box:
            box.load()
            os.kill(zygote, signal.SIGKILL)
            with pytest.raises(SandboxError):
                box.call((60,))
        assert one.run_now(program).value == 1
        assert one.restarts == 1


def test_even_the_unsafe_backend_leaves_no_process_and_no_file() -> None:
    def folders() -> set[Path]:
        return set(Path(tempfile.gettempdir()).glob("rlvr-unsafe-*"))

    before = folders()
    source = DAEMON + "def f():\n    open('left', 'w').close()\n    spread(1)\n    return os.listdir('.')"
    with Sandbox("unsafe_rlimit") as one:
        for _ in range(2):
            assert call(one, source).value == ["left"]
        assert call(one, "def f():\n    while True: pass", wall_s=0.3).status == "timeout"
        (folder,) = folders() - before
        assert list(folder.iterdir()) == []
    assert folders() == before


def test_many_boxes_leave_nothing_open(sandbox: Sandbox) -> None:
    def open_things() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), len(children())

    def run(calls: int) -> None:
        for _ in range(calls):
            call(sandbox, "def f(): return 1")
        sandbox.run_now(Program(source="print(1)"))  # takes the box that was made ahead

    run(2)
    before = open_things()
    run(100)
    assert open_things() == before
