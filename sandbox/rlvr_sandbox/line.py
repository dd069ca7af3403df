"""The box's end of the channel: blocking, and as simple as it can be. See `frames.py` for the other end."""

from __future__ import annotations

import functools
import marshal
import os
import struct
from typing import Any

from rlvr_sandbox.codec import encode

CONTROL = 3
"""Descriptor of the channel in a box; 0, 1 and 2 are the program's own."""
LENGTH = struct.Struct(">I")
_MARSHAL_VERSION = 2
"""Every Python 3 reads it, so that the box's may be another one than its controller's."""
DESCRIPTORS = struct.Struct("4i")
"""What a box will have at 0, 1, 2 and as its control channel, as a zygote is given them."""
ENDING = struct.Struct("=iddI")
"""What a zygote says of a box that has ended: exit status or minus the signal, seconds of CPU time, MB of the largest resident
set of one process, system calls that were refused."""
MAX_MESSAGE_BYTES = 64 * 2**20
"""Either way: sources and arguments come from the task. Of a box its controller takes less, and says so."""
_READ_BYTES = 4096


def tell(value: Any) -> bytes:
    """What a controller says to its own interpreter: plain values."""
    return marshal.dumps(value, _MARSHAL_VERSION)


def told(data: bytes) -> Any:
    """What `tell` has said, which is believed."""
    return marshal.loads(data)  # noqa: S302


def framed(body: bytes) -> bytes:
    return LENGTH.pack(len(body)) + body


class Line:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._here = b""

    def send(self, *message: Any) -> None:
        self.write(packed(*message))

    def send_value(self, name: str, number: int, value: Any, max_bytes: int) -> None:
        """`send(name, number, value)`, with a limit for the value alone. Raises CodecError where it is over."""
        body = encode(value, max_bytes)
        self.write(framed(_head(name) + encode(number) + body))

    def write(self, data: bytes) -> None:
        written = os.write(self._descriptor, data)
        while written < len(data):
            written += os.write(self._descriptor, memoryview(data)[written:])

    def receive(self) -> tuple[Any, ...]:
        """Raises EOFError where the controller has hung up."""
        here, size = self._here, LENGTH.size
        if len(here) < size:
            here = self._read(here, size)
        end = size + int.from_bytes(here[:size], "big")
        if len(here) < end:
            here = self._read(here, end)
        self._here = here[end:]
        return told(here[size:end])

    def close(self) -> None:
        os.close(self._descriptor)

    def _read(self, here: bytes, count: int) -> bytes:
        """Until that many bytes are there, and what has come with them."""
        parts, have = [here], len(here)
        while have < count:
            part = os.read(self._descriptor, min(max(count - have, _READ_BYTES), 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            have += len(part)
        return b"".join(parts)


@functools.cache
def _head(name: str) -> bytes:
    """What comes before the number in a message of three items."""
    return encode((name, None, None))[:-2]


def packed(*message: Any) -> bytes:
    """Of the box: names, numbers and arguments that the task's own check code makes. Raises CodecError."""
    return framed(encode(message, MAX_MESSAGE_BYTES))


READY = packed("ready")
"""A box's first message: it is confined, and takes its program now."""
LOADED = packed("loaded", 0)
"""That the source has been executed and defines what it should."""
