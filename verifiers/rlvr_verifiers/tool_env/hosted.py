"""Episodes in processes of their own, as the trainer sees them: open, call, kill. The other side is `server.py`."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from typing import Any

from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.process import Channel
from rlvr_verifiers.tool_call import Call
from rlvr_verifiers.tool_env.instance import ToolResult
from rlvr_verifiers.types import Task
from rlvr_verifiers.wire import pack, task_to_wire

OPEN_DEADLINE_S = 120.0
"""For importing an environment, and once more for resetting it."""
_FULL_S = 0.02
"""Between two attempts to reach a server that takes no more."""
_GOODBYE_S = 0.5
"""For an environment's own `close`, before its process is killed."""


class ToolServer:
    """One server, started when the first episode is opened, and anew where it has died. It ends with this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._running: _Running | None = None

    async def open(self, task: Task, memory_mb: int | None) -> HostedInstance:
        """A fresh environment in a process of its own. Raises VerifierError where it cannot be had."""
        number = next(self._numbers)
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise VerifierError(f"no channel for an episode: {error}; allow more open files (ulimit -n)") from error
        with theirs:
            try:
                running = await self._send({"open": number, "environment": task.environment, "path": sys.path}, theirs)
                channel = await _channel(ours)
            except BaseException:
                ours.close()
                raise
        hosted = HostedInstance(running, number, channel)
        try:
            await hosted.forked(task)
            await hosted.reset(task, memory_mb)
        except TimeoutError:
            hosted.kill()
            self._leave(running)
            raise _not_imported(task.environment) from None
        except BaseException:
            hosted.kill()
            raise
        return hosted

    def _leave(self, running: _Running | None) -> None:
        """The next episode gets another server. This one hangs, and would for everybody; its episodes go on, and it ends with the last."""
        with self._lock:
            if self._running is running:
                self._running = None

    async def _send(self, request: dict[str, object], channel: socket.socket) -> _Running:
        """Waits while the server takes no more: it imports something, and only so many requests find room in a socket."""
        until = time.monotonic() + OPEN_DEADLINE_S
        while (running := self._sent(request, channel)) is None:
            if time.monotonic() > until:
                self._leave(self._running)
                raise _not_imported(request["environment"])
            await asyncio.sleep(_FULL_S)
        return running

    def _sent(self, request: dict[str, object], channel: socket.socket) -> _Running | None:
        """The server that has the request now; None where it takes none."""
        with self._lock:
            for _ in range(2):
                if self._running is None or not self._running.alive():
                    self._running = _Running()
                try:
                    self._running.send(request, channel)
                except BlockingIOError:
                    return None
                except OSError:
                    continue
                return self._running
            raise VerifierError("the process that runs tools ends at once; its output says why")


def _not_imported(environment: object) -> VerifierError:
    return VerifierError(
        f"environment {environment!r} was not imported within {OPEN_DEADLINE_S:g} s: it, or one before it, hangs in its import"
    )


_shared: dict[int, ToolServer] = {}


def tool_server() -> ToolServer:
    """This process's own; a fork of it must not talk to its parent's."""
    return _shared.setdefault(os.getpid(), ToolServer())


class _Running:
    """The server's process and its control socket."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)  # the trainer's event loop must not wait for it
        self._ended: deque[int] = deque()
        reading, lifeline = os.pipe()
        module = "rlvr_verifiers.tool_env.server"
        command = [sys.executable, "-P", "-m", module, str(theirs.fileno()), str(reading), str(os.getpid())]
        environment = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **os.environ}
        try:
            self._process = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=2,
                pass_fds=(theirs.fileno(), reading),
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise VerifierError(f"cannot start a process for tools with {sys.executable}: {error}") from error
        finally:
            theirs.close()
            os.close(reading)
        self.stop = weakref.finalize(self, _stop, self._process, self._control, lifeline)

    def alive(self) -> bool:
        return self.stop.alive and self._process.poll() is None

    def send(self, request: dict[str, object], channel: socket.socket) -> None:
        """Raises OSError where the server is gone, BlockingIOError where it takes no more for the moment."""
        self._send_ended()
        socket.send_fds(self._control, [json.dumps(request).encode()], [channel.fileno()])

    def end(self, number: int) -> None:
        """Has an episode's group killed, at the latest when the server has been asked for something else or has ended."""
        self._ended.append(number)
        with contextlib.suppress(OSError):
            self._send_ended()

    def _send_ended(self) -> None:
        while self._ended:
            self._control.send(json.dumps({"close": self._ended[0]}).encode())
            self._ended.popleft()


