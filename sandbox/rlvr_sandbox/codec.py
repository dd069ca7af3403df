"""Values as bytes: how arguments go into a box and answers come out of it. Strict, exact in type, capped; never pickle.

Each value is one tag byte and a body; lengths are unsigned 32-bit big-endian. `decode` is given hostile bytes: it makes
nothing but built-in types, looks at each byte once, and refuses what could make the decoder slow (depth, size, thousands of
keys with one hash) or ambiguous (the same key twice, padding, bytes left over).

`encode` writes a subclass as the built-in it is made of (an IntEnum as an int, a namedtuple as a tuple): methods that the
program defined are never called, and on the other side only the plain value exists.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, cast

MAX_DEPTH = 64
MAX_BYTES = 4 * 2**20
MAX_ITEMS = 500_000
"""Of all containers together: what a decoder in Python reads in well under a second."""
MAX_SAME_HASH = 100
"""Keys of one set or dict that may share a hash; more come from somebody who wants the table to become a list."""

_U32 = struct.Struct(">I")
_F64 = struct.Struct(">d")


class CodecError(ValueError):
    """Not a plain value, or bytes that are none."""


def encode(value: object, max_bytes: int = MAX_BYTES) -> bytes:
    """Raises CodecError where a part is no plain value, too deep (cycles included), or the whole is too long."""
    out = bytearray()
    _put(value, out, 0, max_bytes)
    return bytes(out)


def decode(data: bytes, max_bytes: int = MAX_BYTES) -> Any:
    """The value of exactly these bytes. Raises CodecError on anything that `encode` would not have written."""
    if len(data) > max_bytes:
        raise CodecError(f"{len(data)} bytes, over the limit of {max_bytes}")
    value, end = _get(data, 0, 0, [MAX_ITEMS])
    if end != len(data):
        raise CodecError(f"{len(data) - end} bytes are left over")
    return value


def _put(value: Any, out: bytearray, depth: int, room: int) -> None:
    if depth > MAX_DEPTH:
        raise CodecError(f"nested deeper than {MAX_DEPTH}")
    kind = cast("type[Any]", type(value))
    writer = _WRITERS.get(kind)
    if writer is None:
        for base in kind.__mro__:
            writer = _WRITERS.get(base)
            if writer is not None:
                break
        else:
            raise CodecError(f"a {kind.__name__[:80]} is not a plain value")
    writer(value, out, depth, room)
    if len(out) > room:
        raise CodecError(f"over the limit of {room} bytes")


def _put_none(_: object, out: bytearray, _depth: int, _room: int) -> None:
    out += b"N"


def _put_bool(value: bool, out: bytearray, _depth: int, _room: int) -> None:
    out += b"T" if value else b"F"


def _put_int(value: int, out: bytearray, _depth: int, room: int) -> None:
    size = (int.bit_length(value) + 8) // 8
    if size > room:
        raise CodecError(f"over the limit of {room} bytes")
    _body(b"i", int.to_bytes(value, size, "big", signed=True), out)


def _put_float(value: float, out: bytearray, _depth: int, _room: int) -> None:
    out += b"f" + _F64.pack(float.__float__(value))


def _put_complex(value: complex, out: bytearray, _depth: int, _room: int) -> None:
    real, imaginary = (cast(Any, complex).real.__get__(value), cast(Any, complex).imag.__get__(value))
    out += b"c" + _F64.pack(real) + _F64.pack(imaginary)


def _put_str(value: str, out: bytearray, _depth: int, room: int) -> None:
    if str.__len__(value) > room:
        raise CodecError(f"over the limit of {room} bytes")
    _body(b"s", str.encode(value, "utf-8", "surrogatepass"), out)


def _put_bytes(value: bytes, out: bytearray, _depth: int, room: int) -> None:
    if bytes.__len__(value) > room:
        raise CodecError(f"over the limit of {room} bytes")
    _body(b"b", bytes.__getitem__(value, slice(None)), out)


def _body(tag: bytes, body: bytes, out: bytearray) -> None:
    out += tag + _U32.pack(len(body)) + body


def _sequence(tag: bytes, base: type) -> Callable[[Any, bytearray, int, int], None]:
    length, items = cast(Any, base).__len__, cast(Any, base).__iter__

    def put(value: Any, out: bytearray, depth: int, room: int) -> None:
        if length(value) > MAX_ITEMS:
            raise CodecError(f"more than {MAX_ITEMS} items")
        out += tag + _U32.pack(length(value))
        for item in items(value):
            _put(item, out, depth + 1, room)

    return put


def _put_dict(value: dict[Any, Any], out: bytearray, depth: int, room: int) -> None:
    plain = cast(Any, dict)  # the program's own methods are not asked
    out += b"d" + _U32.pack(plain.__len__(value))
    for key, item in plain.items(value):
        _put(key, out, depth + 1, room)
        _put(item, out, depth + 1, room)


_WRITERS: dict[type, Callable[[Any, bytearray, int, int], None]] = {
    type(None): _put_none,
    bool: _put_bool,
    int: _put_int,
    float: _put_float,
    complex: _put_complex,
    str: _put_str,
    bytes: _put_bytes,
    list: _sequence(b"l", list),
    tuple: _sequence(b"t", tuple),
    set: _sequence(b"S", set),
    frozenset: _sequence(b"Z", frozenset),
    dict: _put_dict,
}


def _get(data: bytes, at: int, depth: int, room: list[int]) -> tuple[Any, int]:
    """The value that starts at `at`, and where it ends. `room` holds how many more items there may be."""
    if depth > MAX_DEPTH:
        raise CodecError(f"nested deeper than {MAX_DEPTH}")
    if at >= len(data):
        raise CodecError("cut short")
    tag = data[at]
    at += 1
    if tag in _CONSTANTS:
        return _CONSTANTS[tag], at
    if tag == _FLOAT:
        return _float(data, at), at + 8
    if tag == _COMPLEX:
        return complex(_float(data, at), _float(data, at + 8)), at + 16
    if tag not in _COUNTED:
        raise CodecError(f"unknown tag {bytes([tag])!r}")
    if len(data) - at < 4:
        raise CodecError("cut short")
    (count,) = _U32.unpack_from(data, at)
    at += 4
    if tag == _DICT:
        return _dict(data, at, count, depth, room)
    if count > len(data) - at:  # an item has a byte at least: no list is allocated for items that cannot be there
        raise CodecError("cut short")
    if tag in _BODIES:
        return _BODIES[tag](data[at : at + count]), at + count
    _take(room, count)
    items: list[Any] = []
    for _ in range(count):
        item, at = _get(data, at, depth + 1, room)
        items.append(item)
    if tag == _LIST:
        return items, at
    if tag == _TUPLE:
        return tuple(items), at
    _refuse_collisions(items)
    whole = set(items) if tag == _SET else frozenset(items)
    if len(whole) != count:
        raise CodecError("a set with the same element twice")
    return whole, at


_CONSTANTS: dict[int, bool | None] = {ord("N"): None, ord("T"): True, ord("F"): False}
_FLOAT, _COMPLEX, _LIST, _TUPLE, _SET, _DICT = b"fcltSd"
_COUNTED = frozenset(b"isbltSZd")


def _float(data: bytes, at: int) -> float:
    if len(data) - at < _F64.size:
        raise CodecError("cut short")
    return _F64.unpack_from(data, at)[0]


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise CodecError("text that is not UTF-8") from error


def _integer(body: bytes) -> int:
    value = int.from_bytes(body, "big", signed=True)
    if len(body) != (value.bit_length() + 8) // 8:
        raise CodecError("a padded integer")
    return value


_BODIES: dict[int, Callable[[bytes], Any]] = {ord("s"): _text, ord("i"): _integer, ord("b"): bytes}


def _take(room: list[int], count: int) -> None:
    room[0] -= count
    if room[0] < 0:
        raise CodecError(f"more than {MAX_ITEMS} items")


def _dict(data: bytes, at: int, count: int, depth: int, room: list[int]) -> tuple[Any, int]:
    if count > (len(data) - at) // 2:
        raise CodecError("cut short")
    _take(room, 2 * count)
    keys: list[Any] = []
    values: list[Any] = []
    for _ in range(count):
        key, at = _get(data, at, depth + 1, room)
        item, at = _get(data, at, depth + 1, room)
        keys.append(key)
        values.append(item)
    _refuse_collisions(keys)
    whole = dict(zip(keys, values, strict=True))
    if len(whole) != count:
        raise CodecError("a dict with the same key twice")
    return whole, at


def _refuse_collisions(keys: list[Any]) -> None:
    """Hashes of numbers and tuples are public, so a table of equal ones takes quadratic time to fill."""
    seen: dict[int, int] = {}
    try:
        for key in keys:
            code = hash(key)
            seen[code] = count = seen.get(code, 0) + 1
            if count > MAX_SAME_HASH:
                raise CodecError(f"more than {MAX_SAME_HASH} keys with one hash")
    except TypeError as error:
        raise CodecError("a key that cannot be one") from error
