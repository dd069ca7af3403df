"""The controller's end of a zygote: starts it, has it make boxes, and learns how they ended. One thread at a time."""

from __future__ import annotations

import _socket
import contextlib
import dataclasses
import functools
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence

from rlvr_sandbox.codec import CodecError, decode
from rlvr_sandbox.errors import SandboxError
from rlvr_sandbox.launch import Interpreter, Launcher, start_zygote
from rlvr_sandbox.line import DESCRIPTORS, ENDING, tell
from rlvr_sandbox.spawner import BoxProcess, Ending
from rlvr_sandbox.types import Limits

_START_S = 60.0
_ANSWER_S = 20.0
_ANSWER_BYTES = 4096
_ANCILLARY_BYTES = socket.CMSG_SPACE(4)
"""One descriptor, a pidfd."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Walls:
    """What the running zygote found this machine to allow."""

    python: str
    proc: bool
    namespaces: bool
    """Whether each program has its own."""
    landlock_abi: int
    """0: no Landlock."""
    seccomp: bool
    inside: str
    """What the zygote itself is in: bubblewrap or a container; empty: nothing."""
    cgroup: int
    """Version of the control group that holds a whole box; 0: none, each process is limited by itself."""


class ZygoteProcess:
    """Raises SandboxError where it cannot be started, and from every method after it has died. Holds one box at a time."""

    def __init__(self, interpreter: Interpreter, launch: Launcher = start_zygote) -> None:
        self._launched = launch(interpreter)
        self._channel = self._launched.channel
        self._channel.settimeout(_START_S)
        self._process = self._launched.process
        self._group = self._launched.group
        self.served = 0
        """Boxes made so far."""
        self._spare: _Ends | None = None
        self._lately: tuple[tuple[Limits, bool] | None, tuple[Limits, bool] | None] = (None, None)
        self._box = 0
        try:
            self.walls = self._greet(interpreter)
        except BaseException:
            self.close()
            raise

    def _greet(self, interpreter: Interpreter) -> Walls:
        settings = {
            "walls": self._launched.making,
            "host_uid": self._launched.host_uid,
            "site_packages": interpreter.site_packages,
            "preload": interpreter.preload,
            "read_only": interpreter.read_only,
        }
        try:
            self._channel.send(tell(settings))
            data = self._channel.recv(1 << 16)
            if not data:
                raise OSError("it ended")
            answer = decode(data)
        except (OSError, CodecError) as error:
            raise SandboxError(f"the zygote did not start: {self._process.complaint() or error}") from error
        if "unfit" in answer:
            raise SandboxError(f"the interpreter cannot be used: {answer['unfit']}")
        if "ready" not in answer:
            raise SandboxError(f"the zygote cannot be isolated here: {answer.get('failed') or self._process.complaint()}")
        self._channel.settimeout(_ANSWER_S)
        cgroup = self._group.version if self._group else 0
        return Walls(python=answer["python"], cgroup=cgroup, inside=self._launched.inside, **answer["ready"])

    @property
    def worn(self) -> bool:
        """Whether it has served as many programs as it should."""
        return self._launched.serves is not None and self.served >= self._launched.serves

    def spawn(self, limits: Limits, *, piped: bool) -> BoxProcess:
        """A new box, confined and waiting for its program. `piped`: with pipes at 0 and 1, else /dev/null."""
        self._lately = (self._lately[1], (limits, piped))
        while self._spare is not None:
            spare, self._spare = self._spare, None
            process = self._collect(spare)
            if self._lately[0] == self._lately[1] and not select.select([process.pidfd], [], [], 0)[0]:
                return process
            _discard(process)  # after which there may be another, since it was reaped
        return self._collect(self._order(limits, piped))

    def _prepare(self) -> None:
        """Has the next box made while nobody waits for it, where the last two were alike."""
        wanted = self._lately[1]
        if self.walls.namespaces and not self.worn and self._spare is None and wanted and wanted == self._lately[0]:
            self._spare = self._order(*wanted)

    def _order(self, limits: Limits, piped: bool) -> _Ends:
        self._limit_group(limits)
        control, box_control = _socket.socketpair()  # without what `socket` puts around it, which is dearer than the call
        stderr, box_stderr = os.pipe()
        given, ends = [box_stderr], _Ends(control, -1, -1, stderr)
        if piped:
            box_stdin, ends.stdin = os.pipe()
            ends.stdout, box_stdout = os.pipe()
            for descriptor in (box_stdin, box_stdout, box_stderr):
                os.fchmod(descriptor, 0o666)  # so that the box's uid may open /dev/stdin and the like by name
        else:
            box_stdin = box_stdout = os.open(os.devnull, os.O_RDWR)
        given += [box_stdin] if box_stdin == box_stdout else [box_stdin, box_stdout]
        try:
            passed = DESCRIPTORS.pack(box_stdin, box_stdout, box_stderr, box_control.fileno())
            self._send(_request(limits), [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)])
        except BaseException:
            ends.close()
            raise
        finally:
            box_control.close()
            for descriptor in given:
                os.close(descriptor)
        return ends

    def _collect(self, ends: _Ends) -> BoxProcess:
        try:
            handle, pid = self._receive()
            if handle < 0:
                raise SandboxError(f"the zygote cannot make a box: {pid.decode().removeprefix('failed ')}")
        except BaseException:
            ends.close()
            raise
        self.served += 1
        self._box = int(pid)
        cpu_s = self._meter()
        return BoxProcess(ends.control, ends.stdin, ends.stdout, ends.stderr, handle, lambda: self._reap(pid, cpu_s), cpu_s)

    def _meter(self) -> Callable[[], float] | None:
        """Counts from now on, and what the zygote does meanwhile, too, which is next to nothing."""
        group = self._group
        begin = group.cpu_s() if group is not None else None
        if group is None or begin is None:
            return None
        return lambda: (group.cpu_s() or 0.0) - begin

    def _limit_group(self, limits: Limits) -> None:
        if self._group is not None:
            try:
                self._group.limit(limits)
            except OSError as error:
                raise SandboxError(f"the control group of a box cannot be set: {error}") from error

    def _reap(self, pid: bytes, counted_s: Callable[[], float] | None) -> Ending:
        self._send(pid)
        self._prepare()  # asked for at once, so that the zygote is woken once
        _, answer = self._receive()
        code, cpu_s, peak_memory_mb, refused = ENDING.unpack_from(answer)
        over = answer[ENDING.size :].decode()
        out_of_memory = self._group.out_of_memory() if self._group is not None else ""
        cpu_s = counted_s() if counted_s is not None else cpu_s
        self._box = 0
        return Ending(code, cpu_s, peak_memory_mb, out_of_memory or ("box" if over == "memory" else ""), over, refused)

    def close(self) -> None:
        """Ends it and with it every box. Raises nothing; safe to call twice."""
        if self._spare is not None:
            self._spare.close()
            self._spare = None
        self._channel.close()
        self._process.stop()
        if self._box and self._launched.making != "namespaces" and not self._launched.inside:
            with contextlib.suppress(OSError):  # it died before it could end its box, and no kernel's namespace did
                os.killpg(self._box, signal.SIGKILL)
            self._box = 0
        if self._group is not None:
            self._group.close()

    def _send(self, request: bytes, ancillary: Sequence[tuple[int, int, bytes]] = ()) -> None:
        try:
            self._channel.sendmsg([request], ancillary)
        except OSError as error:
            raise SandboxError(f"the zygote does not listen ({error}); it is replaced") from error

    def _receive(self) -> tuple[int, bytes]:
        """The answer, and the descriptor that came with it or -1."""
        try:
            data, passed, _, _ = self._channel.recvmsg(_ANSWER_BYTES, _ANCILLARY_BYTES)
        except OSError as error:
            raise SandboxError(f"the zygote does not answer ({error}); it is replaced") from error
        if not data:
            raise SandboxError(f"the zygote died ({self._process.complaint() or 'without a word'}); it is replaced")
        return int.from_bytes(passed[0][2], sys.byteorder) if passed else -1, data


@dataclasses.dataclass(slots=True)
class _Ends:
    """Ours of a box that is being made; -1: none."""

    control: _socket.socket
    stdin: int
    stdout: int
    stderr: int

    def close(self) -> None:
        self.control.close()
        for descriptor in (self.stdin, self.stdout, self.stderr):
            if descriptor >= 0:
                os.close(descriptor)


def _discard(process: BoxProcess) -> None:
    """A box that was made for nothing. Raises SandboxError."""
    with contextlib.suppress(OSError):  # of another user, in a container: the zygote does it
        signal.pidfd_send_signal(process.pidfd, signal.SIGKILL)
    _Ends(process.control, process.stdin, process.stdout, process.stderr).close()
    os.close(process.pidfd)
    process.reap()


@functools.lru_cache(maxsize=256)
def _request(limits: Limits) -> bytes:
    return tell(dataclasses.asdict(limits))
