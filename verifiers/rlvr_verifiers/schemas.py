"""Compiled JSON Schema (Draft 2020-12), with what a judge of hostile values needs to change in it.

`1.0` is no integer (it breaks code that counts with it, and a policy can write 1). Unique items are compared in linear time.
Patterns have a deadline. A `$ref` stays inside its schema: nothing is ever fetched. Validators are compiled once and cached.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any, cast

import jsonschema.validators
import regex
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator
from referencing.exceptions import Unresolvable
from referencing.jsonschema import EMPTY_REGISTRY

from rlvr_verifiers.arguments import clip
from rlvr_verifiers.errors import VerifierError

PATTERN_TIMEOUT_S = 0.02
"""For one text against one `pattern`; a text that takes longer does not match."""

Schema = Mapping[str, Any]

NO_PARAMETERS: Schema = {"type": "object", "properties": {}}
"""Of a tool that declares none."""

_COMPOSED = ("allOf", "anyOf", "oneOf", "if", "$ref", "$dynamicRef", "patternProperties", "unevaluatedProperties")
_CLOSED_BELOW_MAPS = ("properties", "$defs", "definitions")
_CLOSED_BELOW_LISTS = ("anyOf", "oneOf", "prefixItems")


def compiled(schema: Schema, *, closed: bool = False) -> Validator:
    """The validator of a schema. Raises VerifierError where it is no schema, or refers to something outside itself.

    closed: objects that list their properties and do not say otherwise take no others.
    """
    try:
        text = json.dumps(schema, sort_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise VerifierError(f"a JSON Schema has to be plain JSON data: {error}") from error
    return _compiled(text, closed)


def first_problem(validator: Validator, value: object) -> str | None:
    """What is wrong with a value, in one line, or None."""
    try:
        if cast("Any", validator).is_valid(value):
            return None
        error = next(cast("Any", validator).iter_errors(value))
    except RecursionError:
        return "nested too deeply for its schema"
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path).lstrip(".")
    return clip(f"{place}: {error.message}" if place else str(error.message), 300)


def tool_schemas(tools: Iterable[Mapping[str, Any]]) -> dict[str, Schema]:
    """Name to parameter schema of OpenAI function schemas, with or without `{"type": "function", "function": ...}` around them."""
    found: dict[str, Schema] = {}
    for tool in tools:
        function = tool.get("function", tool)
        if isinstance(function, Mapping):
            fields = cast("Mapping[str, Any]", function)
            parameters = fields.get("parameters")
            if isinstance(fields.get("name"), str):
                found[fields["name"]] = cast("Schema", parameters) if isinstance(parameters, Mapping) else NO_PARAMETERS
    return found


@functools.lru_cache(maxsize=4096)
def _compiled(text: str, closed: bool) -> Validator:
    schema: Any = json.loads(text)
    try:
        _Strict.check_schema(schema)
    except (SchemaError, RecursionError) as error:
        raise VerifierError(f"no JSON Schema (Draft 2020-12): {clip(getattr(error, 'message', str(error)), 200)}") from None
    _require_own_references(schema, schema)
    return _Strict(close(schema) if closed else schema, registry=EMPTY_REGISTRY)


def close(schema: Any) -> Any:
    """The schema with `additionalProperties: false` wherever it lists properties and leaves the question open.

    A schema that is put together (`allOf`, `$ref` and the like) is left alone: its parts know only some of the properties.
    """
    if not isinstance(schema, dict):
        return schema
    result = dict(cast("dict[str, Any]", schema))
    for key in _CLOSED_BELOW_MAPS:
        if isinstance(result.get(key), dict):
            result[key] = {name: close(part) for name, part in cast("dict[str, Any]", result[key]).items()}
    for key in _CLOSED_BELOW_LISTS:
        if isinstance(result.get(key), list):
            result[key] = [close(part) for part in cast("list[Any]", result[key])]
    for key in ("items", "additionalProperties"):
        if isinstance(result.get(key), dict):
            result[key] = close(result[key])
    if "properties" in result and not any(key in result for key in _COMPOSED):
        result.setdefault("additionalProperties", False)
    return result


def _require_own_references(node: Any, root: Any) -> None:
    left = [node]
    resolver = _Strict(root, registry=EMPTY_REGISTRY)
    while left:
        part = left.pop()
        if isinstance(part, dict):
            members = cast("dict[str, Any]", part)
            reference = members.get("$ref")
            if isinstance(reference, str):
                _require_own(reference, resolver)
            left.extend(members.values())
        elif isinstance(part, list):
            left.extend(cast("list[Any]", part))


def _require_own(reference: str, validator: Any) -> None:
    if not reference.startswith("#"):
        raise VerifierError(f"a schema refers to {reference[:80]!r}; only references into itself (#/$defs/...) are followed")
    try:
        validator._resolver.lookup(reference)
    except Unresolvable:
        raise VerifierError(f"a schema refers to {reference[:80]!r}, which it does not hold") from None


def _is_integer(checker: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _unique(validator: object, wanted: object, value: object, schema: object) -> Generator[ValidationError]:
    if wanted is not True or not isinstance(value, list):
        return
    items = cast("list[object]", value)
    # Numbers that are equal are written alike, so that 1 and 1.0 are one item, as the draft has it; true is not 1.
    if len({json.dumps(_normal(item), sort_keys=True) for item in items}) < len(items):
        yield ValidationError("has items that are not unique")


def _normal(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_normal(item) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        return {key: _normal(item) for key, item in cast("dict[str, object]", value).items()}
    return value


def _pattern(validator: object, pattern: str, value: object, schema: object) -> Generator[ValidationError]:
    if isinstance(value, str) and not matches(pattern, value):
        yield ValidationError(f"{value[:60]!r} does not match {pattern[:60]!r}")


def matches(pattern: str, text: str) -> bool:
    """Whether an author's pattern is found in hostile text before the deadline."""
    try:
        return regex.search(pattern, text, timeout=PATTERN_TIMEOUT_S, concurrent=False) is not None
    except TimeoutError:
        return False


_extend: Callable[..., Any] = cast("Any", jsonschema.validators).extend  # typed in part only
_Strict: Any = _extend(
    Draft202012Validator,
    validators=cast("Mapping[str, Callable[..., Any]]", {"uniqueItems": _unique, "pattern": _pattern}),
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)
