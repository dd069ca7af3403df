"""Rows of other trainers' data sets as tasks. (Files of such rows are read by the task source `jsonl` or `hf` with a column
mapping; these are for rows that a program already holds.)"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.types import Message, Task

OPEN_INSTRUCT: Mapping[str, str] = {"gsm8k": "math", "math": "math", "strict_math": "math", "string_matcher": "exact"}
"""open-instruct's verifier names (the column `dataset`) and ours."""


def task_from_verl_row(row: Mapping[str, Any], verifier: str, verifier_args: Mapping[str, Any] | None = None) -> Task:
    """{data_source, prompt, ability, reward_model: {ground_truth}, extra_info: {index, split, ...}}. Raises VerifierError."""
    extra = _object(row.get("extra_info"))
    return Task(
        id=f"{row.get('data_source', 'verl')}-{extra.get('index', '')}",
        prompt=_messages(row.get("prompt")),
        verifier=verifier,
        answer=_text(_object(row.get("reward_model")).get("ground_truth"), "reward_model.ground_truth"),
        verifier_args=verifier_args or {},
        data_source=str(row.get("data_source", "")),
        ability=str(row.get("ability", "")),
        split=str(extra.get("split", "train")),
        info=extra,
    )


def task_from_open_instruct_row(row: Mapping[str, Any], verifiers: Mapping[str, str] = OPEN_INSTRUCT) -> Task:
    """{messages, ground_truth, dataset}: `dataset` names the verifier. Raises VerifierError for one that is not in the table.

    Of several (lists in both columns) there must be one: a completion has one gold here; use `multi` for more.
    """
    name, gold = _only(row.get("dataset"), "dataset"), _only(row.get("ground_truth"), "ground_truth")
    if name not in verifiers:
        raise VerifierError(f"open-instruct verifier {name!r} has no counterpart given; known: {', '.join(verifiers)}")
    messages = [message for message in _messages(row.get("messages")) if message.get("role") != "assistant"]
    return Task(
        id=str(row.get("id", "")),
        prompt=tuple(messages),
        verifier=verifiers[str(name)],
        answer=_text(gold, "ground_truth"),
        data_source=str(name),
    )


def _messages(value: Any) -> tuple[Message, ...]:
    if isinstance(value, str):
        return ({"role": "user", "content": value},)
    if not isinstance(value, Sequence) or not value:
        raise VerifierError(f"prompt: found {value!r:.60}; a row needs messages or a text")
    return tuple(dict(cast("Mapping[str, Any]", message)) for message in cast("Sequence[object]", value))


def _only(value: Any, column: str) -> Any:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return value
    listed = cast("Sequence[Any]", value)
    if len(listed) != 1:
        raise VerifierError(f"{column}: found {len(listed)} entries; one is wanted, use the verifier multi for several")
    return listed[0]


def _object(value: Any) -> dict[str, Any]:
    value = json.loads(value) if isinstance(value, str) else value
    return dict(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else {}


def _text(value: Any, column: str) -> str:
    if value is None:
        raise VerifierError(f"{column}: missing; the row has no gold")
    return value if isinstance(value, str) else json.dumps(value)
