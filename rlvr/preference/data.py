"""From preference tasks to token groups: a pair is a group of two, a single labelled completion a group of one.

Rows that cannot teach a preference, and rows that are too long, are refused or dropped as the config says; either way they are
counted and said, never lost in silence.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from rlvr.chat_template import ChatFormat
from rlvr.config.schema import PairStageConfig
from rlvr.errors import RlvrError
from rlvr.token_groups import TokenGroup
from rlvr_tasks.preferences import is_pair, is_preference, unusable_preferences
from rlvr_verifiers.types import Task

SHOWN = 5
"""Unusable rows spelled out in an error; the rest is counted by kind."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairTasks:
    """The tasks of a stage that learns from preferences."""

    train: tuple[Task, ...] = ()
    held_out: tuple[Task, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One preference as token ids."""

    id: str
    index: int
    """Its place in the data that is used; the reference's log-probs stand in the same order."""
    tokens: TokenGroup  # [G]: chosen and rejected, or one completion
    desirable: tuple[bool, ...]  # [G]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    examples: tuple[Example, ...]
    notes: tuple[str, ...]
    """What was left out or cut, one sentence each."""


def prepare(tasks: Sequence[Task], chat: ChatFormat, config: PairStageConfig, *, where: str, pairs_only: bool) -> Prepared:
    """The tasks' preferences as tokens. Raises `RlvrError` for rows without a preference, unusable rows, and where nothing is left.

    `where` is the setting that the tasks come from.
    """
    section = where.partition(".")[0]
    _require_preferences(tasks, where, pairs_only=pairs_only)
    problems = unusable_preferences(tasks, [str(token) for token in chat.tokenizer.all_special_tokens])
    notes: list[str] = []
    if problems:
        told = _tell(tasks, problems, where)
        if config.unusable == "refuse":
            raise RlvrError(f"{told}. Mend the data, or set {section}.unusable=drop")
        notes.append(f"{told}: dropped")
    usable = [task for number, task in enumerate(tasks) if number not in problems]
    groups = [_group(task, chat) for task in usable]
    long = [_longest(group) > config.max_tokens for group in groups]
    kept = [
        (task, _cut(group, config.max_tokens) if too_long else group)
        for task, group, too_long in zip(usable, groups, long, strict=True)
        if not too_long or (config.too_long == "truncate" and _can_be_cut(group, config.max_tokens))
    ]
    if any(long):
        cut = len(kept) - long.count(False)
        notes.append(
            f"{where}: {sum(long)} of {len(usable)} exceed {section}.max_tokens={config.max_tokens}: {cut} truncated, "
            f"{sum(long) - cut} dropped"
        )
    if not kept:
        raise RlvrError(
            f"{where}: nothing is left of {len(tasks)} preferences ({'; '.join(notes)}); raise {section}.max_tokens"
        )
    examples = tuple(
        Example(id=task.id, index=i, tokens=group, desirable=_desirable(task)) for i, (task, group) in enumerate(kept)
    )
    return Prepared(examples=examples, notes=tuple(notes))


def mismatched(examples: Sequence[Example]) -> list[TokenGroup]:
    """For each example its prompt with the completions of the next one that has another prompt, in a ring; KTO's z is measured on them.

    Raises `RlvrError` where all prompts are the same.
    """
    if len({example.tokens.prompt_ids for example in examples}) < 2:
        raise RlvrError("preference.tasks: kto needs at least two different prompts to estimate the KL; give it more data")
    groups: list[TokenGroup] = []
    for i, example in enumerate(examples):
        j = (i + 1) % len(examples)
        while examples[j].tokens.prompt_ids == example.tokens.prompt_ids:
            j = (j + 1) % len(examples)
        groups.append(dataclasses.replace(examples[j].tokens, prompt_ids=example.tokens.prompt_ids))
    return groups


def shared_prompts_note(examples: Sequence[Example], held_out: Sequence[Example], section: str) -> list[str]:
    """A warning where held-out pairs have prompts that are trained on."""
    known = shared_prompts(examples, held_out)
    said = f"{section}.held_out: {known} of {len(held_out)} pairs have a prompt that is trained on, too"
    return [said] if known else []


def shared_prompts(examples: Sequence[Example], others: Sequence[Example]) -> int:
    """How many of `others` have a prompt that is among `examples`, too."""
    known = {example.tokens.prompt_ids for example in examples}
    return sum(other.tokens.prompt_ids in known for other in others)


def _require_preferences(tasks: Sequence[Task], where: str, *, pairs_only: bool) -> None:
    for task in tasks:
        if not is_preference(task.info):
            raise RlvrError(
                f"{where}: task {task.id} says no preference; give rows `chosen` and `rejected`, or `completion` and a `label` that is "
                "true or false (other names: columns: {chosen: NAME, ...})"
            )
        sides = ("chosen", "rejected") if is_pair(task.info) else ("completion",)
        if any(not isinstance(task.info[side], str) for side in sides):
            raise RlvrError(
                f"{where}: task {task.id}: {' and '.join(sides)} must be text or messages that continue the prompt"
            )
        if pairs_only and not is_pair(task.info):
            raise RlvrError(
                f"{where}: task {task.id} has a single completion, but this needs pairs of `chosen` and `rejected`; "
                "single ones are for preference.algorithm=kto"
            )


def _tell(tasks: Sequence[Task], problems: Mapping[int, str], where: str) -> str:
    kinds = Counter(re.split(r"[:(]", problem)[0].strip() for problem in problems.values())
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    first = "; ".join(f"{tasks[number].id}: {problem}" for number, problem in list(problems.items())[:SHOWN])
    swapped = 2 * kinds["swapped"] > len(tasks)
    hint = " Most are swapped: exchange the columns with columns: {chosen: rejected, rejected: chosen}." if swapped else ""
    return f"{where}: {len(problems)} of {len(tasks)} rows cannot teach a preference ({counts}): {first}.{hint}".rstrip(".")


def _group(task: Task, chat: ChatFormat) -> TokenGroup:
    sides = ("chosen", "rejected") if is_pair(task.info) else ("completion",)
    completions = tuple(chat.turn_ids(task.info[side]) for side in sides)
    return TokenGroup(
        prompt_ids=chat.message_ids(task.prompt, task.tools),
        completion_ids=completions,
        loss_masks=tuple((True,) * len(ids) for ids in completions),
    )


def _desirable(task: Task) -> tuple[bool, ...]:
    return (True, False) if is_pair(task.info) else (bool(task.info["label"]),)


def _longest(group: TokenGroup) -> int:
    return len(group.prompt_ids) + max(map(len, group.completion_ids))


def _cut(group: TokenGroup, max_tokens: int) -> TokenGroup:
    """Completions cut at the end; the prompt is never cut."""
    room = max(0, max_tokens - len(group.prompt_ids))
    return dataclasses.replace(
        group,
        completion_ids=tuple(ids[:room] for ids in group.completion_ids),
        loss_masks=tuple(mask[:room] for mask in group.loss_masks),
    )


def _can_be_cut(group: TokenGroup, max_tokens: int) -> bool:
    """Whether something is left to compare: room for a token, and sides that still differ."""
    cut = _cut(group, max_tokens).completion_ids
    return all(cut) and len(set(cut)) == len(cut)
