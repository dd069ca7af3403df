"""The box that is made ahead: what happens to it, or what comes instead of it, is nothing that a program or its score would notice."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from rlvr_sandbox import Call, Limits, Program, Sandbox

LIMITS = Limits(wall_s=10.0, cpu_s=5.0)


def echo(zygote_sandbox: Sandbox, value: int, limits: Limits = LIMITS) -> object:
    program = Program(source="def f(n): return n", mode="function", entry_point="f", limits=limits)
    return zygote_sandbox.run_now(program, call=Call(args=(value,))).value


def leaves(pid: int) -> list[int]:
    """Descendants that have started nothing."""
    children = [int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()]
    return [leaf for child in children for leaf in leaves(child) or [child]]


def test_one_that_has_died_is_not_used(zygote_sandbox: Sandbox) -> None:
    known = set(leaves(os.getpid()))
    for value in range(3):
        assert echo(zygote_sandbox, value) == value
    for value in range(10, 20):
        while not (spares := [leaf for leaf in leaves(os.getpid()) if leaf not in known]):
            time.sleep(0.001)  # it is made while nobody waits for it
        for spare in spares:
            os.kill(spare, signal.SIGKILL)
            while Path(f"/proc/{spare}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                time.sleep(0.001)
        assert [echo(zygote_sandbox, value), echo(zygote_sandbox, -value)] == [value, -value]


def test_one_with_other_limits_is_not_used(zygote_sandbox: Sandbox) -> None:
    other = Limits(wall_s=10.0, cpu_s=5.0, processes=5)
    for number, limits in enumerate([LIMITS, LIMITS, other, other, other, LIMITS, other, LIMITS, LIMITS, LIMITS]):
        assert echo(zygote_sandbox, number, limits) == number
        text = Program(source="print(input())", limits=limits)
        for _ in range(number % 3):
            assert zygote_sandbox.run_now(text, stdin=b"told\n").stdout == b"told\n"
