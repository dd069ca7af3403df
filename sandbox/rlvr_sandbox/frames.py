"""Messages between controller and box: a length, then one encoded tuple whose first item is the message's name."""

from __future__ import annotations

import os
import struct
from typing import Any, cast

from rlvr_sandbox.codec import CodecError, decode, encode

CONTROL = 3
"""Descriptor of the channel in a box; 0, 1 and 2 are the program's own."""
ENDING = struct.Struct("=iddI")
"""What a zygote says of a box that has ended: exit status or minus the signal, seconds of CPU time, MB of the largest resident
set of one process, system calls that were refused."""
LENGTH = struct.Struct(">I")
MAX_INWARD = 64 * 2**20
"""Bytes of one message into a box: sources and arguments come from the task."""
_READ_BYTES = 4096
SLACK = 4096
"""What a message of the box may be longer than the value in it."""


def pack(*message: Any) -> bytes:
    """Raises CodecError where an item is no plain value."""
    body = encode(message, MAX_INWARD)
    return LENGTH.pack(len(body)) + body


class Inbox:
    """Bytes of a box in, in any portions; messages out. Nothing here is believed."""

    def __init__(self, max_bytes: int) -> None:
        self._bytes = bytearray()
        self._max_bytes = max_bytes + SLACK

    def feed(self, data: bytes) -> None:
        self._bytes += data

    def whole(self) -> bool:
        """Whether a whole message is there. Raises CodecError where it is going to be longer than allowed."""
        if len(self._bytes) < LENGTH.size:
            return False
        (length,) = LENGTH.unpack_from(self._bytes)
        if length > self._max_bytes:
            raise CodecError(f"a message of {length} bytes, over the limit of {self._max_bytes}")
        return len(self._bytes) >= LENGTH.size + length

    def next(self) -> tuple[Any, ...]:
        """The message that is `whole`. Raises CodecError on anything that is not a non-empty tuple led by a name."""
        end = LENGTH.size + LENGTH.unpack_from(self._bytes)[0]
        body = bytes(self._bytes[LENGTH.size : end])
        del self._bytes[:end]
        message = decode(body, self._max_bytes)
        if type(message) is not tuple or not message or type(cast(tuple[Any, ...], message)[0]) is not str:
            raise CodecError("a message that is not one")
        return cast(tuple[Any, ...], message)


class Line:
    """The box's end of the channel: blocking, and as simple as it can be."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._here = b""

    def send(self, *message: Any) -> None:
        body = encode(message, MAX_INWARD)
        self._write(LENGTH.pack(len(body)) + body)

    def send_value(self, name: str, number: int, value: Any, max_bytes: int) -> None:
        """`send(name, number, value)`, with a limit for the value alone. Raises CodecError where it is over."""
        body = encode(value, max_bytes)
        head = encode((name, number, None))[:-1]
        self._write(LENGTH.pack(len(head) + len(body)) + head + body)

    def receive(self) -> tuple[Any, ...]:
        """Raises EOFError where the controller has hung up."""
        (length,) = LENGTH.unpack(self._take(LENGTH.size))
        return decode(self._take(length), MAX_INWARD)

    def close(self) -> None:
        os.close(self._descriptor)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def _take(self, count: int) -> bytes:
        if len(self._here) < count:
            parts, have = [self._here], len(self._here)
            while have < count:
                part = os.read(self._descriptor, min(max(count - have, _READ_BYTES), 1 << 20))
                if not part:
                    raise EOFError
                parts.append(part)
                have += len(part)
            self._here = b"".join(parts)
        taken, self._here = self._here[:count], self._here[count:]
        return taken


READY = pack("ready")
"""A box's first message: it is confined, and takes its program now."""
