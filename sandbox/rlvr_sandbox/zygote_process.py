"""The controller's end of a zygote: starts it, has it make boxes, and learns how they ended. One thread at a time."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from rlvr_sandbox.cgroup import make_group
from rlvr_sandbox.errors import SandboxError
from rlvr_sandbox.frames import ENDING
from rlvr_sandbox.spawner import BoxProcess, Ending
from rlvr_sandbox.types import Limits

_START_S = 60.0
_ANSWER_S = 20.0
_ANSWER_BYTES = 4096
_FIRST_HOST_UID = 1_000_000_000
"""Kernel uids that boxes of a root-owned zygote run under; each zygote has its own, far from those that people have."""
_counter = itertools.count()

# Only the modules that are needed are imported, and the folder of this package never enters the box's `sys.path`.
_BOOT = (
    "import sys, types; package = types.ModuleType('rlvr_sandbox'); package.__path__ = [sys.argv[2]];"
    " sys.modules['rlvr_sandbox'] = package; from rlvr_sandbox.zygote import main; main(int(sys.argv[1]))"
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Interpreter:
    """The Python that programs run in."""

    path: str = sys.executable
    """Needs Python 3.11 or later."""
    site_packages: bool = False
    """Whether programs see its installed packages. Data sets among those may hold the answers, so the default is no."""
    preload: tuple[str, ...] = ()
    """Modules imported once, in the zygote, beyond the common ones of the standard library."""
    read_only: tuple[str, ...] = ()
    """Files and folders of this machine that programs may read, under the same path."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Walls:
    """What the running zygote found this machine to allow."""

    python: str
    proc: bool
    namespaces: bool
    landlock_abi: int
    """0: no Landlock."""
    seccomp: bool
    cgroup: int
    """Version of the control group that holds a whole box; 0: none, each process is limited by itself."""


