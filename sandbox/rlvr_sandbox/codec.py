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
_HEAD = struct.Struct(">cI")
_DOUBLE = struct.Struct(">cd")


class CodecError(ValueError):
    """Not a plain value, or bytes that are none."""


def encode(value: object, max_bytes: int = MAX_BYTES) -> bytes:
    """Raises CodecError where a part is no plain value, too deep (cycles included), or the whole is too long."""
    out = bytearray()
    _put(value, out, 0, max_bytes)
    if len(out) > max_bytes:
        raise _too_long(max_bytes)
    return bytes(out)


def decode(data: bytes, max_bytes: int = MAX_BYTES) -> Any:
    """The value of exactly these bytes. Raises CodecError on anything that `encode` would not have written."""
    if len(data) > max_bytes:
        raise CodecError(f"{len(data)} bytes, over the limit of {max_bytes}")
    value, end = _get(data, 0, 0, [MAX_ITEMS])
    if end != len(data):
        raise CodecError(f"{len(data) - end} bytes are left over")
    return value


_Writer = Callable[[Any, bytearray, int, int], None]
"""Of one type: value, where to, how deep it lies, bytes that there may be in all."""


def _put(value: object, out: bytearray, depth: int, room: int) -> None:
    kind = type(value)
    (_WRITERS.get(kind) or _writer_of(kind))(value, out, depth, room)


def _writer_of(kind: type[object]) -> _Writer:
    """Of a subclass: that of what it is made of."""
    for base in kind.__mro__:
        if base in _WRITERS:
            return _WRITERS[base]
    raise CodecError(f"a {kind.__name__[:80]} is not a plain value")


def _put_none(_: object, out: bytearray, _depth: int, _room: int) -> None:
    out += b"N"


def _put_bool(value: bool, out: bytearray, _depth: int, _room: int) -> None:
    out += b"T" if value else b"F"


def _put_int(value: int, out: bytearray, _depth: int, room: int) -> None:
    size = (int.bit_length(value) + 8) // 8
    if size > room - len(out):
        raise _too_long(room)
    out += _HEAD.pack(b"i", size)
    out += int.to_bytes(value, size, "big", signed=True)


def _put_float(value: float, out: bytearray, _depth: int, _room: int) -> None:
    out += _DOUBLE.pack(b"f", float.__float__(value))


def _put_complex(value: complex, out: bytearray, _depth: int, _room: int) -> None:
    real, imaginary = (cast(Any, complex).real.__get__(value), cast(Any, complex).imag.__get__(value))
    out += b"c" + _F64.pack(real) + _F64.pack(imaginary)


def _put_str(value: str, out: bytearray, _depth: int, room: int) -> None:
    if str.__len__(value) > room - len(out):
        raise _too_long(room)
    body = str.encode(value, "utf-8", "surrogatepass")
    out += _HEAD.pack(b"s", len(body))
    out += body


def _put_bytes(value: bytes, out: bytearray, _depth: int, room: int) -> None:
    if bytes.__len__(value) > room - len(out):
        raise _too_long(room)
    body = bytes.__getitem__(value, slice(None))
    out += _HEAD.pack(b"b", len(body))
    out += body


def _sequence(tag: bytes, base: type) -> _Writer:
    length, items = cast(Any, base).__len__, cast(Any, base).__iter__

    def put(value: Any, out: bytearray, depth: int, room: int) -> None:
        count = length(value)
        _open(tag, count, out, depth)
        for item in items(value):
            _put(item, out, depth + 1, room)
        if len(out) > room:
            raise _too_long(room)

    return put


def _put_dict(value: dict[Any, Any], out: bytearray, depth: int, room: int) -> None:
    plain = cast(Any, dict)  # the program's own methods are not asked
    _open(b"d", plain.__len__(value), out, depth)
    for key, item in plain.items(value):
        _put(key, out, depth + 1, room)
        _put(item, out, depth + 1, room)
    if len(out) > room:
        raise _too_long(room)


def _open(tag: bytes, count: int, out: bytearray, depth: int) -> None:
    if count > MAX_ITEMS:
        raise CodecError(f"more than {MAX_ITEMS} items")
    if count and depth >= MAX_DEPTH:
        raise _too_deep()
    out += _HEAD.pack(tag, count)


def _too_long(room: int) -> CodecError:
    return CodecError(f"over the limit of {room} bytes")


def _too_deep() -> CodecError:
    return CodecError(f"nested deeper than {MAX_DEPTH}")


