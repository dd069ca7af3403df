"""Reads a task's gold calls, strictly: a gold that cannot pass must never reach training.

    {"calls": [{"name": "f", "arguments": {"city": "Paris"}}], "order": "any"}     order is any (default) or strict
    [{"name": "f", "arguments": {"city": {"$any": ["Paris", "Paris, France"]}}}]   the same without order
    [{"f": {"city": ["Paris", "Paris, France"], "unit": ["C", ""]}}]               BFCL: accepted values; "" may be left out
    []                                                                             no call is wanted

Anywhere in native arguments: {"$any": [...]}, {"$optional": value} (of an object's member), {"$num": {"value": 3.14, "tol": 0.01}}.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, Literal, cast

from rlvr_verifiers.arguments import clip
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.strict_json import JsonError, loads
from rlvr_verifiers.tool_call.calls import MAX_CALLS
from rlvr_verifiers.tool_call.values import Accepts, AnyOf, Exactly, ListOf, Near, ObjectOf, Strings

Order = Literal["any", "strict"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GoldCall:
    name: str
    arguments: ObjectOf
    choices: Mapping[str, tuple[Any, ...]]
    """Values of each argument that pass, those that may be left out included."""

    def wants(self, name: str, arguments: Mapping[str, Any]) -> bool:
        return name == self.name and self.arguments.accepts(arguments)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Gold:
    calls: tuple[GoldCall, ...]
    order: Order = "any"


@functools.lru_cache(maxsize=4096)
def read_gold(answer: str, strings: Strings = "exact") -> Gold:
    """Raises VerifierError, in one line, where the gold cannot be used."""
    try:
        data: Any = loads(answer)
    except JsonError as error:
        raise _bad(f"it is not strict JSON ({error})") from None
    order: Order = "any"
    if isinstance(data, dict):
        fields = cast("dict[str, Any]", data)
        if "calls" not in fields or fields.keys() - {"calls", "order"}:
            raise _bad('an object needs "calls", may have "order", and nothing else')
        order = fields.get("order") or "any"
        if order not in ("any", "strict"):
            raise _bad(f"order is {clip(repr(order), 40)}; give any or strict")
        data = fields["calls"]
    if not isinstance(data, list):
        raise _bad(f"it is {type(data).__name__}; give a list of calls, [] for none, or {{calls, order}}")
    items = cast("list[object]", data)
    if len(items) > MAX_CALLS:
        raise _bad(f"it has {len(items)} calls; a turn can have {MAX_CALLS}")
    return Gold(calls=tuple(_call(item, strings) for item in items), order=order)


def _call(item: object, strings: Strings) -> GoldCall:
    if not isinstance(item, dict):
        raise _bad("a call is no JSON object")
    fields = cast("dict[str, Any]", item)
    if fields.keys() == {"name", "arguments"} and isinstance(fields["name"], str):
        arguments = fields["arguments"]
        if not isinstance(arguments, dict):
            raise _bad(f"the arguments of {fields['name']!r} are no JSON object")
        accepted, examples = _native_object(cast("dict[str, Any]", arguments), strings)
        return _gold_call(fields["name"], accepted, examples)
    if len(fields) == 1:
        ((name, options),) = fields.items()
        if isinstance(options, dict):
            accepted, examples = _bfcl_object(cast("dict[str, Any]", options), strings)
            return _gold_call(name, accepted, examples)
    raise _bad('a call is neither {"name", "arguments"} nor BFCL\'s {"function": {"argument": [accepted values]}}')


def _gold_call(name: str, accepted: ObjectOf, choices: Mapping[str, tuple[Any, ...]]) -> GoldCall:
    if not name:
        raise _bad("the name of a call is empty")
    return GoldCall(name=name, arguments=accepted, choices=choices)


Examples = tuple[Any, ...]
Reading = tuple[Accepts, Examples]
"""What is accepted, and examples of it; one at least."""


def accepted_value(value: Any, strings: Strings = "exact") -> tuple[Accepts, Any]:
    """What a gold value in the native form accepts, and an example of it. Raises VerifierError for a mark that is none."""
    accepted, examples = _native(value, strings)
    return accepted, examples[0]


def _native(value: Any, strings: Strings) -> Reading:
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        marks = [key for key in fields if key.startswith("$")]
        if marks and len(fields) != 1:
            raise _bad(f"{marks[0]} stands beside other keys")
        if marks:
            return _marked(marks[0], fields[marks[0]], strings)
        accepted, examples = _native_object(fields, strings)
        return accepted, (_first(accepted, examples),)
    if isinstance(value, list):
        return _list_of([_native(item, strings) for item in cast("list[Any]", value)])
    return Exactly(value, strings), (value,)


def _native_object(fields: Mapping[str, Any], strings: Strings) -> tuple[ObjectOf, dict[str, Examples]]:
    members: dict[str, Accepts] = {}
    examples: dict[str, Examples] = {}
    optional: set[str] = set()
    for key, value in fields.items():
        if isinstance(value, dict) and cast("dict[str, Any]", value).keys() == {"$optional"}:
            optional.add(key)
            members[key], examples[key] = _native(value["$optional"], strings)
        else:
            members[key], examples[key] = _native(value, strings)
    return ObjectOf(members, frozenset(optional)), examples


def _list_of(parts: list[Reading]) -> Reading:
    return ListOf(tuple(accepted for accepted, _ in parts)), ([examples[0] for _, examples in parts],)


def _first(accepted: ObjectOf, examples: Mapping[str, Examples]) -> dict[str, Any]:
    """The first choice everywhere, what is optional left out."""
    return {key: values[0] for key, values in examples.items() if key not in accepted.optional}


def _marked(mark: str, content: Any, strings: Strings) -> Reading:
    if mark == "$any" and isinstance(content, list) and content:
        parts = [_native(item, strings) for item in cast("list[Any]", content)]
        return AnyOf(tuple(accepted for accepted, _ in parts)), tuple(each for _, examples in parts for each in examples)
    if mark == "$num" and isinstance(content, dict):
        fields = cast("dict[str, Any]", content)
        if fields.keys() == {"value", "tol"} and all(_is_number(part) for part in fields.values()) and fields["tol"] >= 0:
            return Near(fields["value"], fields["tol"]), (fields["value"],)
    raise _bad(
        f"{mark} with {clip(repr(cast('object', content)), 60)}; known are $any with a non-empty list, $optional of an object's member, "
        "and $num with value and tol"
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _bfcl_object(options: Mapping[str, Any], strings: Strings) -> tuple[ObjectOf, dict[str, Examples]]:
    members: dict[str, Accepts] = {}
    examples: dict[str, Examples] = {}
    optional: set[str] = set()
    for key, accepted in options.items():
        if not isinstance(accepted, list) or not accepted:
            raise _bad(f"BFCL's argument {key!r} needs a non-empty list of accepted values")
        choices = cast("list[Any]", accepted)
        readings = [_bfcl_value(choice, strings) for choice in choices]
        members[key] = AnyOf(tuple(reading for reading, _ in readings))
        examples[key] = tuple(each for _, values in readings for each in values)
        if "" in choices:
            optional.add(key)
    return ObjectOf(members, frozenset(optional)), examples


def _bfcl_value(value: Any, strings: Strings) -> Reading:
    """One accepted value; objects in it list accepted values again, lists do not."""
    if isinstance(value, dict):
        accepted, examples = _bfcl_object(cast("dict[str, Any]", value), strings)
        return accepted, (_first(accepted, examples),)
    if isinstance(value, list):
        return _list_of([_bfcl_value(item, strings) for item in cast("list[Any]", value)])
    return Exactly(value, strings), (value,)


def _bad(problem: str) -> VerifierError:
    return VerifierError(f"the answer of a tool_call task cannot be used: {problem}")
