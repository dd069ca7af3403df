"""Messages between controller and box, as the controller has them: a length, then one tuple whose first item is its name.

What goes in is marshalled: the box believes it, and C code that touches little memory reads it. What comes out is hostile, and read by
`codec`, which makes nothing but plain values of anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rlvr_sandbox.codec import MAX_DEPTH, CodecError, decode, encode
from rlvr_sandbox.line import LENGTH, MAX_MESSAGE_BYTES, framed, tell

SLACK = 4096
"""What a message of the box may be longer than the value in it."""
_LEAVES = frozenset({type(None), bool, int, float, complex, str, bytes})
_CONTAINERS = frozenset({list, tuple, set, frozenset, dict})


def pack(*message: Any) -> bytes:
    """Raises CodecError where an item is no plain value."""
    if not _plain(message, 0):  # subclasses become what they are made of, and the rest is refused
        message = decode(encode(message, MAX_MESSAGE_BYTES), MAX_MESSAGE_BYTES)
    body = tell(message)
    if len(body) > MAX_MESSAGE_BYTES:
        raise CodecError(f"{len(body)} bytes, over the limit of {MAX_MESSAGE_BYTES}")
    return framed(body)


def _plain(value: object, depth: int) -> bool:
    """Whether it is of exactly the plain types, all the way down. `marshal` takes more, arrays for example, and makes bytes of them."""
    kind = type(value)
    if kind not in _CONTAINERS:
        return kind in _LEAVES
    items: Any = value
    return _all_plain(items, depth) and (kind is not dict or _all_plain(items.values(), depth))


def _all_plain(items: Iterable[Any], depth: int) -> bool:
    if _LEAVES.issuperset(map(type, items)):
        return True
    if depth >= MAX_DEPTH:
        return False
    for item in items:  # noqa: SIM110 - a generator costs more than what it would look at
        if not _plain(item, depth + 1):
            return False
    return True


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

    def next(self) -> tuple[Any, ...] | None:
        """A message, or None until it is `whole`. Raises CodecError on anything that is not a non-empty tuple led by a name."""
        if not self.whole():
            return None
        end = LENGTH.size + LENGTH.unpack_from(self._bytes)[0]
        body = bytes(self._bytes[LENGTH.size : end])
        del self._bytes[:end]
        message: tuple[Any, ...] = decode(body, self._max_bytes)
        if type(message) is not tuple or not message or type(message[0]) is not str:
            raise CodecError("a message that is not one")
        return message
