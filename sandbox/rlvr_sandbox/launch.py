"""How the warm interpreter of each backend is started. What it then says and does is the same for all of them."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol

from rlvr_sandbox.cgroup import make_group
from rlvr_sandbox.errors import SandboxError
from rlvr_sandbox.spawner import OutOfMemory
from rlvr_sandbox.types import Limits

Making = Literal["namespaces", "given", "landlock", "none"]
"""Which walls the zygote is asked to make. `namespaces`: all of them. `given`: the same, in a user namespace that it has been put
into. `landlock`: those that need no namespace. `none`: resource limits only."""

PACKAGE = Path(__file__).resolve().parent
FLAGS = ("-s", "-P")
ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",  # noqa: S108 - the box's
    "PYTHONHASHSEED": "0",
    "LD_BIND_NOW": "1",
    # numpy and its kin would start a thread for each core when they are imported: more than a box may have, and a zygote with threads
    # can be given no user namespace.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
# Only the modules that are needed are imported, and the folder of this package never enters the box's `sys.path`.
BOOT = (
    "import sys, types; package = types.ModuleType('rlvr_sandbox'); package.__path__ = [sys.argv[2]];"
    " sys.modules['rlvr_sandbox'] = package; from rlvr_sandbox.zygote import main; main(int(sys.argv[1]))"
)
_FIRST_HOST_UID = 1_000_000_000
"""Kernel uids that boxes of a zygote owned by root run under; each zygote has its own, far from those that people have."""
_STOP_S = 2.0
_counter = itertools.count()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Interpreter:
    """The Python that programs run in."""

    path: str = sys.executable
    """Needs Python 3.11 or later. `docker` has the one of its image instead."""
    image: str = "rlvr-sandbox"
    """For `docker`: an image whose `python3` is Python 3.11 or later; `make sandbox-image` makes the default one."""
    site_packages: bool = False
    """Whether programs see its installed packages. Data sets among those may hold the answers, so the default is no."""
    preload: tuple[str, ...] = ()
    """Modules imported once, in the zygote, beyond the common ones of the standard library."""
    read_only: tuple[str, ...] = ()
    """Files and folders of this machine that programs may read, under the same path."""


class Process(Protocol):
    """Whatever holds the zygote: a process here, or a container."""

    def stop(self) -> None:
        """Ends it and everything in it; the channel is closed already. Raises nothing; safe to call twice."""
        ...

    def complaint(self) -> str:
        """The last line that it wrote to its standard error, or nothing."""
        ...


class Group(Protocol):
    """What counts the memory, processes and CPU time of a whole box."""

    version: int

    def add(self, pid: int) -> None: ...
    def limit(self, limits: Limits) -> None: ...
    def out_of_memory(self) -> OutOfMemory: ...
    def cpu_s(self) -> float | None: ...
    def close(self) -> None: ...


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Launched:
    channel: socket.socket
    """A sequenced-packet socket whose other end the zygote has; descriptors pass through it."""
    process: Process
    making: Making
    host_uid: int
    """A uid of this machine that nobody else has, for the boxes of a zygote that may choose one."""
    group: Group | None = None
    inside: str = ""
    """What the zygote has been put into, in words."""
    serves: int | None = None
    """Programs after which it should be replaced; None: never."""


Launcher = Callable[[Interpreter], Launched]
"""Raises SandboxError where the zygote cannot even be started."""


def fresh_uid() -> int:
    return _FIRST_HOST_UID + os.getpid() * 64 % 900_000_000 + next(_counter) % 64


def start_zygote(interpreter: Interpreter) -> Launched:
    return start_local(interpreter, making="namespaces")


def start_landlock(interpreter: Interpreter) -> Launched:
    return start_local(interpreter, making="landlock")


def start_unsafe(interpreter: Interpreter) -> Launched:
    return start_local(interpreter, making="none")


def start_local(
    interpreter: Interpreter, *, making: Making, prefix: Sequence[str] = (), inside: str = "", passing: Sequence[int] = ()
) -> Launched:
    """A clean process: no environment, no descriptors, no threads, nothing of ours in memory.

    prefix: a command that starts the interpreter in its turn. inside: what it puts it into. passing: descriptors that it needs.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    flags = [*FLAGS, *([] if interpreter.site_packages else ["-S"])]
    try:
        started = subprocess.Popen(  # noqa: S603
            [*prefix, interpreter.path, *flags, "-c", BOOT, str(theirs.fileno()), str(PACKAGE)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(theirs.fileno(), *passing),
            env=ENVIRONMENT,
            cwd="/",
        )
    except OSError as error:
        ours.close()
        raise SandboxError(f"cannot start {[*prefix, interpreter.path][0]}: {error}; mend `interpreter`") from error
    finally:
        theirs.close()
    group = _group_of(None if prefix else started.pid) if making != "none" else None
    process = LocalProcess(started)
    return Launched(channel=ours, process=process, making=making, host_uid=fresh_uid(), group=group, inside=inside)


def _group_of(pid: int | None) -> Group | None:
    """Before the zygote starts anything; where the kernel has second thoughts about the group there is none. None: one to be joined."""
    group = make_group()
    if group is not None:
        try:
            if pid is not None:
                group.add(pid)
            group.limit(Limits())
            group.out_of_memory()
            group.cpu_s()
        except (OSError, ValueError, IndexError):
            group.close()
            return None
    return group


class LocalProcess:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid

    def stop(self) -> None:
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            for child in self._children():  # PID 1 of a namespace, and what holds it
                with contextlib.suppress(OSError):
                    os.kill(child, signal.SIGKILL)
            self._process.kill()
            self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()

    def _children(self) -> list[int]:
        with contextlib.suppress(OSError), open(f"/proc/{self._process.pid}/task/{self._process.pid}/children") as file:
            return [int(child) for child in file.read().split()]
        return []

    def complaint(self) -> str:
        stream = self._process.stderr
        if stream is None or stream.closed:
            return ""
        os.set_blocking(stream.fileno(), False)
        text = b""
        with contextlib.suppress(OSError):
            text = os.read(stream.fileno(), 1 << 16)
        return text.decode("utf-8", "replace").strip().rpartition("\n")[2]