class ZygoteProcess:
    """Raises SandboxError where it cannot be started, and from every method after it has died. Holds one box at a time.

    isolated: False only for the backend that is called unsafe.
    """

    def __init__(self, interpreter: Interpreter, *, isolated: bool = True) -> None:
        self._isolated = isolated
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel = ours
        self._channel.settimeout(_START_S)
        try:
            self._process = _launch(interpreter, theirs.fileno())
        except OSError as error:
            ours.close()
            raise SandboxError(f"cannot start the interpreter {interpreter.path}: {error}; mend `interpreter`") from error
        finally:
            theirs.close()
        self._group = make_group() if isolated else None
        try:
            self._enter_group()
            self.walls = self._greet(interpreter)
        except BaseException:
            self.close()
            raise

    def _enter_group(self) -> None:
        """Before the zygote starts anything; where the kernel has second thoughts about the group there is none."""
        if self._group is not None:
            try:
                self._group.add(self._process.pid)
                self._group.limit(Limits())
                self._group.ran_out_of_memory()
            except OSError:
                self._group = None

    def _greet(self, interpreter: Interpreter) -> Walls:
        number = os.getpid() * 64 % 900_000_000 + next(_counter) % 64
        settings = {
            "isolated": self._isolated,
            "host_uid": _FIRST_HOST_UID + number,
            "site_packages": interpreter.site_packages,
            "preload": interpreter.preload,
            "read_only": interpreter.read_only,
        }
        try:
            self._channel.send(json.dumps(settings).encode())
            answer = self._receive()
        except OSError as error:
            raise SandboxError(f"the zygote did not start: {self._complaint() or error}") from error
        if "ready" not in answer:
            raise SandboxError(f"the zygote cannot be isolated here: {answer.get('failed') or self._complaint()}")
        self._channel.settimeout(_ANSWER_S)
        cgroup = self._group.version if self._group else 0
        return Walls(python=answer["python"], cgroup=cgroup, **answer["ready"])

    def spawn(self, limits: Limits, *, piped: bool) -> BoxProcess:
        """A new box, confined and waiting for its program. `piped`: with pipes at 0 and 1, else /dev/null."""
        self._limit_group(limits)
        control, box_control = socket.socketpair()
        stderr, box_stderr = os.pipe()
        given, kept = [box_stderr], [stderr]
        stdin = stdout = -1
        if piped:
            box_stdin, stdin = os.pipe()
            stdout, box_stdout = os.pipe()
            kept += [stdin, stdout]
            for descriptor in (box_stdin, box_stdout, box_stderr):
                os.fchmod(descriptor, 0o666)  # so that the box's uid may open /dev/stdin and the like by name
        else:
            box_stdin = box_stdout = os.open(os.devnull, os.O_RDWR)
        given += [box_stdin] if box_stdin == box_stdout else [box_stdin, box_stdout]
        try:
            handle, pid = self._ask(_request(limits), [box_stdin, box_stdout, box_stderr, box_control.fileno()])
            if handle < 0:
                raise SandboxError(f"the zygote cannot make a box: {pid.decode().removeprefix('failed ')}")
        except BaseException:
            control.close()
            for descriptor in kept:
                os.close(descriptor)
            raise
        finally:
            box_control.close()
            for descriptor in given:
                os.close(descriptor)
        return BoxProcess(control, stdin, stdout, stderr, handle, lambda: self._reap(pid))

    def _limit_group(self, limits: Limits) -> None:
        if self._group is not None:
            try:
                self._group.limit(limits)
            except OSError as error:
                raise SandboxError(f"the control group of a box cannot be set: {error}") from error

    def _reap(self, pid: bytes) -> Ending:
        _, answer = self._ask(pid, [])
        code, cpu_s, peak_memory_mb = ENDING.unpack(answer)
        out_of_memory = self._group is not None and self._group.ran_out_of_memory()
        return Ending(code, cpu_s, peak_memory_mb, out_of_memory)

    def close(self) -> None:
        """Ends it and with it every box. Raises nothing; safe to call twice."""
        self._channel.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()
        if self._group is not None:
            self._group.close()

    def _ask(self, request: bytes, descriptors: list[int]) -> tuple[int, bytes]:
        """The answer, and the descriptor that came with it or -1."""
        try:
            socket.send_fds(self._channel, [request], descriptors)
            data, handles, _, _ = socket.recv_fds(self._channel, _ANSWER_BYTES, 1)
        except OSError as error:
            raise SandboxError(f"the zygote does not answer ({error}); it is replaced") from error
        if not data:
            raise SandboxError(f"the zygote died ({self._complaint() or 'without a word'}); it is replaced")
        return handles[0] if handles else -1, data

    def _receive(self) -> dict[str, Any]:
        data = self._channel.recv(1 << 16)
        if not data:
            raise OSError("it ended")
        return json.loads(data)

    def _complaint(self) -> str:
        """The last line it wrote to its standard error before it ended."""
        stream: IO[bytes] | None = self._process.stderr
        if stream is None:
            return ""
        os.set_blocking(stream.fileno(), False)
        try:
            text = os.read(stream.fileno(), 1 << 16).decode("utf-8", "replace")
        except OSError:
            return ""
        return text.strip().rpartition("\n")[2]


@functools.lru_cache(maxsize=256)
def _request(limits: Limits) -> bytes:
    return json.dumps(dataclasses.asdict(limits)).encode()


def _launch(interpreter: Interpreter, channel: int) -> subprocess.Popen[bytes]:
    """A clean process: no environment, no descriptors, no threads, nothing of ours in memory."""
    package = str(Path(__file__).resolve().parent)
    flags = ["-s", "-P", "-B", *([] if interpreter.site_packages else ["-S"])]
    environment = {"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin", "HOME": "/tmp", "PYTHONHASHSEED": "0", "LD_BIND_NOW": "1"}  # noqa: S108 - the box's
    return subprocess.Popen(  # noqa: S603
        [interpreter.path, *flags, "-c", _BOOT, str(channel), package],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=(channel,),
        env=environment,
        cwd="/",
    )
