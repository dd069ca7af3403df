"""Does training data hold the questions it is evaluated on? Equal prompts, and prompts that share long runs of words.

Departs from the usual 13-gram count in two ways. What all prompts of a set begin or end with (instructions, a template) is
cut off first, so that a changed template does not hide a copied question. And runs of words found in many questions of the
evaluation set are phrases of its style, not evidence.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from rlvr_verifiers.types import Task

NGRAM = 13
"""Words in a row, the number that GPT-3 used and others kept."""
COMMON_SHARE = 0.01
COMMON_COUNT = 3
"""A run of words in more than this share of the evaluation prompts, and in more than this many, is a phrase."""
TEMPLATE_TASKS = 8
"""Prompts a set needs before what they share counts as a template."""

_TOKEN = re.compile(r"\w+|[^\w\s$]")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Overlap:
    """A training task and the evaluation task that it resembles most."""

    task_id: str
    held_out_id: str
    share: float
    """Share of the evaluation prompt's runs of words found in the training prompt; 1.0 also where the prompts are equal."""
    exact: bool


def prompt_text(task: Task) -> str:
    """What the user says in a task, without system messages and earlier answers."""
    return "\n".join(str(message.get("content", "")) for message in task.prompt if message.get("role") == "user")


def normalized(text: str) -> tuple[str, ...]:
    """Words and signs, without case, spacing, width and dollar signs."""
    return tuple(_TOKEN.findall(unicodedata.normalize("NFKC", text).casefold()))


def overlaps(tasks: Sequence[Task], held_out: Sequence[Task], *, ngram: int = NGRAM) -> list[Overlap]:
    """For each task that shares a prompt, or an uncommon run of `ngram` words, with a held-out task: the closest one."""
    ours, theirs = _questions(tasks), _questions(held_out)
    equal = {tokens: task.id for tokens, task in zip(reversed(theirs), reversed(held_out), strict=True)}
    index, totals = _index(theirs, ngram)
    found: list[Overlap] = []
    for task, tokens in zip(tasks, ours, strict=True):
        if tokens in equal:
            found.append(Overlap(task_id=task.id, held_out_id=equal[tokens], share=1.0, exact=True))
            continue
        hits = Counter(number for run in _runs(tokens, ngram) for number in index.get(run, ()))
        if hits:
            number, count = max(hits.items(), key=lambda item: (item[1] / totals[item[0]], -item[0]))
            found.append(
                Overlap(task_id=task.id, held_out_id=held_out[number].id, share=count / totals[number], exact=False)
            )
    return found


def _questions(tasks: Sequence[Task]) -> list[tuple[str, ...]]:
    """Normalised prompts, the template of each data source cut off."""
    texts = [normalized(prompt_text(task)) for task in tasks]
    groups: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for task, tokens in zip(tasks, texts, strict=True):
        groups[task.data_source].append(tokens)
    edges = {source: _template(group) for source, group in groups.items()}
    return [_cut(tokens, *edges[task.data_source]) for task, tokens in zip(tasks, texts, strict=True)]


def _template(texts: Sequence[tuple[str, ...]]) -> tuple[int, int]:
    """How many tokens all texts share at the start and at the end."""
    if len(set(texts)) < TEMPLATE_TASKS:
        return 0, 0
    return _shared(texts), _shared([text[::-1] for text in texts])


def _shared(texts: Sequence[tuple[str, ...]]) -> int:
    """Length of the common beginning."""
    return sum(1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, zip(*texts, strict=False)))


def _cut(tokens: tuple[str, ...], start: int, end: int) -> tuple[str, ...]:
    return tokens[start : len(tokens) - end] if len(tokens) >= start + end + 3 else tokens


def _index(texts: Sequence[tuple[str, ...]], ngram: int) -> tuple[Mapping[int, Sequence[int]], Sequence[int]]:
    """Run of words -> numbers of the texts that hold it, phrases left out; and how many runs each text has left."""
    index: dict[int, list[int]] = defaultdict(list)
    for number, tokens in enumerate(texts):
        for run in _runs(tokens, ngram):
            index[run].append(number)
    limit = max(COMMON_COUNT, COMMON_SHARE * len(texts))
    kept = {run: numbers for run, numbers in index.items() if len(numbers) <= limit}
    totals = Counter(number for numbers in kept.values() for number in numbers)
    return kept, [totals[number] for number in range(len(texts))]


def _runs(tokens: Sequence[str], ngram: int) -> set[int]:
    """Hashes of all runs of `ngram` words; signs do not count as words."""
    words = [token for token in tokens if token[0].isalnum() or token[0] == "_"]
    return {hash(tuple(words[start : start + ngram])) for start in range(len(words) - ngram + 1)}
