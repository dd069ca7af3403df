"""What calls do to a fresh environment: how a gold, and a policy's conversation, become a final state."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Generator, Mapping, Sequence
from typing import Any, cast

from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.tool_call import Call
from rlvr_verifiers.tool_call.formats.openai import read_message
from rlvr_verifiers.tool_env.instance import Instance, ToolResult
from rlvr_verifiers.types import Completion, Message, Task

_KEPT = 1_000
"""Characters of a result: nobody reads it here but who explains a gold that fails."""
_DECIMAL_BITS = 1024
"""Far below what `str` takes of an int (4,300 digits)."""


@contextlib.contextmanager
def opened(task: Task) -> Generator[Instance]:
    """A fresh environment, closed at the end. Raises VerifierError as `Instance` does."""
    instance = Instance(task)
    try:
        yield instance
    finally:
        instance.close()


def replay(instance: Instance, calls: Sequence[Call]) -> list[ToolResult]:
    """Runs calls as an episode does, without its clock. Raises VerifierError where the environment itself fails."""
    return [instance.run(call, _KEPT) for call in calls]


def executed(completion: Completion) -> tuple[Call, ...]:
    """The calls that were run in a conversation: from the tool messages, where an `Episode` noted them, or else the calls of the
    assistant's messages, as servers return them. Calls of the last message were not run."""
    noted = [call for message in completion.messages if (call := _noted(message)) is not None]
    if noted:
        return tuple(noted)
    earlier = [message for message in completion.messages[:-1] if message.get("role") == "assistant"]
    return tuple(call for message in earlier if message.get("tool_calls") for call in read_message(message).calls)


def _noted(message: Message) -> Call | None:
    if message.get("role") != "tool" or "arguments" not in message:
        return None
    name, arguments = message.get("name"), message.get("arguments")
    if not isinstance(name, str) or not isinstance(arguments, Mapping):
        return None
    return Call(name=name, arguments=dict(cast("Mapping[str, Any]", arguments)))


def state_of(instance: Instance) -> str:
    """The environment's state as canonical text. Raises VerifierError where it is no plain data."""
    environment: object = instance.environment
    method = getattr(environment, "state", None)
    attributes: dict[str, object] = {name: value for name, value in vars(environment).items() if not name.startswith("_")}
    state: object = instance.finished(method()) if callable(method) else attributes
    try:
        return json.dumps(_plain(state), sort_keys=True, ensure_ascii=False)
    except RecursionError:
        raise VerifierError(f"the state of environment {type(environment).__name__} is nested too deeply") from None


def _plain(value: object) -> object:
    """As JSON holds it; a number that is whole is one number however it is stored. It is written in hexadecimal, for which none is too
    long, and text is marked, so that it never reads as a number."""
    match value:
        case None | bool():
            return value
        case str():
            return "'" + value
        case int():
            return hex(value)
        case float():
            return hex(int(value)) if value.is_integer() else value
        case Mapping():
            members = cast("Mapping[object, object]", value)
            return {_key(key): _plain(part) for key, part in members.items()}
        case list() | tuple():
            return [_plain(part) for part in cast("Sequence[object]", value)]
        case set() | frozenset():
            return sorted(json.dumps(_plain(part), sort_keys=True) for part in cast("frozenset[object]", value))
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        case _:
            raise VerifierError(
                f"a state holds {type(value).__name__}; give the environment a method state() that returns plain JSON data"
            )


def _key(key: object) -> str:
    """As JSON writes it, but for a number that is too long to be written in decimals."""
    return hex(key) if isinstance(key, int) and key.bit_length() > _DECIMAL_BITS else str(key)
