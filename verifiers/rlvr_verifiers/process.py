"""One worker process as its pool sees it: start, send, receive, kill."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any, cast

from rlvr_sandbox.core_wait import waited_s
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.wire import FrameBuffer, pack
from rlvr_verifiers.worker import OUT_OF_MEMORY

_LAST_BREATH_S = 0.2
"""Between a worker's channel closing and its exit status being there."""


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerSettings:
    verifiers: tuple[str, ...]
    load_deadline_s: float
    memory_mb: int | None
    log: Path | None


class WorkerProcess:
    """Leads a session and process group of its own, so that killing the group takes along what a verifier started."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._lifeline: int | None = None
        self._end = ""

    async def start(self) -> None:
        """Raises VerifierError where the process does not come up or one of its verifiers cannot be imported."""
        ours, theirs = socket.socketpair()
        reading, self._lifeline = os.pipe()
        try:
            self._process = self._spawn(theirs.fileno(), reading)
        except OSError as error:
            ours.close()
            raise VerifierError(f"cannot start a verifier worker with {sys.executable}: {error}") from error
        finally:
            theirs.close()
            os.close(reading)
        ours.setblocking(False)
        self._channel = Channel()
        await asyncio.get_running_loop().connect_accepted_socket(lambda channel=self._channel: channel, ours)
        await self._shake_hands()

    def _spawn(self, channel: int, lifeline: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", "rlvr_verifiers.worker", str(channel), str(lifeline), str(os.getpid())]
        environment = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **os.environ}
        with contextlib.ExitStack() as stack:
            output = 2 if self._settings.log is None else stack.enter_context(self._settings.log.open("ab")).fileno()
            return subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(channel, lifeline),
                env=environment,
                start_new_session=True,
            )

    async def _shake_hands(self) -> None:
        hello = {"path": sys.path, "memory_mb": self._settings.memory_mb, "verifiers": self._settings.verifiers}
        self.send(pack({"hello": hello}))
        try:
            frame = await self.receive(time.monotonic() + self._settings.load_deadline_s)
        except (EOFError, TimeoutError) as error:
            how = (
                await self.kill()
                if isinstance(error, EOFError)
                else f"gave no sign within {self._settings.load_deadline_s:g} s"
            )
            raise VerifierError(f"a verifier worker {how} while it started; its output says why") from error
        if "failed" in frame:
            raise VerifierError(str(frame["failed"]))

    def send(self, frames: bytes) -> None:
        if self._channel is not None:
            self._channel.write(frames)

    async def receive(self, until: float) -> dict[str, Any]:
        """The worker's next frame. Raises TimeoutError at `until` (monotonic clock), EOFError where it has died."""
        if self._channel is None:
            raise EOFError
        return await self._channel.frame(until)

    def has_exited(self) -> bool:
        """Without reaping it: until then the process group cannot be anybody else's."""
        if self._process is None or self._process.returncode is not None:
            return True
        try:
            return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def waited_s(self) -> float:
        """Seconds that it has been ready to run and waited for a core, since it was started."""
        return waited_s(self._process.pid) if self._process is not None else 0.0

    async def kill(self) -> str:
        """Kills the group and reaps the leader; says how the leader had ended. Does nothing the second time."""
        process = self._process
        if process is not None and process.returncode is None:
            patience = time.monotonic() + _LAST_BREATH_S
            while (
                self._channel is not None and self._channel.ended and not self.has_exited() and time.monotonic() < patience
            ):
                await asyncio.sleep(0.001)  # it hung up by itself and is about to say why
            own_end = self.has_exited()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            while (status := process.poll()) is None:
                await asyncio.sleep(0.001)
            self._end = _how(status, self._settings.memory_mb) if own_end else "was stopped"
        if self._channel is not None:
            self._channel.close()
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
        return self._end


def _how(status: int, memory_mb: int | None) -> str:
    if status == OUT_OF_MEMORY:
        return f"ran out of memory (limit {memory_mb} MB)"
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"was killed by {signal.Signals(-status).name}"
    return f"exited with status {status}"


class Channel(asyncio.Protocol):
    """Bytes from the worker to whole frames, with one reader waiting at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = FrameBuffer()
        self._frames: deque[dict[str, Any]] = deque()
        self.ended = False
        self._waiting: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's has all of its methods and is none by type

    def data_received(self, data: bytes) -> None:
        try:
            self._frames.extend(self._buffer.feed(data))
        except (ValueError, TypeError):  # not our worker's frames: as good as dead
            self.close()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self._wake()

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def finish(self) -> None:
        """Says that no more will be written; what the other side still says can be read."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()

    def close(self) -> None:
        self.ended = True
        if self._transport is not None:
            self._transport.abort()
        self._wake()

    async def frame(self, until: float) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        patience = until - time.monotonic()
        while not self._frames:
            if self.ended:
                raise EOFError
            if patience <= 0:
                raise TimeoutError
            self._waiting = loop.create_future()
            alarm = loop.call_later(patience, self._wake)
            try:
                await self._waiting
            finally:
                alarm.cancel()
                self._waiting = None
            patience = until - time.monotonic()  # a busy loop wakes us late; what came meanwhile is in _frames by now
        return self._frames.popleft()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
