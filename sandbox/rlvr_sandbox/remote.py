"""The client of a sandbox service: boxes on another machine, with the same methods as a `Sandbox` of one's own.

Every failure of the connection, and a service that stays busy, is a SandboxError: ours, never the program's. The environment says
where the service is: RLVR_SANDBOX=remote, RLVR_SANDBOX_ADDRESS=unix:/path or tcp:host:port, RLVR_SANDBOX_TOKEN.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, TypeVar

from rlvr_sandbox.codec import CodecError, decode, encode
from rlvr_sandbox.environment import interpreter_from_environment
from rlvr_sandbox.errors import SandboxError
from rlvr_sandbox.line import LENGTH
from rlvr_sandbox.remote_wire import (
    ADDRESS_VARIABLE,
    GRACE_S,
    MAX_FRAME,
    MAX_GREETING,
    MAX_OUTPUT,
    NONCE_BYTES,
    VERSION,
    Address,
    outcome_from_wire,
    packed,
    parsed_address,
    program_to_wire,
    proof,
    proven,
    result_from_wire,
    token_from_environment,
    unpacked,
)
from rlvr_sandbox.types import Call, Outcome, Program, Result, Value

CONNECT_S = 10.0
PATIENCE_S = 120.0
"""How long a busy service is asked again before that is our failure."""
OPEN_S = 90.0
"""Until a session begins: the service's queue, and the making of boxes."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 2.0
_T = TypeVar("_T")


class _BusyError(Exception):
    pass


