"""The codec carries plain values exactly, refuses everything else, and takes no bytes it would not have written."""

from __future__ import annotations

import array
import contextlib
import enum
import math
from collections import Counter, OrderedDict, namedtuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlvr_sandbox.codec import MAX_DEPTH, CodecError, decode, encode
from rlvr_sandbox.frames import Inbox, pack
from rlvr_sandbox.line import LENGTH, packed, told

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.complex_numbers(allow_nan=False)
TEXTS = st.text(st.characters(exclude_categories=()), max_size=8) | st.binary(max_size=8)
KEYS = st.recursive(SCALARS | TEXTS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=6)
VALUES = st.recursive(
    SCALARS | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.sets(KEYS, max_size=4)
    ),
    max_leaves=20,
)


def exact(value: Any) -> Any:
    """With types beside values, since 1 == True == 1.0."""
    if type(value) in (list, tuple):
        return type(value), [exact(item) for item in value]
    if type(value) in (set, frozenset):
        return type(value), sorted(repr(exact(item)) for item in value)
    if type(value) is dict:
        return dict, [(exact(key), exact(item)) for key, item in value.items()]
    return type(value), repr(value)


@given(VALUES)
def test_what_goes_in_comes_out(value: Any) -> None:
    assert exact(decode(encode(value))) == exact(value)


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    try:
        value = decode(data)
    except CodecError:
        return
    if not isinstance(value, set | frozenset | dict | list | tuple):
        assert encode(value) == data or value != value


@given(VALUES, st.integers(0, 200), st.integers(0, 255))
def test_changed_bytes_raise_nothing_else(value: Any, place: int, byte: int) -> None:
    data = bytearray(encode(value))
    data[place % len(data)] = byte
    with contextlib.suppress(CodecError):
        decode(bytes(data))


def test_special_floats() -> None:
    assert math.isnan(decode(encode(math.nan)))
    assert decode(encode([math.inf, -math.inf])) == [math.inf, -math.inf]
    assert math.copysign(1, decode(encode(-0.0))) == -1


class Liar(int):
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        raise SystemExit

    def __int__(self) -> int:
        raise SystemExit

    __index__ = __bool__ = bit_length = to_bytes = __int__  # type: ignore[assignment]


class Text(str):
    def encode(self, *_: object) -> bytes:  # type: ignore[override]
        raise SystemExit

    __len__ = __iter__ = __str__ = encode  # type: ignore[assignment]


class Items(list[int]):
    def __iter__(self) -> Any:
        raise SystemExit

    __len__ = __getitem__ = __iter__  # type: ignore[assignment]


# The ids are given because pytest would ask the values for their length.
@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Liar(7), 7),
        (Text("a"), "a"),
        (Items([1, 2]), [1, 2]),
        (enum.IntEnum("E", {"x": 3})(3), 3),
        (namedtuple("P", "x y")(1, 2), (1, 2)),
        (Counter("aa"), {"a": 2}),
        (OrderedDict(a=1), {"a": 1}),
        (type("F", (float,), {"__float__": lambda self: 1 / 0})(2.5), 2.5),
        (type("B", (bytes,), {"__len__": lambda self: 0})(b"xy"), b"xy"),
    ],
    ids=[
        "int",
        "text",
        "list",
        "enum",
        "namedtuple",
        "counter",
        "ordered",
        "float",
        "bytes",
    ],
)
def test_a_subclass_travels_as_what_it_is_made_of(value: Any, plain: Any) -> None:
    assert exact(decode(encode(value))) == exact(plain)


@pytest.mark.parametrize(
    "value", [object(), range(3), iter([]), print, int, ..., NotImplemented, bytearray(b"x"), ValueError()]
)
def test_what_is_no_plain_value_is_refused(value: object) -> None:
    for wrapped in (value, [value], {"a": (value,)}):
        with pytest.raises(CodecError, match="plain value"):
            encode(wrapped)


