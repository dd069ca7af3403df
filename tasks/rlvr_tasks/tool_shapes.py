"""Descriptions of tools as data sets write them, as the OpenAI function schemas (JSON Schema) of the record.

bfcl: JSON Schema with types of its own (dict, float, tuple, any). xlam: a flat object of parameters with Python types such as
"List[int], optional". What a type does not say is left open, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

from rlvr_tasks.errors import TaskError

ToolShape = Literal["openai", "bfcl", "xlam"]

_BFCL_TYPES: Mapping[str, str | None] = {
    **{name: name for name in ("string", "integer", "boolean", "array", "object", "number", "null")},
    "dict": "object",
    "float": "number",
    "tuple": "array",
    "any": None,
    "": None,
}
_KEPT = ("description", "enum", "default", "format", "minimum", "maximum", "minItems", "maxItems")
_PYTHON_TYPES: Mapping[str, Mapping[str, Any]] = {
    **{name: {"type": "string"} for name in ("str", "string")},
    **{name: {"type": "integer"} for name in ("int", "integer")},
    **{name: {"type": "number"} for name in ("float", "number")},
    **{name: {"type": "boolean"} for name in ("bool", "boolean")},
    **{name: {"type": "array"} for name in ("list", "tuple", "set", "array")},
    **{name: {"type": "object"} for name in ("dict", "object")},
}
_LIST_OF = re.compile(r"(?:list|set)\[(\w+)\]", re.IGNORECASE)
_CONTAINER = re.compile(r"(list|set|tuple|dict)\[.*\]", re.IGNORECASE)
_OPTIONAL = re.compile(r"optional\[(.*)\]", re.IGNORECASE)


def openai_tools(value: Any, shape: ToolShape) -> list[dict[str, Any]]:
    """Function schemas of a row's tools. Raises TaskError where they have another shape."""
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list):
        raise TaskError(f"tools: expected a list of tools of the shape {shape}, found {type(value).__name__}")
    return [_tool(item, shape) for item in cast("list[Any]", value)]


def _tool(item: Any, shape: ToolShape) -> dict[str, Any]:
    kind = type(item).__name__
    outer: Mapping[str, Any] = cast("Mapping[str, Any]", item) if isinstance(item, Mapping) else {}
    function: object = outer.get("function", outer)
    if not isinstance(function, Mapping) or not function:
        raise TaskError(f"tools: a tool is {kind}, not an object with name, description and parameters")
    fields = cast("Mapping[str, Any]", function)
    name: object = fields.get("name")
    given: object = fields.get("parameters") or {}
    if not isinstance(name, str) or not isinstance(given, Mapping):
        raise TaskError("tools: a tool needs a name and an object of parameters")
    parameters = cast("Mapping[str, Any]", given)
    read: Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {"bfcl": bfcl_schema, "xlam": _xlam_schema}
    schema = read[shape](parameters) if shape in read else parameters
    description = str(fields.get("description") or "")
    return {"type": "function", "function": {"name": name, "description": description, "parameters": dict(schema)}}


def bfcl_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter schema of the Berkeley leaderboard as JSON Schema. Raises TaskError for a type that it cannot mean."""
    result = {key: schema[key] for key in _KEPT if key in schema}
    kind = schema.get("type", "")
    if not isinstance(kind, str) or kind not in _BFCL_TYPES:
        raise TaskError(f"tools: the type {kind!r} is none of {', '.join(filter(None, _BFCL_TYPES))}")
    if _BFCL_TYPES[kind] is not None:
        result["type"] = _BFCL_TYPES[kind]
    properties = schema.get("properties")
    if isinstance(properties, Mapping):
        members = cast("Mapping[str, Any]", properties)
        result["properties"] = {name: bfcl_schema(part) for name, part in members.items()}
        required = schema.get("required")
        if isinstance(required, list):
            result["required"] = [name for name in cast("list[str]", required) if name in members]
    if isinstance(schema.get("items"), Mapping):
        result["items"] = bfcl_schema(schema["items"])
    return _with_enum_of_items(result)


def _with_enum_of_items(schema: dict[str, Any]) -> dict[str, Any]:
    """The leaderboard writes what the items of an array may be beside the array."""
    choices: object = schema.get("enum")
    if schema.get("type") != "array" or not isinstance(choices, list):
        return schema
    if any(isinstance(item, list) for item in cast("list[object]", choices)):
        return schema
    items = {"enum": cast("list[object]", schema.pop("enum")), **schema.get("items", {})}
    return {**schema, "items": items}


def _xlam_schema(parameters: Mapping[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required: list[str] = []
    for name, part in parameters.items():
        if not isinstance(part, Mapping):
            raise TaskError(
                f"tools: the parameter {name!r} is {type(part).__name__}, not an object with type and description"
            )
        fields = cast("Mapping[str, Any]", part)
        words = str(fields.get("type", "")).strip()
        kind = re.sub(r",\s*(?:optional|default\b.*)$", "", words, flags=re.IGNORECASE)
        inner = _OPTIONAL.fullmatch(kind)
        optional = kind != words or inner is not None or "default" in fields
        properties[name] = {**_python_type(inner[1] if inner else kind), "description": str(fields.get("description") or "")}
        if not optional:
            required.append(name)
    return {"type": "object", "properties": properties, "required": required}


def _python_type(name: str) -> Mapping[str, Any]:
    known = _PYTHON_TYPES.get(name.lower())
    if known is not None:
        return known
    if listed := _LIST_OF.fullmatch(name):
        items = _PYTHON_TYPES.get(listed[1].lower())
        return {"type": "array", "items": items} if items else {"type": "array"}
    if container := _CONTAINER.fullmatch(name):
        return _PYTHON_TYPES[container[1].lower()]
    return {}
