"""The bytes between a controller and one box: both ways, without ever waiting for the box longer than the clock allows.

It stops reading when it is too much, and never waits for the end of a stream: descendants that live on could hold it open.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import Literal

from rlvr_sandbox.cpu_limit import CpuLimit
from rlvr_sandbox.frames import Inbox
from rlvr_sandbox.spawner import BoxProcess
from rlvr_sandbox.types import Limits

KEPT_STDERR = 8192
_CHUNK = 1 << 18

Wake = Literal["done", "deadline", "cpu", "ended", "flood"]


class Streams:
    """Owns the descriptors of a box, the pidfd included. Not for several threads."""

    def __init__(self, process: BoxProcess, limits: Limits, stdin: bytes) -> None:
        self.inbox = Inbox(limits.value_bytes)
        self.stdout = bytearray()
        self.stderr = bytearray()
        self._started = False
        self._process = process
        self._limits = limits
        self._cpu = CpuLimit(process.cpu_s, limits.cpu_s, limits.processes)
        self._control = process.control.fileno()
        self._outgoing = bytearray()
        self._stdin = memoryview(stdin)
        self._stderr_bytes = 0
        self._poll = select.poll()
        self._awaited: dict[int, int] = {}
        process.control.setblocking(False)
        for descriptor in (process.stdin, process.stdout, process.stderr):
            if descriptor >= 0:
                os.set_blocking(descriptor, False)
        for descriptor in (process.pidfd, self._control):
            self._await(descriptor, select.POLLIN)
        self._open = {descriptor for descriptor in (process.stdin, process.stdout, process.stderr) if descriptor >= 0}

    def start(self) -> None:
        """The box is ready: from now on its input is written, and its output read. Before, a program that writes at once could be
        taken for a box that cannot be made."""
        self._started = True
        for descriptor in (self._process.stdout, self._process.stderr):
            if descriptor >= 0:
                self._await(descriptor, select.POLLIN)

    def send(self, data: bytes | bytearray) -> None:
        """On the control channel: at once as far as that takes it, the rest while `pump` runs."""
        self._outgoing += data
        self._flush()

    @property
    def clear(self) -> bool:
        """Whether all that was sent has left."""
        return not self._outgoing

    def pump(self, until: float, done: Callable[[], bool]) -> Wake:
        """Moves bytes both ways until `done`, the moment `until`, the program's end, too much CPU time, or too much output."""
        process = self._process
        while True:
            if self._control in self._awaited:
                self._await(self._control, select.POLLIN | select.POLLOUT if self._outgoing else select.POLLIN)
            if self._started and process.stdin in self._open:
                if self._stdin:
                    self._await(process.stdin, select.POLLOUT)
                else:
                    self._shut(process.stdin)
            left = until - time.monotonic()
            ready = dict(self._poll.poll(max(0.0, min(left, self._cpu.pause_s())) * 1000))
            if self._cpu.over():
                return "cpu"
            if self._control in ready and self._talk(ready[self._control]):
                self._forget(self._control)
            if process.stdin in ready:
                self._feed()
            for descriptor in (process.stdout, process.stderr):
                if descriptor in ready and not self._drain(descriptor):
                    return "flood"
            if done():
                return "done"
            if process.pidfd in ready:
                return self._last_words(done)
            if left <= 0:  # what was there in time has been read, however late this process had its turn
                return "deadline"

    def deserted(self) -> bool:
        """Whether no process holds the box's standard error any more. For the self-test, after the box was stopped."""
        descriptor = self._process.stderr
        data = _read(descriptor) if descriptor in self._open else b""
        while data:
            data = _read(descriptor)
        return data is not None  # b"" is the end of file

    def close(self) -> None:
        """Safe to call twice."""
        if self._process.pidfd < 0:
            return
        self._process.control.close()
        for descriptor in (*self._open, self._process.pidfd):
            os.close(descriptor)
        self._open.clear()
        self._process.pidfd = -1

    def _last_words(self, done: Callable[[], bool]) -> Wake:
        """Every process of the box is dead, so what it wrote is in the pipes already: read that, and wait for no end of file."""
        while not self._talk(select.POLLIN, once=True):
            if done():
                return "done"
        for descriptor in (self._process.stdout, self._process.stderr):
            while descriptor in self._open and (data := _read(descriptor)):
                if not self._keep(descriptor, data):
                    return "flood"
        return "done" if done() else "ended"

    def _talk(self, events: int, *, once: bool = False) -> bool:
        """Both directions of the control channel; True where it is closed, or empty and `once`."""
        if events & select.POLLOUT:
            self._flush()
        if not events & ~select.POLLOUT:
            return False
        try:
            data = self._process.control.recv(_CHUNK)
        except BlockingIOError:
            return once
        except OSError:
            return True
        self.inbox.feed(data)
        return not data

    def _flush(self) -> None:
        try:
            while self._outgoing:
                del self._outgoing[: self._process.control.send(self._outgoing)]
        except BlockingIOError:
            pass
        except OSError:  # nobody is there to read it any more; what has ended the box will be told
            self._outgoing.clear()

    def _feed(self) -> None:
        try:
            self._stdin = self._stdin[os.write(self._process.stdin, self._stdin[:_CHUNK]) :]
        except BlockingIOError:
            return
        except OSError:  # it closed its input, which is its right
            self._stdin = self._stdin[:0]

    def _drain(self, descriptor: int) -> bool:
        data = _read(descriptor)
        if data is not None and not data:
            self._shut(descriptor)
        return self._keep(descriptor, data or b"")

    def _keep(self, descriptor: int, data: bytes) -> bool:
        if descriptor == self._process.stdout:
            self.stdout += data
            return len(self.stdout) <= self._limits.stdout_bytes
        self._stderr_bytes += len(data)
        self.stderr += data[: max(0, KEPT_STDERR - len(self.stderr))]
        return self._stderr_bytes <= self._limits.stderr_bytes

    def _await(self, descriptor: int, events: int) -> None:
        if self._awaited.get(descriptor) != events:
            self._poll.register(descriptor, events)
            self._awaited[descriptor] = events

    def _forget(self, descriptor: int) -> None:
        if self._awaited.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def _shut(self, descriptor: int) -> None:
        self._forget(descriptor)
        os.close(descriptor)
        self._open.discard(descriptor)


def _read(descriptor: int) -> bytes | None:
    """None where nothing is there yet."""
    try:
        return os.read(descriptor, _CHUNK)
    except BlockingIOError:
        return None
    except OSError:
        return b""