def test_depth_is_capped_both_ways() -> None:
    deep: Any = []
    for _ in range(MAX_DEPTH):
        deep = [deep]
    assert decode(encode(deep)) == deep
    with pytest.raises(CodecError, match="deep"):
        encode([deep])
    with pytest.raises(CodecError, match="deep"):
        decode(b"l\x00\x00\x00\x01" * (MAX_DEPTH + 5) + b"N")
    cycle: Any = []
    cycle.append(cycle)
    with pytest.raises(CodecError, match="deep"):
        encode(cycle)


@pytest.mark.parametrize("value", ["x" * 101, b"x" * 101, 1 << 900, list(range(50)), {"a": "x" * 100}])
def test_size_is_capped_both_ways(value: object) -> None:
    with pytest.raises(CodecError, match="limit"):
        encode(value, 100)
    with pytest.raises(CodecError, match="limit"):
        decode(encode(value), 100)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"NN",
        b"i\x00\x00\x00\x00",
        b"i\x00\x00\x00\x02\x00\x01",
        b"s\x00\x00\x00\x01\xff",
        b"s\xff\xff\xff\xff",
        b"l\xff\xff\xff\xff",
        b"d\xff\xff\xff\xff",
        b"l\x00\x00\x00\x02N",
        b"f\x00",
        b"c" + bytes(8),
        b"S\x00\x00\x00\x02NN",
        b"d\x00\x00\x00\x02NNNN",
        b"S\x00\x00\x00\x01l\x00\x00\x00\x00",
        b"d\x00\x00\x00\x01l\x00\x00\x00\x00N",
        b"S\x00\x00\x00\x02TI",
    ],
)
def test_bytes_that_nobody_wrote_are_refused(data: bytes) -> None:
    with pytest.raises(CodecError):
        decode(data)


def test_items_are_counted_over_all_containers() -> None:
    with pytest.raises(CodecError, match="items"):
        decode(encode([[None] * 100_000] * 6))
    with pytest.raises(CodecError, match="items"):
        encode([None] * 500_001)


def test_keys_of_one_hash_are_refused_before_they_cost_anything() -> None:
    with pytest.raises(CodecError, match="one hash"):
        decode(encode({n * (2**61 - 1) for n in range(1, 5000)}))


@given(VALUES)
def test_what_is_sent_into_a_box_arrives(value: Any) -> None:
    message = pack("call", 1, (value,), {})
    assert LENGTH.unpack_from(message)[0] == len(message) - LENGTH.size
    assert exact(told(message[LENGTH.size :])) == exact(("call", 1, (value,), {}))


@pytest.mark.parametrize(
    "value", [object(), bytearray(b"x"), memoryview(b"x"), array.array("i", [1]), compile("1", "", "eval"), ..., range(3)]
)
def test_nothing_but_plain_values_is_sent_into_a_box(value: object) -> None:
    for wrapped in (value, [1, value], {"a": (value,)}, [{"a": [value]}]):
        with pytest.raises(CodecError, match="plain value"):
            pack("call", 1, (wrapped,), {})


@pytest.mark.parametrize("value", [Liar(7), Text("a"), Items([1, 2]), Counter("aa")], ids=["int", "text", "list", "counter"])
def test_a_subclass_is_sent_as_what_it_is_made_of(value: Any) -> None:
    assert exact(told(pack("call", [value])[LENGTH.size :])) == exact(decode(encode(("call", [value]))))


def test_a_cycle_is_not_sent() -> None:
    cycle: Any = [1]
    cycle.append(cycle)
    with pytest.raises(CodecError, match="deep"):
        pack("call", 1, (cycle,), {})


def test_an_inbox_takes_bytes_in_any_portions_and_believes_no_length() -> None:
    inbox = Inbox(100)
    data = packed("returned", 1, [1.5]) + packed("loaded", 0)
    found: list[Any] = []
    for byte in data:
        inbox.feed(bytes([byte]))
        message = inbox.next()
        found += [message] if message else []
    assert found == [("returned", 1, [1.5]), ("loaded", 0)]
    for bad in (b"\xff\xff\xff\xff", b"\x00\x00\x00\x01N", b"\x00\x00\x00\x05t\x00\x00\x00\x00"):
        inbox = Inbox(100)
        inbox.feed(bad)
        with pytest.raises(CodecError):
            inbox.next()