_WRITERS: dict[type, _Writer] = {
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


_Reader = Callable[[bytes, int, int, list[int]], tuple[Any, int]]
"""Of one tag: data, where the body begins, how deep, how many more items there may be; the value and where it ends."""


def _get(data: bytes, at: int, depth: int, room: list[int]) -> tuple[Any, int]:
    """The value that starts at `at`, and where it ends. `room` holds how many more items there may be."""
    if at >= len(data):
        raise _cut_short()
    read = _READERS.get(data[at])
    if read is None:
        raise CodecError(f"unknown tag {data[at : at + 1]!r}")
    return read(data, at + 1, depth, room)


def _constant(value: bool | None) -> _Reader:
    def get(_data: bytes, at: int, _depth: int, _room: list[int]) -> tuple[Any, int]:
        return value, at

    return get


def _get_int(data: bytes, at: int, _depth: int, _room: list[int]) -> tuple[int, int]:
    body, at = _body(data, at)
    value = int.from_bytes(body, "big", signed=True)
    if len(body) != (value.bit_length() + 8) // 8:
        raise CodecError("a padded integer")
    return value, at


def _get_float(data: bytes, at: int, _depth: int, _room: list[int]) -> tuple[float, int]:
    return _float(data, at), at + 8


def _get_complex(data: bytes, at: int, _depth: int, _room: list[int]) -> tuple[complex, int]:
    return complex(_float(data, at), _float(data, at + 8)), at + 16


def _get_str(data: bytes, at: int, _depth: int, _room: list[int]) -> tuple[str, int]:
    body, at = _body(data, at)
    try:
        return body.decode("utf-8", "surrogatepass"), at
    except UnicodeDecodeError as error:
        raise CodecError("text that is not UTF-8") from error


def _get_bytes(data: bytes, at: int, _depth: int, _room: list[int]) -> tuple[bytes, int]:
    return _body(data, at)


def _get_list(data: bytes, at: int, depth: int, room: list[int]) -> tuple[list[Any], int]:
    count, at = _count(data, at)
    if count > len(data) - at:  # an item has a byte at least: no list is allocated for items that cannot be there
        raise _cut_short()
    if count and depth >= MAX_DEPTH:
        raise _too_deep()
    _take(room, count)
    items: list[Any] = []
    for _ in range(count):
        item, at = _get(data, at, depth + 1, room)
        items.append(item)
    return items, at


def _get_tuple(data: bytes, at: int, depth: int, room: list[int]) -> tuple[tuple[Any, ...], int]:
    items, at = _get_list(data, at, depth, room)
    return tuple(items), at


def _get_set(data: bytes, at: int, depth: int, room: list[int]) -> tuple[set[Any], int]:
    items, at = _get_list(data, at, depth, room)
    _refuse_collisions(items)
    whole = set(items)
    if len(whole) != len(items):
        raise CodecError("a set with the same element twice")
    return whole, at


def _get_frozenset(data: bytes, at: int, depth: int, room: list[int]) -> tuple[frozenset[Any], int]:
    whole, at = _get_set(data, at, depth, room)
    return frozenset(whole), at


def _get_dict(data: bytes, at: int, depth: int, room: list[int]) -> tuple[dict[Any, Any], int]:
    count, at = _count(data, at)
    if count > (len(data) - at) // 2:
        raise _cut_short()
    if count and depth >= MAX_DEPTH:
        raise _too_deep()
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


_READERS: dict[int, _Reader] = {
    ord("N"): _constant(None),
    ord("T"): _constant(True),
    ord("F"): _constant(False),
    ord("i"): _get_int,
    ord("f"): _get_float,
    ord("c"): _get_complex,
    ord("s"): _get_str,
    ord("b"): _get_bytes,
    ord("l"): _get_list,
    ord("t"): _get_tuple,
    ord("S"): _get_set,
    ord("Z"): _get_frozenset,
    ord("d"): _get_dict,
}


def _count(data: bytes, at: int) -> tuple[int, int]:
    if len(data) - at < _U32.size:
        raise _cut_short()
    return _U32.unpack_from(data, at)[0], at + _U32.size


def _body(data: bytes, at: int) -> tuple[bytes, int]:
    count, at = _count(data, at)
    if count > len(data) - at:
        raise _cut_short()
    return data[at : at + count], at + count


def _float(data: bytes, at: int) -> float:
    if len(data) - at < _F64.size:
        raise _cut_short()
    return _F64.unpack_from(data, at)[0]


def _cut_short() -> CodecError:
    return CodecError("cut short")


def _take(room: list[int], count: int) -> None:
    room[0] -= count
    if room[0] < 0:
        raise CodecError(f"more than {MAX_ITEMS} items")


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
