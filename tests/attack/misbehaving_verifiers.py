"""Verifiers that do what verifiers must not do. Loaded by file path in test_verifier_pool.py, in worker processes only.

`task.answer` is the path of a scratch file where one needs to leave a trace.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from rlvr_verifiers.types import Completion, Score, Task


def quick(task: Task, completion: Completion) -> bool:
    return completion.text == "right"


def note(task: Task, line: str) -> None:
    with Path(task.answer).open("a") as file:
        file.write(f"{line}\n")


def sleep(task: Task, completion: Completion) -> bool:
    time.sleep(float(completion.text))
    return True


async def sleep_async(task: Task, completion: Completion) -> bool:
    await asyncio.sleep(float(completion.text))
    return True


def work(task: Task, completion: Completion) -> bool:
    """So many seconds of a core."""
    until = time.process_time() + float(completion.text)
    while time.process_time() < until:
        pass
    return True


def hang(task: Task, completion: Completion) -> bool:
    if completion.text == "right":
        return True
    while True:
        pass


class Promise:
    """Says that it ends itself, and does not."""

    def own_deadline_s(self, task: Task) -> float:
        return 0.4

    def score(self, task: Task, completion: Completion) -> bool:
        return hang(task, completion)


def hang_in_c(task: Task, completion: Completion) -> bool:
    """In C code that holds the interpreter lock, so that no thread of the process can run."""
    ctypes.PyDLL(None).sleep(3600)
    return True


def hang_on_signals(task: Task, completion: Completion) -> bool:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        time.sleep(1)


def segfault(task: Task, completion: Completion) -> bool:
    note(task, "tried")
    ctypes.string_at(0)
    return True


def exit_now(task: Task, completion: Completion) -> bool:
    note(task, "tried")
    os._exit(0)


def exit_once(task: Task, completion: Completion) -> bool:
    if not Path(task.answer).exists():
        note(task, "died")
        os._exit(3)
    return True


def eat_memory(task: Task, completion: Completion) -> bool:
    note(task, "tried")
    hoard = [bytearray(64 * 2**20) for _ in range(1000)]
    return bool(hoard)


def leave_politely(task: Task, completion: Completion) -> bool:
    sys.exit(0)


def fail(task: Task, completion: Completion) -> bool:
    raise ZeroDivisionError(f"cannot judge\n{completion.text}")


def flood(task: Task, completion: Completion) -> bool:
    for _ in range(2_000):
        print("x" * 10_000)
    os.write(1, b"\x00\x00\x00\x02{}" * 10_000)
    sys.stdout.flush()
    return True


def read_standard_input(task: Task, completion: Completion) -> bool:
    return sys.stdin.read() == ""


def enormous(task: Task, completion: Completion) -> Score:
    return Score(value=1.0, passed=True, reason="ok", explanation="e" * 50_000_000)


def unsendable(task: Task, completion: Completion) -> Score:
    return Score(value=1.0, passed=True, reason="ok", metrics={"what": object()})  # type: ignore[dict-item]


def leave_children(task: Task, completion: Completion) -> bool:
    """A forked child and a started program, both for ever; then it hangs itself, or not."""
    child = os.fork()
    if child == 0:
        time.sleep(3600)
        os._exit(0)
    program = subprocess.Popen(["sleep", "3600"])
    note(task, f"{child} {program.pid}")
    if completion.text == "hang":
        time.sleep(3600)
    if completion.text == "die":
        os._exit(1)
    return True


def echo_pid(task: Task, completion: Completion) -> Score:
    return Score(value=1.0, passed=True, reason="ok", parsed=str(os.getpid()))


def environment(task: Task, completion: Completion) -> Score:
    seen = f"{'torch' in sys.modules} {os.getpgrp() == os.getpid()} {len(completion.token_ids)}"
    return Score(value=1.0, passed=True, reason="ok", parsed=seen)