def _stop(process: subprocess.Popen[bytes], control: socket.socket, lifeline: int) -> None:
    control.close()  # it ends its children and then itself
    try:
        process.wait(5.0)
    except subprocess.TimeoutExpired:  # it hangs in an import; its children die with it
        process.kill()
        process.wait()
    os.close(lifeline)


class HostedInstance:
    """One episode's process."""

    def __init__(self, server: _Running, number: int, channel: Channel) -> None:
        self._server = server
        self._number = number
        self._channel = channel

    async def forked(self, task: Task) -> None:
        """Waits until it has its process. Raises VerifierError where its environment cannot be imported, TimeoutError where the server
        does not come to it."""
        await self._opened(task, "imported")

    async def reset(self, task: Task, memory_mb: int | None) -> None:
        """Raises VerifierError where the environment refuses the task or takes too long."""
        self._channel.write(pack({"task": task_to_wire(task), "memory_mb": memory_mb}))
        try:
            await self._opened(task, "reset")
        except TimeoutError:
            raise VerifierError(
                f"environment {task.environment!r}: reset took over {OPEN_DEADLINE_S:g} s for task {task.id!r}"
            ) from None

    async def _opened(self, task: Task, doing: str) -> None:
        try:
            frame = await self._channel.frame(time.monotonic() + OPEN_DEADLINE_S)
        except EOFError:
            raise VerifierError(f"the process of environment {task.environment!r} died while it was {doing}") from None
        if "failed" in frame:
            raise VerifierError(str(frame["failed"]))

    async def run(self, call: Call, output_chars: int, timeout_s: float) -> ToolResult:
        """Raises TimeoutError or EOFError, by then killed, where the call overran its time or ended the process, and VerifierError where
        the environment itself fails."""
        self._channel.write(pack({"name": call.name, "arguments": dict(call.arguments), "output_chars": output_chars}))
        try:
            frame = await self._channel.frame(time.monotonic() + timeout_s)
        except (TimeoutError, EOFError) as error:
            self.kill()
            if isinstance(error, EOFError) and not self._server.alive():  # that is ours, not the tool's
                raise VerifierError(
                    "the process that runs tools has died, and every episode with it; its output says why"
                ) from None
            raise
        if "failed" in frame:
            raise VerifierError(str(frame["failed"]))
        return ToolResult(call=call, content=frame["content"], error=frame["error"], seconds=frame["seconds"])

    async def close(self) -> None:
        """Lets the environment close itself for a moment, then kills its process and what it started.

        Raises VerifierError where its own `close` fails in that time.
        """
        frame: dict[str, Any] = {}
        try:
            if not self._channel.ended:
                self._channel.finish()
                with contextlib.suppress(EOFError, TimeoutError):
                    frame = await self._channel.frame(time.monotonic() + _GOODBYE_S)
        finally:
            self.kill()
        if "failed" in frame:
            raise VerifierError(str(frame["failed"]))

    def kill(self) -> None:
        self._channel.close()
        self._server.end(self._number)


async def _channel(connection: socket.socket) -> Channel:
    connection.setblocking(False)
    channel = Channel()
    await asyncio.get_running_loop().connect_accepted_socket(lambda: channel, connection)
    return channel
