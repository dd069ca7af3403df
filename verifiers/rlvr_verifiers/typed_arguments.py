"""A verifier's own parameters as its `verifier_args`: what its signature declares is what a task may say.

    def score(task, completion, *, tolerance: float = 0.0, units: list[str] = ()): ...      keyword-only parameters
    def score(task, completion, args: Options): ...                                         a dataclass or pydantic model

Values are checked as strict JSON (no "3" for 3, no 1 for true), an unknown key is refused with a suggestion, and null counts as
absent, because Arrow fills absent keys with it.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import json
import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from rlvr_verifiers.arguments import clip
from rlvr_verifiers.errors import VerifierError

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TypedArguments:
    """How one function takes its `verifier_args`."""

    verifier: str
    names: tuple[str, ...]
    read: Callable[[str], tuple[tuple[Any, ...], Mapping[str, Any]]]
    """Canonical JSON of the arguments to what is passed behind task and completion. Raises pydantic's ValidationError."""

    def bind(self, arguments: Mapping[str, Any]) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """What to pass behind task and completion: positional, keyword. Raises VerifierError on a value or key that is wrong."""
        given = {key: value for key, value in arguments.items() if value is not None}
        for key in given:
            if key not in self.names:
                near = difflib.get_close_matches(str(key), self.names, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(self.names) or 'none'}"
                raise VerifierError(f"verifier_args of {self.verifier!r} has an unknown key {key!r}; {hint}")
        try:
            return self.read(json.dumps(given, sort_keys=True))
        except ValueError as error:  # pydantic's ValidationError is one
            raise VerifierError(f"verifier_args of {self.verifier!r}: {_first(error)}") from None


def declared_arguments(verifier: str, function: Callable[..., object]) -> TypedArguments | None:
    """What the signature declares behind task and completion; None where it takes nothing more.

    Raises VerifierError where it declares something that cannot be filled from JSON.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a builtin: it has no signature to read
        return None
    more = [each for each in parameters[2:] if each.kind is not each.VAR_POSITIONAL]
    if any(each.kind is each.VAR_KEYWORD for each in more):
        raise VerifierError(
            f"verifier {verifier!r} takes **kwargs; name each argument, so that a misspelt one is an error and not ignored"
        )
    keywords = [each for each in more if each.kind is each.KEYWORD_ONLY]
    positional = [each for each in more if each.kind is not each.KEYWORD_ONLY]
    if not more:
        return None
    if len(positional) > 1 or (positional and keywords):
        raise VerifierError(
            f"verifier {verifier!r} must take (task, completion), then either one `args` or keyword-only arguments (behind a *)"
        )
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as error:
        raise VerifierError(f"verifier {verifier!r}: the annotations of its arguments cannot be read: {error}") from error
    return _from_model(verifier, positional[0], hints) if positional else _from_keywords(verifier, keywords, hints)


def _from_model(verifier: str, parameter: inspect.Parameter, hints: Mapping[str, Any]) -> TypedArguments:
    model: Any = hints.get(parameter.name)
    if not isinstance(model, type):
        raise VerifierError(
            f"verifier {verifier!r}: annotate its argument {parameter.name!r} with a dataclass or pydantic model"
        )
    kind = cast(Any, model)
    if dataclasses.is_dataclass(kind):
        names = tuple(field.name for field in dataclasses.fields(kind) if field.init)
    elif hasattr(kind, "model_fields"):
        fields: Mapping[str, Any] = kind.model_fields  # pydantic's; not imported for this
        names = tuple(field.alias or name for name, field in fields.items())
    else:
        raise VerifierError(
            f"verifier {verifier!r}: its argument {parameter.name!r} is a {kind.__name__}; use a dataclass or pydantic model"
        )
    adapter = _Lazy(kind)

    @functools.lru_cache(maxsize=256)
    def read(text: str) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        return (adapter.validate(text),), {}

    return TypedArguments(verifier=verifier, names=names, read=read)


def _from_keywords(verifier: str, parameters: list[inspect.Parameter], hints: Mapping[str, Any]) -> TypedArguments:
    for each in parameters:
        if each.name not in hints:
            raise VerifierError(
                f"verifier {verifier!r}: its argument {each.name!r} has no type; annotate it, as in {each.name}: float"
            )
    types = {each.name: hints[each.name] for each in parameters}
    required = frozenset(each.name for each in parameters if each.default is each.empty)
    optional = {name: kind for name, kind in types.items() if name not in required}
    annotations = {**{name: typing.Required[types[name]] for name in required}, **optional}
    adapter = _Lazy(_typed_dict(annotations))

    @functools.lru_cache(maxsize=256)
    def read(text: str) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        return (), cast("Mapping[str, Any]", adapter.validate(text))

    return TypedArguments(verifier=verifier, names=tuple(types), read=read)


def _typed_dict(annotations: Mapping[str, Any]) -> Any:
    from typing_extensions import TypedDict  # pydantic reads no other below Python 3.12

    return cast(Any, TypedDict)("verifier_args", dict(annotations), total=False)


class _Lazy:
    """pydantic costs a tenth of a second, so it is imported when the first argument is read."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self._adapter: TypeAdapter[Any] | None = None

    def validate(self, text: str) -> Any:
        if self._adapter is None:
            from pydantic import TypeAdapter

            self._adapter = TypeAdapter(self._kind)
        return self._adapter.validate_json(text, strict=True)


def _first(error: ValueError) -> str:
    """pydantic's first complaint in one line."""
    listed = getattr(error, "errors", None)
    if listed is None:
        return clip(str(error), 200)
    first = listed()[0]
    place = ".".join(str(part) for part in first["loc"])
    found = "" if first["type"] == "missing" else f" (found {clip(repr(first['input']), 60)})"
    return f"{place!r}: {first['msg']}{found}"
