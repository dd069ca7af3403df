"""How the pool and its workers talk: frames of length-prefixed JSON. Never pickle, since completions are hostile text.

Text may hold lone surrogates (a byte-level tokenizer cut in a character): `surrogatepass` carries them unchanged.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any, cast

from rlvr_verifiers.types import Completion, Task

_LENGTH = struct.Struct(">I")
MAX_FRAME = 256 * 1024 * 1024
"""Bytes; a longer length prefix means that the stream is not ours."""


def pack(frame: Mapping[str, Any]) -> bytes:
    """One frame as bytes. Raises TypeError or ValueError where a value is not plain JSON data."""
    body = _encode(frame).encode("utf-8", "surrogatepass")
    if len(body) > MAX_FRAME:
        raise ValueError(f"a frame of {len(body)} bytes is over the limit of {MAX_FRAME}")
    return _LENGTH.pack(len(body)) + body


class FrameBuffer:
    """Bytes in, in any portions; whole frames out."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """Raises ValueError where the bytes are not frames."""
        self._bytes += data
        position = 0
        try:
            while len(self._bytes) - position >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(self._bytes, position)
                if length > MAX_FRAME:
                    raise ValueError(f"a frame announces {length} bytes")
                end = position + _LENGTH.size + length
                if len(self._bytes) < end:
                    break
                body = self._bytes[position + _LENGTH.size : end]
                position = end
                yield cast(dict[str, Any], json.loads(body.decode("utf-8", "surrogatepass")))
        finally:
            del self._bytes[:position]


def task_to_wire(task: Task) -> dict[str, Any]:
    """Like `Task.to_json`, without its deep copies: the values go straight into an encoder."""
    return {
        "id": task.id,
        "prompt": _plain(task.prompt),
        "verifier": task.verifier,
        "answer": task.answer,
        "verifier_args": _plain(task.verifier_args),
        "tools": _plain(task.tools),
        "environment": task.environment,
        "env_args": _plain(task.env_args),
        "data_source": task.data_source,
        "ability": task.ability,
        "split": task.split,
        "info": _plain(task.info),
    }


def completion_to_wire(completion: Completion) -> dict[str, Any]:
    """Text, messages and how it ended. Token ids, log-probs and masks stay behind: verifiers judge text."""
    return {
        "text": completion.text,
        "messages": _plain(completion.messages),
        "finish_reason": completion.finish_reason,
        "policy_version": completion.policy_version,
    }


def _plain(value: object) -> Any:
    if isinstance(value, dict | str):
        return cast(Any, value)
    if isinstance(value, Mapping):
        return dict(cast(Mapping[str, Any], value))
    return list(cast(tuple[Any, ...], value))


def _mapping(value: object) -> Any:
    if isinstance(value, Mapping):
        return dict(cast(Mapping[str, Any], value))
    raise TypeError(f"{type(value).__name__} is not plain JSON data")


_encode = json.JSONEncoder(ensure_ascii=False, default=_mapping).encode