class _Connection:
    """One socket, greeted. Not for two threads at once. Raises SandboxError for everything that goes wrong, and is dead then."""

    def __init__(self, address: Address, token: bytes) -> None:
        self._address = address
        self._socket = _connected(address)
        try:
            self.walls = self._greet(token)
        except BaseException:
            self.close()
            raise

    def _greet(self, token: bytes) -> str:
        match self._receive(MAX_GREETING):
            case ("hello", version, bytes(theirs)) if version == VERSION:
                pass
            case ("refused", str(why)):
                raise SandboxError(f"the sandbox service at {self._address} refuses: {why}")
            case _:
                raise SandboxError(f"what listens at {self._address} is no sandbox service of version {VERSION}")
        nonces = theirs + (ours := os.urandom(NONCE_BYTES))
        self._send("hello", VERSION, ours, proof(token, "client", nonces))
        match self._receive(MAX_GREETING):
            case ("welcome", given, str(walls)) if proven(given, token, "service", nonces):
                return walls
            case ("refused", str(why)):
                raise SandboxError(f"the sandbox service at {self._address} refuses: {why}")
            case _:
                raise SandboxError(f"the sandbox service at {self._address} does not prove that it knows the token")

    def ask(self, timeout_s: float, *message: Any) -> tuple[Any, ...]:
        """Raises _BusyError where the service says so, SandboxError where it failed."""
        self._socket.settimeout(timeout_s)
        self._send(*message)
        match self._receive(MAX_FRAME):
            case ("busy", str(why)):
                raise _BusyError(why)
            case ("failed", str(why)):
                raise SandboxError(f"the sandbox service at {self._address}: {why}")
            case answer:
                return answer

    def _send(self, *message: Any) -> None:
        data = packed(*message)
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise self._lost(error) from error

    def _receive(self, max_bytes: int) -> tuple[Any, ...]:
        try:
            (length,) = LENGTH.unpack(self._read(LENGTH.size))
            if length > max_bytes:
                raise CodecError(f"a message of {length} bytes")
            return unpacked(self._read(length))
        except (OSError, EOFError, CodecError) as error:
            raise self._lost(error) from error

    def _read(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            part = self._socket.recv(min(count - len(data), 1 << 20))
            if not part:
                raise EOFError("it hung up")
            data += part
        return bytes(data)

    def _lost(self, error: Exception) -> SandboxError:
        return SandboxError(
            f"the connection to the sandbox service at {self._address} was lost ({error}); is it still running?"
        )

    def close(self) -> None:
        self._socket.close()


def _connected(address: Address) -> socket.socket:
    try:
        if not address.path:
            connection = socket.create_connection((address.host, address.port), CONNECT_S)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(CONNECT_S)
            connection.connect(address.path)
        except BaseException:
            connection.close()
            raise
        return connection
    except OSError as error:
        raise SandboxError(
            f"no sandbox service answers at {address} ({error.strerror or error}); start it with `rlvr sandbox serve`"
        ) from error


class RemoteBox:
    """A box of the service, by its number in the session."""

    def __init__(self, connection: _Connection, number: int, program: Program) -> None:
        self._connection = connection
        self._number = number
        self._timeout_s = program.limits.longest_s + GRACE_S

    @property
    def outcome(self) -> Outcome:
        return outcome_from_wire(self._ask("outcome"))

    def load(self) -> Outcome:
        return outcome_from_wire(self._ask("load"))

    def call(self, args: tuple[Value, ...] = (), kwargs: Mapping[str, Value] | None = None) -> Outcome:
        return outcome_from_wire(self._ask("call", tuple(args), dict(kwargs or {})))

    def calls(self, calls: Iterable[Call]) -> Iterator[Outcome]:
        return (self.call(call.args, call.kwargs) for call in calls)

    def wait(self) -> Result:
        return result_from_wire(self._ask("wait"))

    def result(self, outcome: Outcome) -> Result:
        whole = result_from_wire(self._ask("result"))
        return dataclasses.replace(whole, status=outcome.status, value=outcome.value, message=outcome.message)

    def next_message(self) -> tuple[Any, ...] | None:
        _, said = self._ask("message")
        return None if said is None else decode(said, MAX_OUTPUT)

    def send(self, *message: Any) -> None:
        self._ask("send", encode(message, MAX_OUTPUT))

    def _ask(self, name: str, *rest: Any) -> tuple[Any, ...]:
        return self._connection.ask(self._timeout_s, name, self._number, *rest)


class RemoteSandbox:
    """Lends the boxes of a service to any number of threads; each session has a connection of its own, and they are kept.

    The first use connects. Raises SandboxError where no service answers, the token is another one, or it stays busy.
    """

    def __init__(self, address: str, *, token: bytes = b"", patience_s: float = PATIENCE_S) -> None:
        self._address = parsed_address(address)
        self._token = token
        self._patience_s = patience_s
        self._idle: list[_Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    @classmethod
    def from_environment(cls) -> RemoteSandbox:
        interpreter_from_environment("remote")  # there is none to choose from here
        address = os.environ.get(ADDRESS_VARIABLE)
        if not address:
            raise SandboxError(f"RLVR_SANDBOX=remote needs {ADDRESS_VARIABLE}: unix:/path/to/socket or tcp:host:port")
        return cls(address, token=token_from_environment())

    def __enter__(self) -> RemoteSandbox:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def run_now(self, program: Program, *, stdin: bytes = b"", call: Call | None = None) -> Result:
        """As `Sandbox.run_now`: tried again, over a new connection, where ours fails."""
        if program.mode == "check":
            raise ValueError("check code needs a candidate; open one box for each")
        asked = call or Call()
        request = ("run", program_to_wire(program), stdin, tuple(asked.args), dict(asked.kwargs))
        try:
            return self._run(request, program)
        except SandboxError:
            return self._run(request, program)

    async def run(self, program: Program, *, stdin: bytes = b"", call: Call | None = None) -> Result:
        """`run_now` in a thread."""
        return await asyncio.to_thread(self.run_now, program, stdin=stdin, call=call)

    def _run(self, request: tuple[Any, ...], program: Program) -> Result:
        with self._session(lambda connection: connection.ask(OPEN_S + program.limits.longest_s, *request)) as (_, answer):
            return result_from_wire(answer)

    @contextlib.contextmanager
    def open(self, program: Program, *, stdin: bytes = b"") -> Generator[RemoteBox]:
        """A box with the program in it, for several calls."""
        fields = program_to_wire(program)
        with self._session(lambda connection: connection.ask(OPEN_S, "open", fields, stdin)) as (connection, _):
            yield RemoteBox(connection, 0, program)
            connection.ask(GRACE_S, "close")

    @contextlib.contextmanager
    def open_pair(self, first: Program, second: Program) -> Generator[tuple[RemoteBox, RemoteBox]]:
        """Two boxes that know nothing of each other: a program, and the code that checks it."""
        fields = program_to_wire(first), program_to_wire(second)
        with self._session(lambda connection: connection.ask(OPEN_S, "pair", *fields)) as (connection, _):
            yield RemoteBox(connection, 0, first), RemoteBox(connection, 1, second)
            connection.ask(GRACE_S, "close")

    def walls(self) -> str:
        """What protects a box, in the service's words."""
        connection = self._take()
        self._give_back(connection)
        return connection.walls

    def close(self) -> None:
        """Ends the connections that are not in use; those in use end when they are given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @contextlib.contextmanager
    def _session(self, begin: Callable[[_Connection], _T]) -> Generator[tuple[_Connection, _T]]:
        """A connection on which a session has begun. It is kept where the session ended well, else dropped, which ends the
        session over there, too."""
        connection, begun = self._begun(begin)
        try:
            yield connection, begun
        except BaseException:
            connection.close()
            raise
        self._give_back(connection)

    def _begun(self, begin: Callable[[_Connection], _T]) -> tuple[_Connection, _T]:
        """Asks again while the service is busy, with pauses that grow and differ between clients."""
        until = time.monotonic() + self._patience_s
        pause = _FIRST_PAUSE_S
        while True:
            connection = self._take()
            try:
                return connection, begin(connection)
            except _BusyError as error:
                self._give_back(connection)
                if time.monotonic() + pause > until:
                    raise SandboxError(
                        f"the sandbox service at {self._address} stayed busy for {self._patience_s:g} s ({error}); add machines or "
                        "lower the number of verifiers"
                    ) from None
            except BaseException:
                connection.close()
                raise
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _take(self) -> _Connection:
        with self._lock:
            if self._closed:
                raise SandboxError("the remote sandbox is closed; open a new one")
            if self._idle:
                return self._idle.pop()
        return _Connection(self._address, self._token)

    def _give_back(self, connection: _Connection) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()
