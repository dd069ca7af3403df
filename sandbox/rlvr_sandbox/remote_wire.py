"""What client and service of a remote sandbox say to each other: frames of plain values, and a handshake that never sends the token.

A frame is a length and one encoded tuple led by a name (`frames.py`, `codec.py`). Values that a program made travel encoded inside
the frame, so that the limits of the codec mean the same on either side.

    service   ("hello", version, nonce)
    client    ("hello", version, nonce, proof)             proof: HMAC-SHA256 of both nonces under the token
    service   ("welcome", proof, what protects a box)      or ("refused", why)
    client    ("run", program, stdin, args, kwargs) | ("open", program, stdin) | ("pair", program, program)
    service   ("result", ...) | ("opened",) | ("busy", why) | ("failed", why)
    client    ("load" | "wait" | "message" | "outcome" | "result", box) | ("call", box, args, kwargs) | ("send", box, bytes) | ("close",)
    service   ("outcome", ...) | ("result", ...) | ("message", bytes or None) | ("sent",) | ("closed",) | ("failed", why)
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from typing import Any, cast

from rlvr_sandbox.codec import CodecError, decode, encode
from rlvr_sandbox.errors import SandboxError
from rlvr_sandbox.line import LENGTH, MAX_MESSAGE_BYTES
from rlvr_sandbox.types import Limits, Outcome, Program, Result

VERSION = 2
ADDRESS_VARIABLE = "RLVR_SANDBOX_ADDRESS"
TOKEN_VARIABLE = "RLVR_SANDBOX_TOKEN"
SHORTEST_TOKEN = 16
NONCE_BYTES = 32
MAX_GREETING = 8192
"""Bytes of a frame before the other side has proven itself."""
MAX_FRAME = MAX_MESSAGE_BYTES
MAX_OUTPUT = MAX_FRAME // 2
"""Bytes of output or value that a program may be allowed, or its result would not fit into a frame."""
GRACE_S = 30.0
"""How much longer than the program's own time an answer may take."""


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """`unix:/path` or `tcp:host:port`."""

    path: str = ""
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"tcp:{self.host}:{self.port}"


def parsed_address(text: str) -> Address:
    """Raises SandboxError on anything that is no address."""
    if match := re.fullmatch(r"unix:(/.+)", text):
        return Address(path=match[1])
    if (match := re.fullmatch(r"tcp:(.+):(\d{1,5})", text)) and int(match[2]) < 2**16:
        return Address(host=match[1].strip("[]"), port=int(match[2]))
    raise SandboxError(f"{text!r} is no address of a sandbox service; give unix:/path/to/socket or tcp:host:port")


def token_from_environment() -> bytes:
    """Empty where there is none. Raises SandboxError on a short one."""
    token = os.environ.get(TOKEN_VARIABLE, "")
    if token and len(token) < SHORTEST_TOKEN:
        raise SandboxError(
            f"{TOKEN_VARIABLE} has {len(token)} characters; give {SHORTEST_TOKEN} or more, such as `openssl rand -hex 16` makes"
        )
    return token.encode()


def proof(token: bytes, role: str, nonces: bytes) -> bytes:
    """That this side knows the token; `role` keeps one side from repeating the other's."""
    return hmac.new(token, role.encode() + b"\0" + nonces, hashlib.sha256).digest()


def proven(given: object, token: bytes, role: str, nonces: bytes) -> bool:
    """In the same time whatever was given."""
    return isinstance(given, bytes) and hmac.compare_digest(given, proof(token, role, nonces))


def packed(*message: Any) -> bytes:
    body = encode(message, MAX_FRAME)
    return LENGTH.pack(len(body)) + body


def unpacked(body: bytes) -> tuple[Any, ...]:
    """Raises CodecError on what is no message."""
    message = decode(body, MAX_FRAME)
    if type(message) is not tuple or not message or type(cast("tuple[Any, ...]", message)[0]) is not str:
        raise CodecError("a message that is not one")
    return cast("tuple[Any, ...]", message)


def program_to_wire(program: Program) -> dict[str, Any]:
    """Raises SandboxError where its limits allow more than a frame holds."""
    limits = program.limits
    if max(limits.stdout_bytes, limits.value_bytes) > MAX_OUTPUT:
        raise SandboxError(
            f"a remote sandbox carries {MAX_OUTPUT} bytes of output at most; lower stdout_bytes or value_bytes"
        )
    fields: dict[str, Any] = {field.name: getattr(program, field.name) for field in dataclasses.fields(program)}
    return {**fields, "limits": dataclasses.asdict(limits)}


def program_from_wire(fields: Mapping[str, Any]) -> Program:
    """Raises ValueError or TypeError on what is no program."""
    values: dict[str, Any] = {**fields, "limits": Limits(**fields["limits"])}
    return Program(**values)


def outcome_to_wire(outcome: Outcome) -> tuple[Any, ...]:
    value = encode(outcome.value, MAX_OUTPUT)
    return ("outcome", outcome.status, value, outcome.error_type, outcome.message, outcome.wall_s)


def outcome_from_wire(message: tuple[Any, ...]) -> Outcome:
    _, status, value, error_type, text, wall_s = message
    return Outcome(status=status, value=decode(value, MAX_OUTPUT), error_type=error_type, message=text, wall_s=wall_s)


def result_to_wire(result: Result) -> tuple[Any, ...]:
    fields = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    return ("result", {**fields, "value": encode(result.value, MAX_OUTPUT)})


def result_from_wire(message: tuple[Any, ...]) -> Result:
    _, fields = message
    return Result(**{**fields, "value": decode(fields["value"], MAX_OUTPUT)})
