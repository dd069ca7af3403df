"""`@tool` marks the methods of an environment that a policy may call; their schemas come from type hints and docstrings."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar, cast, get_type_hints

import docstring_parser
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError

from rlvr_verifiers.arguments import clip
from rlvr_verifiers.errors import VerifierError

Method = TypeVar("Method", bound=Callable[..., Any])
_MARK = "__rlvr_tool__"


class ToolError(Exception):
    """What a tool raises to tell the policy that its call cannot be carried out; the message is shown as it is."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """One callable method of an environment class."""

    name: str
    schema: Mapping[str, Any]
    """OpenAI function schema, `{"type": "function", "function": ...}`."""
    method: Callable[..., Any]
    arguments: type[BaseModel]

    def bind(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments as the method's types. Raises ToolError, in words for the policy, where they do not fit its schema."""
        try:
            model = self.arguments.model_validate_json(json.dumps(dict(arguments)), strict=True)
        except ValidationError as error:
            problems = [f"{'.'.join(map(str, part['loc'])) or 'arguments'}: {part['msg']}" for part in error.errors()[:3]]
            raise ToolError(clip("; ".join(problems), 300)) from None
        except (ValueError, RecursionError) as error:
            raise ToolError(f"arguments are no plain JSON data: {clip(str(error), 100)}") from None
        return {name: getattr(model, field) for field, name in _names(self.arguments)}


def tool(method: Method) -> Method:
    """Lets the policy call this method. Every parameter needs a type hint; the docstring is what the policy reads.

    @tool
    def move(self, source: str, target: str) -> str:
        \"\"\"Moves a file.

        Args:
            source: path of an existing file.
            target: path that does not exist yet.
        \"\"\"
    """
    setattr(method, _MARK, True)
    return method


@functools.lru_cache(maxsize=256)
def tools_of(environment: type) -> Mapping[str, Tool]:
    """Name to tool of an environment class, in the order of definition. Raises VerifierError where a tool cannot be described."""
    found: dict[str, Tool] = {}
    for parent in reversed(environment.__mro__):
        for name, member in vars(parent).items():
            if getattr(member, _MARK, False):
                found[name] = _described(environment, name, member)
            elif name in found:
                del found[name]  # overridden by something that is no tool
    if not found:
        raise VerifierError(
            f"environment {environment.__name__} has no method marked with @tool, so there is nothing to call"
        )
    return MappingProxyType(found)


def _described(environment: type, name: str, method: Callable[..., Any]) -> Tool:
    where = f"tool {environment.__name__}.{name}"
    doc = docstring_parser.parse(inspect.getdoc(method) or "")
    if not doc.short_description:
        raise VerifierError(f"{where} has no docstring; the policy needs to know what it does")
    try:
        hints = get_type_hints(method, include_extras=True)
    except Exception as error:  # whatever evaluating the author's annotations raises
        raise VerifierError(f"{where}: its type hints cannot be read ({error})") from error
    words = {parameter.arg_name: parameter.description or "" for parameter in doc.params}
    fields: dict[str, Any] = {}
    for parameter in list(inspect.signature(method).parameters.values())[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise VerifierError(f"{where}: parameter {parameter} cannot be given by name; write every parameter out")
        if parameter.name not in hints:
            raise VerifierError(f"{where}: parameter {parameter.name!r} has no type hint")
        default = ... if parameter.default is parameter.empty else parameter.default
        # The field's own name has a prefix, so that no parameter (`json`, `copy`) meets an attribute of the model.
        description = words.get(parameter.name) or None
        fields[f"a_{parameter.name}"] = (
            hints[parameter.name],
            Field(default, alias=parameter.name, description=description),
        )
    try:
        model = create_model(name, __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=False), **fields)
        parameters = _plain_schema(model.model_json_schema(by_alias=True))
    except PydanticUserError as error:
        raise VerifierError(f"{where}: {clip(str(error), 200)}; use plain JSON types in its signature") from error
    described = "\n".join(part for part in (doc.short_description, doc.long_description) if part)
    schema = {"type": "function", "function": {"name": name, "description": described, "parameters": parameters}}
    return Tool(name=name, schema=MappingProxyType(schema), method=method, arguments=model)


def _names(model: type[BaseModel]) -> list[tuple[str, str]]:
    return [(field, info.alias or field) for field, info in model.model_fields.items()]


def _plain_schema(schema: Any) -> Any:
    """Without pydantic's titles, which only cost tokens. A property may be called `title`: its value is an object."""
    if isinstance(schema, dict):
        members = cast("dict[str, Any]", schema)
        return {key: _plain_schema(part) for key, part in members.items() if key != "title" or isinstance(part, dict)}
    return [_plain_schema(part) for part in cast("list[Any]", schema)] if isinstance(schema, list) else schema
