"""The record: one JSONL line or parquet row a task, and its two-way translation to `Task`.

Nested fields (`tools`, `verifier_args`, `env_args`, `info`) are written as JSON strings, because Arrow unifies structs and
fills absent keys with null, which silently rewrites golds and schemas. Real JSON objects are accepted on reading.
Columns that are not fields of the record are kept in `info` under their own names, as JSON or else as text.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from rlvr_tasks.errors import TaskError
from rlvr_tasks.preferences import is_preference, with_plain_preference
from rlvr_verifiers.types import Message, Task

FIELDS = (
    "id", "prompt", "tools", "verifier", "answer", "verifier_args", "environment", "env_args",
    "data_source", "ability", "split", "info",
)  # fmt: skip
ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})


def task_from_record(record: Mapping[str, Any], where: str = "record") -> Task:
    """Translates one row strictly.

    A row that can only be learnt from (its prompt ends in an assistant turn, `info` has a `demonstration`, or the row says which
    completion is preferred) may leave out `verifier` and `answer`; every other row needs both. `where` (file:line) opens the
    message of the TaskError that any unusable field raises. Without an `id` the task gets `content_id`.
    """
    try:
        return _task(record)
    except TaskError as error:
        raise TaskError(f"{where}: {error}") from None


def record_from_task(task: Task) -> dict[str, Any]:
    """The row of a task, nested values as JSON strings; `task_from_record` gives the same task back."""
    return {
        "id": task.id,
        "prompt": [dict(message) for message in task.prompt],
        "tools": canonical_json(task.tools) if task.tools else None,
        "verifier": task.verifier,
        "answer": task.answer,
        "verifier_args": canonical_json(task.verifier_args),
        "environment": task.environment,
        "env_args": canonical_json(task.env_args),
        "data_source": task.data_source,
        "ability": task.ability,
        "split": task.split,
        "info": canonical_json(task.info),
    }


def content_id(task: Task) -> str:
    """16 hex digits over what makes the task what it is: prompt, tools, verifier, gold and environment."""
    record = record_from_task(task)
    kept = {name: record[name] for name in FIELDS[1:8]}
    return hashlib.sha256(canonical_json(kept).encode()).hexdigest()[:16]


def fingerprint(tasks: Iterable[Task]) -> str:
    """SHA-256 over the canonical records in their order: the data identity that a run manifest keeps."""
    digest = hashlib.sha256()
    for task in tasks:
        digest.update(canonical_json(record_from_task(task)).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def canonical_json(value: Any) -> str:
    """Compact JSON with sorted keys: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def parse_json(text: str) -> Any:
    """JSON without its silent traps: NaN and repeated keys are refused with TaskError."""
    try:
        return json.loads(text, object_pairs_hook=_no_repeated_keys, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise TaskError(f"not valid JSON ({error.msg.removesuffix(' at')} at column {error.colno})") from None
    except RecursionError:
        raise TaskError("JSON is nested too deeply to read") from None


def _task(record: Mapping[str, Any]) -> Task:
    record = with_plain_preference(record)
    prompt = _prompt(record)
    info = _info(record)
    learn_only = prompt[-1]["role"] == "assistant" or bool(info.get("demonstration")) or is_preference(info)
    verifier = _text(record, "verifier", required=not learn_only)
    task = Task(
        id=_id(record),
        prompt=prompt,
        tools=_tools(record),
        verifier=verifier,
        answer=_answer(record, required=bool(verifier)),
        verifier_args=_object(record, "verifier_args"),
        environment=_text(record, "environment") or None,
        env_args=_object(record, "env_args"),
        data_source=_text(record, "data_source"),
        ability=_text(record, "ability"),
        split=_text(record, "split") or "train",
        info=info,
    )
    try:
        canonical_json(record_from_task(task)).encode()
    except UnicodeEncodeError:
        raise TaskError("text with half of a surrogate pair; re-encode the file as UTF-8") from None
    except (TypeError, ValueError) as error:
        raise TaskError(f"a value that JSON cannot hold ({error}); write dates and bytes as text") from None
    return task if task.id else dataclasses.replace(task, id=content_id(task))


def _id(record: Mapping[str, Any]) -> str:
    value = record.get("id")
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise TaskError(f"id: expected text or an integer, found {_shown(value)}; leave it out for a content hash")
    return str(value)


def _text(record: Mapping[str, Any], name: str, *, required: bool = False) -> str:
    value = record.get(name)
    if value is None or value == "":
        if required:
            raise TaskError(f"{name}: missing; add it to the row, or name it once in the source's arguments")
        return ""
    if not isinstance(value, str):
        raise TaskError(f"{name}: expected text, found {_shown(value)}")
    return value


def _answer(record: Mapping[str, Any], *, required: bool) -> str:
    """Numbers become their own text and structures JSON text; a truth value is refused, its spelling would be a guess."""
    value = record.get("answer")
    if value is None:
        if required:
            raise TaskError('answer: missing; add the gold answer ("" where the verifier needs none)')
        return ""
    if isinstance(value, bool):
        raise TaskError(f"answer: found {_shown(value)}; write the text that the policy should answer")
    return value if isinstance(value, str) else _json_text(value, "answer")


def _json_text(value: Any, name: str) -> str:
    try:
        return canonical_json(value)
    except (TypeError, ValueError) as error:
        raise TaskError(f"{name}: {error}") from None


def _prompt(record: Mapping[str, Any]) -> tuple[Message, ...]:
    value = record.get("prompt")
    if value is None:
        others = ", ".join(str(name) for name in record if name not in FIELDS) or "no other columns"
        raise TaskError(f"prompt: missing; the row has {others}: map one with columns: {{prompt: NAME}}")
    if isinstance(value, str):
        value = [{"role": "user", "content": value}]
    if not isinstance(value, Sequence) or not value:
        raise TaskError(f"prompt: expected text or a list of messages, found {_shown(value)}")
    return tuple(_message(item, number) for number, item in enumerate(cast("Sequence[Any]", value)))


def _message(value: Any, number: int) -> Message:
    at = f"prompt[{number}]"
    if not isinstance(value, Mapping):
        raise TaskError(f"{at}: expected {{role, content}}, found {_shown(value)}")
    message = {key: item for key, item in cast("Mapping[str, Any]", value).items() if item is not None}
    if message.get("role") not in ROLES:
        raise TaskError(f"{at}.role: found {_shown(message.get('role'))}; use one of {', '.join(sorted(ROLES))}")
    content = message.get("content")
    if content is None and message.get("tool_calls"):
        return {**message, "content": ""}
    if not isinstance(content, str):
        raise TaskError(f"{at}.content: expected text, found {_shown(content)}")
    if message["role"] == "user" and not content.strip():
        raise TaskError(f"{at}.content: empty; remove the row or fill the prompt")
    return message


def _tools(record: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    value = _decoded(record, "tools")
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in cast("list[Any]", value)):
        raise TaskError(f"tools: expected a JSON list of function schemas, found {_shown(value)}")
    return tuple(cast("list[dict[str, Any]]", value))


def _object(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = _decoded(record, name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise TaskError(f"{name}: expected a JSON object, found {_shown(value)}")
    return cast("dict[str, Any]", value)


def _info(record: Mapping[str, Any]) -> dict[str, Any]:
    info = _object(record, "info")
    extra = {str(name): _plain(value) for name, value in record.items() if name not in FIELDS and value is not None}
    if clash := sorted(info.keys() & extra.keys()):
        raise TaskError(f"info: {clash[0]} is also a column of the row; keep it in one place")
    return {**info, **extra}


def _plain(value: Any) -> Any:
    """A spare column as JSON holds it; what parquet knows and JSON does not (dates, NaN, bytes) becomes text."""
    return json.loads(json.dumps(value, default=str), parse_constant=str)


def _decoded(record: Mapping[str, Any], name: str) -> Any:
    value = record.get(name)
    if not isinstance(value, str):
        return value
    try:
        return parse_json(value) if value else None
    except TaskError as error:
        raise TaskError(f"{name}: {error}") from None


def _no_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        raise TaskError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} appears twice in one JSON object")
    return result


def _no_constant(name: str) -> Any:
    raise TaskError(f"{name} is not JSON; write a number or text")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
