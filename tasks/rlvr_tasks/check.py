"""Is this data fit to train on? The gold answer must pass, what is no answer must fail, nothing may leak from evaluation.

Every task is put through its own verifier, in killable workers: with a gold completion (its demonstration, or else the gold
in a plain form), with nothing, with the prompt itself, with words that say nothing, and with the question's own expression.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from rlvr_tasks.code_probes import idle_programs
from rlvr_tasks.contamination import NGRAM, normalized, overlaps, prompt_text
from rlvr_tasks.preferences import is_preference, unusable_preferences
from rlvr_verifiers import reasoning_gym, sql, tool_call, tool_env
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.pool import VerifierPool
from rlvr_verifiers.registry import check_task
from rlvr_verifiers.types import Completion, Score, Task

if TYPE_CHECKING:
    from rich.table import Table

Severity = Literal["error", "warning"]

KINDS: Mapping[str, tuple[Severity, str]] = {
    "gold_unreadable": ("error", "the verifier cannot use this gold; correct the row or drop it"),
    "gold_fails": ("error", "the gold answer does not pass its own verifier; one of the two is wrong"),
    "verifier_failed": ("error", "the verifier broke on this task; mend it before training"),
    "empty_passes": ("error", "an empty completion is rewarded"),
    "echo_passes": ("error", "repeating the prompt is rewarded"),
    "no_op_passes": ("error", "words that answer nothing are rewarded"),
    "preference_unusable": ("error", "the row cannot teach a preference; mend it, or set preference.unusable=drop"),
    "contaminated": ("error", "the same question is in an evaluation set"),
    "near_copy": ("error", "nearly all of an evaluation question is in this prompt"),
    "idle_passes": ("error", "a program that does nothing, or only hands back its input, is rewarded; add cases"),
    "restating_passes": (
        "warning",
        "the question's own expression is accepted as the answer; judge by `math` with form `number`, or by `exact`",
    ),
    "any_reply_passes": (
        "warning",
        "no call is wanted, so any words will do; mix with tasks that want calls, or never to call is learnt",
    ),
    "form_alone_passes": (
        "warning",
        "only the form is judged, and words that answer nothing have it; judge the content, too (`multi`)",
    ),
    "overlap": ("warning", "a long run of words is shared with an evaluation question"),
    "conflicting_gold": ("warning", "the same prompt has another gold elsewhere"),
    "duplicate_prompt": ("warning", "the same prompt occurs more than once"),
    "gold_unproved": (
        "warning",
        "no demonstration, and no plain form of the gold passes; add info.demonstration to prove it",
    ),
    "no_verifier": ("warning", "names no verifier: fit for SFT only"),
}
"""Every finding: how grave it is, and what it means."""

PLAIN_GOLD = frozenset({"math", "choice", "exact"})
"""Verifiers whose gold is itself the answer, so that a plain form of it must pass."""
GOLD_COMPLETIONS: Mapping[str, Callable[[Task], Completion]] = {
    "reasoning_gym": reasoning_gym.gold_completion,
    "sql": sql.gold_completion,
    "tool_call": tool_call.gold_completion,
    "tool_env": tool_env.gold_completion,
}
"""Verifiers from whose gold a completion can be made, which must pass."""
GOLD_FORMS = ("\\boxed{{{gold}}}", "Answer: {gold}", "{gold}", "<answer>{gold}</answer>", "#### {gold}")
NO_OPS = ("I do not know.", "Answer:", "\\boxed{}")
NEAR_COPY = 0.8
"""Share of an evaluation question's runs of words from which a training prompt counts as a copy of it."""
CHUNK = 512
"""Tasks under way at once: bounds memory on large sets."""
_EXPRESSION = re.compile(r"-?\d+(?:\.\d+)?(?: ?[-+*/] ?-?\d+(?:\.\d+)?)+")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    kind: str
    task_id: str
    detail: str = ""

    @property
    def severity(self) -> Severity:
        return KINDS[self.kind][0]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    tasks: int
    golds_passed: int
    findings: tuple[Finding, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Findings of each kind that occurs, in the order of `KINDS`."""
        found = Counter(finding.kind for finding in self.findings)
        return {kind: found[kind] for kind in KINDS if found[kind]}

    @property
    def exit_reason(self) -> str | None:
        """One line that says why this data should not be trained on, or None."""
        errors = [f"{count} {kind}" for kind, count in self.counts.items() if KINDS[kind][0] == "error"]
        return f"{self.tasks} tasks checked, not fit for training: {', '.join(errors)}" if errors else None

    def table(self, examples: int = 3) -> Table:
        """One row a kind of finding, with its first tasks."""
        from rich.table import Table
        from rich.text import Text

        table = Table(title=f"{self.tasks} tasks, {self.golds_passed} golds pass their verifier", title_justify="left")
        for column in ("", "finding", "tasks", "meaning", "for example"):
            table.add_column(column, justify="right" if column == "tasks" else "left", overflow="fold")
        for kind, count in self.counts.items():
            severity, meaning = KINDS[kind]
            shown = [finding for finding in self.findings if finding.kind == kind][:examples]
            lines = [f"{finding.task_id}: {finding.detail}" if finding.detail else finding.task_id for finding in shown]
            mark = "[red]error[/]" if severity == "error" else "[yellow]warning[/]"
            table.add_row(mark, kind, str(count), meaning, Text("\n".join(map(_printable, lines))))
        return table


def check_tasks(
    tasks: Sequence[Task],
    *,
    held_out: Mapping[str, Sequence[Task]] | None = None,
    ngram: int = NGRAM,
    workers: int = 0,
    deadline_s: float = 5.0,
) -> Report:
    """Checks tasks against their verifiers, among themselves, and against named evaluation sets.

    workers, deadline_s: of the verifier pool. Raises VerifierError where a verifier cannot be loaded at all.
    """
    golds, findings = asyncio.run(_verify(tasks, workers, deadline_s))
    findings += _duplicates(tasks) + _preferences(tasks)
    for name, evaluation in (held_out or {}).items():
        findings += _contamination(tasks, name, evaluation, ngram)
    order = list(KINDS)
    findings.sort(key=lambda finding: order.index(finding.kind))
    return Report(tasks=len(tasks), golds_passed=golds, findings=tuple(findings))


def _preferences(tasks: Sequence[Task]) -> list[Finding]:
    rows = [task for task in tasks if is_preference(task.info)]
    problems = unusable_preferences(rows)
    return [Finding(kind="preference_unusable", task_id=rows[i].id, detail=problem) for i, problem in problems.items()]


async def _verify(tasks: Sequence[Task], workers: int, deadline_s: float) -> tuple[int, list[Finding]]:
    findings: list[Finding] = []
    golds = 0
    async with VerifierPool(workers, deadline_s) as pool:
        for start in range(0, len(tasks), CHUNK):
            results = await asyncio.gather(*(_check_one(pool, task) for task in tasks[start : start + CHUNK]))
            golds += sum(passed for passed, _ in results)
            findings += [finding for _, found in results for finding in found]
    return golds, findings


async def _check_one(pool: VerifierPool, task: Task) -> tuple[bool, list[Finding]]:
    """Whether the gold passed, and what is wrong with the task."""
    if not task.verifier:
        return False, [] if is_preference(task.info) else [Finding(kind="no_verifier", task_id=task.id)]
    try:
        problem = check_task(task)
    except VerifierError as error:
        problem = str(error)
    if problem:
        return False, [Finding(kind="gold_unreadable", task_id=task.id, detail=problem)]
    passed, findings = await _gold(pool, task)
    for kind, texts in _probes(task):
        for text in texts:
            score = await pool.score(task, Completion(text=text))
            if score.value is None:
                return passed, [*findings, _failed(task, score)]
            if score.passed:
                findings.append(Finding(kind=kind, task_id=task.id, detail=repr(text[:80])))
                break
    return passed, findings


async def _gold(pool: VerifierPool, task: Task) -> tuple[bool, list[Finding]]:
    """The demonstration where there is one, a completion that follows from the gold, or else any plain form of it."""
    demonstration = task.info.get("demonstration")
    taught = isinstance(demonstration, str) and task.verifier != "tool_env"
    made = GOLD_COMPLETIONS.get(task.verifier)
    completions = (
        (Completion(text=str(demonstration)),)
        if taught
        else (made(task),)
        if made
        else tuple(Completion(text=form.format(gold=task.answer)) for form in GOLD_FORMS)
    )
    first: Score | None = None
    for completion in completions:
        score = await pool.score(task, completion)
        if score.value is None:
            return False, [_failed(task, score)]
        if score.passed:
            return True, []
        first = first or score
    why = f"{first.reason}: {first.explanation}" if first else ""
    fails = taught or made is not None or task.verifier in PLAIN_GOLD
    return False, [Finding(kind="gold_fails" if fails else "gold_unproved", task_id=task.id, detail=why)]


def _probes(task: Task) -> Iterator[tuple[str, Sequence[str]]]:
    """Completions that must not be rewarded, by the finding that they would be."""
    prompt = prompt_text(task)
    yield "empty_passes", ("",)
    if task.verifier == "tool_call" and not tool_call.wants_calls(task):
        yield "any_reply_passes", NO_OPS  # words are what is asked for here
    else:
        yield "echo_passes", (prompt,)
        yield ("form_alone_passes" if task.verifier == "ifeval" else "no_op_passes"), NO_OPS
    if task.verifier == "code":
        yield "idle_passes", idle_programs(task.answer)
    expressions: list[str] = _EXPRESSION.findall(prompt[:20_000])
    if expressions:
        longest = max(expressions, key=len)
        yield "restating_passes", (f"Answer: {longest}", f"\\boxed{{{longest}}}")


def _printable(text: str) -> str:
    """Data on a terminal: control characters spelt out."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def _failed(task: Task, score: Score) -> Finding:
    return Finding(kind="verifier_failed", task_id=task.id, detail=score.explanation)


def _duplicates(tasks: Sequence[Task]) -> list[Finding]:
    findings: list[Finding] = []
    first: dict[tuple[str, ...], Task] = {}
    for task in tasks:
        key = normalized("\n".join(f"{message.get('role')}: {message.get('content')}" for message in task.prompt))
        other = first.setdefault(key, task)
        if other is not task:
            kind = "duplicate_prompt" if other.answer == task.answer else "conflicting_gold"
            findings.append(Finding(kind=kind, task_id=task.id, detail=f"same prompt as {other.id}"))
    return findings


def _contamination(tasks: Sequence[Task], name: str, held_out: Sequence[Task], ngram: int) -> list[Finding]:
    findings: list[Finding] = []
    for overlap in overlaps(tasks, held_out, ngram=ngram):
        kind = "contaminated" if overlap.exact else "near_copy" if overlap.share >= NEAR_COPY else "overlap"
        detail = f"{overlap.held_out_id} of {name}" + (
            "" if overlap.exact else f", {overlap.share:.0%} of its runs of words"
        )
        findings.append(Finding(kind=kind, task_id=overlap.task_id, detail=detail))
    return findings
