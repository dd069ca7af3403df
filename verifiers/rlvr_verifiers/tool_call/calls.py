"""What a policy's turn holds once it is read: words, tool calls, and what is wrong with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast

from rlvr_verifiers.strict_json import JsonError, JsonTooLargeError

MAX_CALLS = 64
"""Calls in one turn."""
MAX_NAME = 256
"""Characters of a tool's name."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One call of a tool, as the policy wrote it; nothing is checked against a schema yet."""

    name: str
    arguments: Mapping[str, Any]
    id: str = ""
    """Where the format has ids; the tool message that answers the call repeats it."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ParseFailure:
    """Something in the turn that was meant as a call and cannot be read as one."""

    kind: Literal["malformed", "too_large"]
    message: str
    """One line that can be shown to the policy."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ParsedCalls:
    """A turn, read. A turn without calls and without failures is a plain reply."""

    content: str
    """The words around the calls."""
    calls: tuple[Call, ...] = ()
    """In the order they were written. After a failure these may not be all that the policy meant."""
    failures: tuple[ParseFailure, ...] = ()
    format: str = ""
    """The format that was read; `auto` is resolved."""

    @property
    def attempted(self) -> bool:
        """Whether the policy tried to call anything."""
        return bool(self.calls or self.failures)


class CallError(JsonError):
    """A text that is not a call of its format."""


def failed(error: Exception | str) -> ParseFailure:
    """The failure that an error of reading stands for."""
    kind = "too_large" if isinstance(error, JsonTooLargeError) else "malformed"
    return ParseFailure(kind=kind, message=" ".join(str(error).split())[:300])


def call_of(value: object, *, also: Iterable[str] = ()) -> Call:
    """The call that a JSON object `{"name": ..., "arguments": ...}` is; `parameters` is the same as `arguments`.

    also: keys that the format allows beside these (`id`, `type`). Raises CallError for anything else.
    """
    if not isinstance(value, dict):
        raise CallError(f"a call has to be a JSON object, not {type(value).__name__}")
    fields = cast("dict[str, object]", value)
    keys = [key for key in ("arguments", "parameters") if key in fields]
    if len(keys) != 1 or "name" not in fields:
        raise CallError('a call needs "name" and "arguments"')
    extra = fields.keys() - {"name", keys[0], *also}
    if extra:
        raise CallError(f"a call has the unexpected key {min(extra)[:40]!r}")
    if fields.get("type", "function") != "function":
        raise CallError('the "type" of a call has to be "function"')
    identity = fields.get("id", "")
    return made(fields["name"], fields[keys[0]], identity if isinstance(identity, str) else "")


def made(name: object, arguments: object, identity: str = "") -> Call:
    """A call from its parts. Raises CallError where they are not a name and a JSON object."""
    if not isinstance(name, str) or not name or len(name) > MAX_NAME or name != name.strip():
        raise CallError(f"the name of a call has to be text of 1 to {MAX_NAME} characters without blanks around it")
    if not isinstance(arguments, dict):
        raise CallError(f"the arguments of {name!r} have to be a JSON object, not {type(arguments).__name__}")
    return Call(name=name, arguments=cast("dict[str, Any]", arguments), id=identity)
