"""A sandbox as a service: boxes for clients on a local socket or TCP, so that machines beside the trainer can run programs.

A connection has one session at a time: one program (or one and its check) from `open` to `close`. Only as many sessions run as there
are boxes; a bounded number waits its turn, in order; whoever comes then is told `busy` at once. Drain: sessions that run are
finished, everything new is told `draining`. What is expected of a program never comes here; it stays with the client.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import socket
import stat
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, cast

from rlvr_sandbox.box import Box
from rlvr_sandbox.codec import CodecError, decode, encode
from rlvr_sandbox.errors import SandboxError
from rlvr_sandbox.line import LENGTH
from rlvr_sandbox.remote_wire import (
    GRACE_S,
    MAX_FRAME,
    MAX_GREETING,
    MAX_OUTPUT,
    NONCE_BYTES,
    TOKEN_VARIABLE,
    VERSION,
    Address,
    outcome_to_wire,
    packed,
    program_from_wire,
    proof,
    proven,
    result_to_wire,
    unpacked,
)
from rlvr_sandbox.sandbox import Sandbox, describe
from rlvr_sandbox.types import Call, Outcome

GREETING_S = 10.0
QUEUE_S = 30.0
"""How long a client waits its turn before it is told to come again."""
_T = TypeVar("_T")


class _BusyError(Exception):
    pass


class Places:
    """Boxes that may run at once, given out in the order of asking; at most `queue` wait."""

    def __init__(self, places: int, queue: int) -> None:
        self.free = self.total = places
        self._queue = queue
        self._waiting: collections.deque[tuple[int, asyncio.Future[None]]] = collections.deque()
        self.draining = False

    @contextlib.asynccontextmanager
    async def taken(self, count: int) -> AsyncGenerator[None]:
        """Raises _BusyError, with the reason, where there is no place and none will be soon."""
        await self._take(count)
        try:
            yield
        finally:
            self.free += count
            self._pass_on()

    async def _take(self, count: int) -> None:
        if self.draining:
            raise _BusyError("draining: the service is being stopped")
        if not self._waiting and self.free >= count:
            self.free -= count
            return
        if len(self._waiting) >= self._queue:
            raise _BusyError(f"busy: {self.total} boxes are in use and {self._queue} clients wait")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = (count, turn)
        self._waiting.append(waiting)
        try:
            await asyncio.wait_for(turn, QUEUE_S)
        except BaseException as error:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            elif turn.done() and not turn.cancelled() and turn.exception() is None:  # had its turn in the same moment
                self.free += count
            self._pass_on()
            if isinstance(error, TimeoutError):
                raise _BusyError(f"busy: no box became free within {QUEUE_S:g} s") from None
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            count, turn = self._waiting[0]
            if not turn.done():
                if self.free < count:
                    return
                self.free -= count
                turn.set_result(None)
            self._waiting.popleft()

    def drain(self) -> None:
        self.draining = True
        for _, turn in self._waiting:
            if not turn.done():
                turn.set_exception(_BusyError("draining: the service is being stopped"))
        self._waiting.clear()


class Service:
    """`await Service(sandbox, ...).serve(address, stop)`: serves until `stop` is set, then drains.

    token: clients have to prove that they know it; empty: only for a local socket. places: boxes at once. queue: clients that may
    wait. drain_s: what running sessions are given at the end.
    """

    def __init__(
        self, sandbox: Sandbox, *, token: bytes, places: int, queue: int = 64, connections: int = 256, drain_s: float = 30.0
    ) -> None:
        self._sandbox = sandbox
        self._token = token
        self._places = Places(places, queue)
        self._connections: set[asyncio.Task[None]] = set()
        self._max_connections = connections
        self._drain_s = drain_s
        self._threads = ThreadPoolExecutor(places, thread_name_prefix="box")
        self._sessions = 0
        self._walls = ""

    async def serve(
        self, address: Address, stop: asyncio.Event, started: Callable[[Address, str], None] | None = None
    ) -> None:
        """`started` is told the address (with the port that TCP port 0 became) and what protects a box. Raises SandboxError where
        the address cannot be used, the sandbox does not hold, or TCP is asked for without a token."""
        if not address.path and not self._token:
            raise SandboxError(
                f"a service on TCP needs a token; set {TOKEN_VARIABLE} in its environment and in its clients'"
            )
        self._walls = describe(await self._in_thread(self._sandbox.walls))
        listener = _listener(address)
        server = await asyncio.start_server(self._accept, sock=listener, limit=1 << 16)
        try:
            if started is not None:
                host, port = ("", 0) if address.path else listener.getsockname()[:2]
                started(address if address.path else Address(host=host, port=port), self._walls)
            await stop.wait()
        finally:
            server.close()
            await self._drain()
            if address.path:
                Path(address.path).unlink(missing_ok=True)
            self._threads.shutdown(wait=True)

    async def _drain(self) -> None:
        self._places.drain()
        until = asyncio.get_running_loop().time() + self._drain_s
        while self._sessions and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.02)
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if len(self._connections) > self._max_connections:
                await _write(writer, "refused", f"busy: {self._max_connections} clients are connected")
            elif await self._greeted(reader, writer):
                while True:
                    await self._request(reader, writer, await _read(reader, MAX_FRAME))
        except (EOFError, ConnectionError, TimeoutError, asyncio.CancelledError):
            writer.transport.abort()  # the client is gone, does not read, or speaks another language; nobody is left to tell
        finally:
            self._connections.discard(task)
            writer.close()
            with contextlib.suppress(Exception):
                await writer.wait_closed()

    async def _greeted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        ours = os.urandom(NONCE_BYTES)
        await _write(writer, "hello", VERSION, ours)
        async with asyncio.timeout(GREETING_S):
            message = await _read(reader, MAX_GREETING)
        match message:
            case ("hello", version, bytes(theirs), given) if version == VERSION and len(theirs) == NONCE_BYTES:
                if proven(given, self._token, "client", ours + theirs):
                    await _write(writer, "welcome", proof(self._token, "service", ours + theirs), self._walls)
                    return True
                await _write(
                    writer, "refused", f"the token is another one; {TOKEN_VARIABLE} has to be the same on both sides"
                )
            case _:
                await _write(writer, "refused", f"this service speaks version {VERSION} of the protocol")
        return False

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: tuple[Any, ...]) -> None:
        """One session. Whatever cannot be served is answered, and the connection stays usable."""
        try:
            async with self._places.taken(2 if message[0] == "pair" else 1):
                self._sessions += 1
                try:
                    await self._session(reader, writer, message)
                finally:
                    self._sessions -= 1
        except _BusyError as error:
            await _write(writer, "busy", str(error))
        except SandboxError as error:
            await _write(writer, "failed", str(error))
        except (ValueError, TypeError, LookupError) as error:
            await _write(writer, "failed", f"not a request of this protocol ({type(error).__name__}: {error})"[:500])

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: tuple[Any, ...]) -> None:
        match message:
            case ("run", fields, bytes(stdin), args, kwargs):
                program, call = program_from_wire(fields), Call(args=tuple(args), kwargs=dict(kwargs))
                result = await self._in_thread(lambda: self._sandbox.run_now(program, stdin=stdin, call=call))
                await _write(writer, *result_to_wire(result))
            case ("open", fields, bytes(stdin)):
                program = program_from_wire(fields)
                await self._boxes(reader, writer, lambda: self._sandbox.open(program, stdin=stdin), program.limits.longest_s)
            case ("pair", first, second):
                one, two = program_from_wire(first), program_from_wire(second)
                longest = max(one.limits.longest_s, two.limits.longest_s)
                await self._boxes(reader, writer, lambda: self._sandbox.open_pair(one, two), longest)
            case _:
                raise ValueError(f"unknown request {message[0][:40]!r}")

    async def _boxes(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lend: Callable[[], Any], longest_s: float
    ) -> None:
        """A box, or two, until the client closes them, vanishes, or is silent for longer than the programs may run."""
        lent = lend()
        opened = await self._in_thread(lent.__enter__)
        boxes = cast("tuple[Box, ...]", opened if isinstance(opened, tuple) else (opened,))
        try:
            await _write(writer, "opened")
            while True:
                async with asyncio.timeout(longest_s + GRACE_S):
                    message = await _read(reader, MAX_FRAME)
                if message == ("close",):
                    break
                await _write(writer, *await self._in_thread(lambda message=message: _done(boxes, message)))
        finally:
            await self._in_thread(lambda: lent.__exit__(None, None, None))
        await _write(writer, "closed")

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        """To its end, also where the connection is cancelled meanwhile: a box is never left to itself."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            raise


