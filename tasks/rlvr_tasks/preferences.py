"""Rows that say which completion is better, in the hub's conventions, brought to one form and checked.

    prompt, chosen, rejected       text or messages; where `prompt` is missing it is what both conversations share
    prompt, completion, label      one completion, and true where it is good (KTO)

Read by `task_from_record`, such a row becomes a task whose `info` has `chosen` and `rejected` (or `completion` and `label`) as plain
text: what the assistant writes after the task's prompt. Which rows cannot teach a preference is found by `unusable_preferences`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from rlvr_tasks.errors import TaskError
from rlvr_verifiers.types import Task

PREFERENCE_COLUMNS = ("chosen", "rejected", "completion", "label")
"""Columns beyond the record's fields that a config may map."""

SCORE_COLUMNS = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("chosen_rating", "rejected_rating"),
    ("chosen-rating", "rejected-rating"),
)
"""Where data sets keep what their judge gave both sides."""

# Marks of chat templates; none belongs into the words of a turn, because the template is put around them here.
TEMPLATE_MARK = re.compile(
    r"<\|[A-Za-z_]{2,30}\|>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|\n\nHuman: |\n\nAssistant: |^### (?:Assistant|Response):",
    re.MULTILINE,
)

Messages = Sequence[Mapping[str, Any]]


def is_preference(info: Mapping[str, Any]) -> bool:
    """Whether a task with this `info` says what is preferred."""
    return is_pair(info) or ("completion" in info and isinstance(info.get("label"), bool))


def is_pair(info: Mapping[str, Any]) -> bool:
    return "chosen" in info and "rejected" in info


def with_plain_preference(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row with its prompt filled in and its completions as plain text; rows without a preference come back as they are.

    Raises TaskError where a completion does not continue the prompt with exactly one assistant turn.
    """
    if not is_preference(record):
        return record
    names = ("chosen", "rejected") if is_pair(record) else ("completion",)
    sides = {name: _conversation(record[name], name) for name in names}
    prompt: Any = record.get("prompt")
    if prompt is None:
        prompt = _shared_opening(list(sides.values()))
    opening = _conversation(prompt, "prompt")
    if isinstance(opening, str):
        opening = [{"role": "user", "content": opening}]
    return {**record, "prompt": prompt, **{name: _words(side, opening, name) for name, side in sides.items()}}


def unusable_preferences(tasks: Sequence[Task], special_tokens: Iterable[str] = ()) -> dict[int, str]:
    """Position of every task that cannot teach a preference -> why, in a few words.

    `special_tokens` are the tokenizer's own; like the marks of any chat template they have no place in a turn's words.
    """
    marks = [token for token in special_tokens if len(token) > 2]
    labels = _labels(tasks)
    found: dict[int, str] = {}
    for number, task in enumerate(tasks):
        problem = _side_problem(task, marks) or _pair_problem(task)
        if problem is None and any(len(labels[key]) > 1 for key in _labelled(task)):
            problem = "contradictory: the same prompt has this preference the other way round, too"
        if problem is not None:
            found[number] = problem
    return found


def _side_problem(task: Task, marks: Sequence[str]) -> str | None:
    """Why a completion (or the prompt) of this task is not the words of a turn."""
    sides = {name: str(task.info[name]) for name in ("chosen", "rejected", "completion") if name in task.info}
    question = next((str(m.get("content", "")) for m in reversed(task.prompt) if m.get("role") == "user"), "")
    for name, text in {**sides, "prompt": question}.items():
        if not text.strip():
            return f"empty {name}"
        mark = TEMPLATE_MARK.search(text)
        seen = mark.group().strip() if mark else next((token for token in marks if token in text), None)
        if seen is not None:
            return f"template mismatch: {name} holds {seen!r}; give plain text, the model's own template is put around it"
    if question.strip() and all(text.lstrip().startswith(question.strip()) for text in sides.values()) and len(sides) > 1:
        return "template mismatch: chosen and rejected repeat the prompt"
    return None


def _pair_problem(task: Task) -> str | None:
    if not is_pair(task.info):
        return None
    if str(task.info["chosen"]).strip() == str(task.info["rejected"]).strip():
        return "identical: chosen and rejected are the same"
    for good, bad in SCORE_COLUMNS:
        scores = task.info.get(good), task.info.get(bad)
        numbers = [float(s) for s in scores if isinstance(s, int | float) and not isinstance(s, bool)]
        if len(numbers) == 2 and numbers[0] < numbers[1]:
            return f"swapped: {good} {numbers[0]:g} is below {bad} {numbers[1]:g}"
    return None


def _labelled(task: Task) -> list[tuple[str, ...]]:
    """What this task says, without the direction: (prompt, the two sides in order), or (prompt, completion)."""
    prompt = repr([(m.get("role"), m.get("content")) for m in task.prompt])
    if is_pair(task.info):
        return [(prompt, *sorted((str(task.info["chosen"]), str(task.info["rejected"]))))]
    return [(prompt, str(task.info["completion"]))]


def _labels(tasks: Sequence[Task]) -> dict[tuple[str, ...], Counter[object]]:
    """What was said -> the directions in which it was said."""
    labels: dict[tuple[str, ...], Counter[object]] = {}
    for task in tasks:
        direction = str(task.info["chosen"]) if is_pair(task.info) else task.info["label"]
        for key in _labelled(task):
            labels.setdefault(key, Counter())[direction] += 1
    return labels


def _conversation(value: Any, name: str) -> str | Messages:
    """Text as it is; messages without the empty keys that Arrow adds."""
    if isinstance(value, str):
        return value
    items = cast("Messages", value if isinstance(value, list | tuple) else ())
    if not items or not all(isinstance(item, Mapping) for item in cast("Sequence[object]", items)):
        raise TaskError(f"{name}: expected text or a list of messages, found {type(cast('object', value)).__name__}")
    return [{key: part for key, part in item.items() if part is not None} for item in items]


def _shared_opening(sides: Sequence[str | Messages]) -> Messages:
    """The messages that all sides begin with, up to their last assistant turn."""
    if any(isinstance(side, str) for side in sides):
        raise TaskError("prompt: missing; map it with columns: {prompt: NAME}, or give the completions as messages")
    conversations = [list(side) for side in sides if not isinstance(side, str)]
    opening = conversations[0][:-1]
    for other in conversations[1:]:
        if other[:-1] != opening:
            raise TaskError("chosen and rejected differ before their last message; a pair shares its prompt")
    if not opening:
        raise TaskError("prompt: missing, and the completions share no messages; map it with columns: {prompt: NAME}")
    return opening


def _words(side: str | Messages, opening: Messages, name: str) -> str:
    if isinstance(side, str):
        return side
    spoken = [message for message in opening if message.get("role") != "system"]
    for start in (list(opening), spoken):
        if list(side[: len(start)]) == start:
            side = side[len(start) :]
            break
    if len(side) != 1 or side[0].get("role") != "assistant" or not isinstance(side[0].get("content"), str):
        raise TaskError(
            f"{name}: {len(side)} messages that do not continue the prompt with one assistant turn; give that turn, or the whole "
            "conversation with the prompt's own messages"
        )
    return side[0]["content"]
