"""Suspicious events: a denied system call is told of, an honest program is not suspected, and asking for much stops nothing."""

from __future__ import annotations

import time

import pytest

from rlvr_sandbox import Call, Limits, Program, Result, Sandbox

LIMITS = Limits(wall_s=10.0, cpu_s=10.0, processes=16)


def call(zygote_sandbox: Sandbox, source: str, limits: Limits = LIMITS) -> Result:
    return zygote_sandbox.run_now(Program(source=source, mode="function", entry_point="f", limits=limits), call=Call())


DENIED = {
    "a socket": "import socket\ndef f():\n    try: socket.socket()\n    except PermissionError: return 1",
    "ptrace": "import ctypes\ndef f(): return -ctypes.CDLL(None).ptrace(0, 0, 0, 0)",
    "a user namespace": "import ctypes\ndef f(): return -ctypes.CDLL(None).unshare(0x10000000)",
    "io_uring": "import ctypes\ndef f(): return -ctypes.CDLL(None).syscall(425, 1, 0)",
    "in a child": "import os, ctypes\ndef f():\n    if os.fork() == 0: os._exit(-ctypes.CDLL(None).chroot(b'/'))\n"
    "    return os.waitstatus_to_exitcode(os.wait()[1])",
}


@pytest.mark.parametrize("name", DENIED)
def test_a_denied_call_fails_and_is_told_of(zygote_sandbox: Sandbox, name: str) -> None:
    result = call(zygote_sandbox, DENIED[name])
    assert (result.value, result.events) == (1, ("refused_calls",))


HONEST = {
    "asyncio": "import asyncio\ndef f(): return asyncio.run(asyncio.sleep(0, 1))",
    "threads": "import threading\ndef f():\n    t = threading.Thread(target=print); t.start(); t.join(); return 1",
    "processes": "import os\ndef f(): return 1 if os.fork() else os._exit(0)",
    "files": "import tempfile\ndef f():\n    with tempfile.TemporaryFile() as file: return file.write(b'a')",
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_program_is_not_suspected(zygote_sandbox: Sandbox, name: str) -> None:
    result = call(zygote_sandbox, HONEST[name])
    assert (result.value, result.events) == (1, ())


def test_the_next_box_is_not_blamed(zygote_sandbox: Sandbox) -> None:
    assert call(zygote_sandbox, DENIED["ptrace"]).events
    assert call(zygote_sandbox, "def f(): return 1").events == ()


def test_asking_without_end_does_not_keep_a_box_alive(zygote_sandbox: Sandbox) -> None:
    source = (
        "import ctypes, os\ndef f():\n    for _ in range(8):\n        if os.fork() == 0: break\n"
        "    while True: ctypes.CDLL(None).ptrace(0, 0, 0, 0)"
    )
    begin = time.monotonic()
    result = call(zygote_sandbox, source, Limits(wall_s=0.5, cpu_s=10.0, processes=16))
    assert (result.status, result.events) == ("timeout", ("refused_calls",))
    assert time.monotonic() - begin < 5
    assert call(zygote_sandbox, "def f(): return 1").value == 1