def _done(boxes: tuple[Box, ...], message: tuple[Any, ...]) -> tuple[Any, ...]:
    """The answer to one request to an open box. Raises ValueError on what is none."""
    match message:
        case ("load", int(number)):
            return outcome_to_wire(boxes[number].load())
        case ("call", int(number), args, kwargs):
            return outcome_to_wire(boxes[number].call(tuple(args), dict(kwargs)))
        case ("outcome", int(number)):
            return outcome_to_wire(boxes[number].outcome)
        case ("wait", int(number)):
            return result_to_wire(boxes[number].wait())
        case ("result", int(number)):
            return result_to_wire(boxes[number].result(Outcome(status="ok")))
        case ("message", int(number)):
            said = boxes[number].next_message()
            return ("message", None if said is None else encode(said, MAX_OUTPUT))
        case ("send", int(number), bytes(body)):
            boxes[number].send(*decode(body, MAX_OUTPUT))
            return ("sent",)
        case _:
            raise ValueError(f"unknown request {message[0][:40]!r} to a box")


async def _read(reader: asyncio.StreamReader, max_bytes: int) -> tuple[Any, ...]:
    """Raises EOFError (asyncio.IncompleteReadError is one) where the client is gone, ConnectionError where it sends nonsense."""
    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    if length > max_bytes:
        raise ConnectionError(f"a message of {length} bytes, over the limit of {max_bytes}")
    try:
        return unpacked(await reader.readexactly(length))
    except CodecError as error:
        raise ConnectionError(str(error)) from error


async def _write(writer: asyncio.StreamWriter, *message: Any) -> None:
    """Raises TimeoutError where the client does not read: it may hold a box meanwhile, which others wait for."""
    writer.write(packed(*message))
    async with asyncio.timeout(GRACE_S):
        await writer.drain()


def _listener(address: Address) -> socket.socket:
    """Bound. A local socket is for its owner alone; one that a dead service left is replaced."""
    try:
        if not address.path:
            family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
            return socket.create_server((address.host, address.port), family=family)
        _clear(Path(address.path))
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            listener.bind(address.path)
        finally:
            os.umask(mask)
        return listener
    except OSError as error:
        raise SandboxError(f"cannot serve on {address}: {error.strerror or error}; choose another address") from error


def _clear(path: Path) -> None:
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise SandboxError(f"cannot serve on unix:{path}: a file is there that is no socket; choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink()
            return
    raise SandboxError(f"cannot serve on unix:{path}: another service is there; stop it or choose another path")
