"""What a box needs of whatever makes it: the descriptors of a new process, and how it ended."""

from __future__ import annotations

import _socket
import dataclasses
from collections.abc import Callable
from typing import Literal, Protocol

from rlvr_sandbox.types import Limits

OutOfMemory = Literal["", "box", "machine"]
"""Whose memory was used up when the kernel killed a process of a box for it: what the box may use, or what is around it, which is the
machine or a group of processes with a limit of its own; empty: it killed none."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ending:
    """How the first process of a box ended, and what the whole box used."""

    code: int
    """Exit status, or minus the signal."""
    cpu_s: float
    peak_memory_mb: float
    out_of_memory: OutOfMemory = ""
    over: str = ""
    """What the zygote stopped the box for, where it has to keep watch itself: memory, disk or processes."""
    refused_calls: int = 0
    """System calls that the filter denied, where that is counted."""


@dataclasses.dataclass(slots=True)
class BoxProcess:
    """The descriptors of a box that has just been made; whoever gets it closes them."""

    control: _socket.socket
    stdin: int
    stdout: int
    stderr: int
    pidfd: int
    reap: Callable[[], Ending]
    """To be called once, when the process has ended or been killed. Raises SandboxError where it cannot be known."""
    cpu_s: Callable[[], float] | None = None
    """Seconds of CPU time that all its processes have used, the ended ones too; None where that is not counted."""


class Spawner(Protocol):
    def spawn(self, limits: Limits, *, piped: bool) -> BoxProcess: ...
