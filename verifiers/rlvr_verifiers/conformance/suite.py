"""Puts a verifier through every rule, in processes that can be killed, and reports one line a rule."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rlvr_verifiers.arguments import clip
from rlvr_verifiers.conformance.cases import Case, find_cases, read_cases
from rlvr_verifiers.conformance.hostile import hostile_texts
from rlvr_verifiers.conformance.rules import RULES, differing, some_tasks, without_clocks
from rlvr_verifiers.conformance.trial import trial_task
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.pool import VerifierPool
from rlvr_verifiers.registry import resolve, version_of
from rlvr_verifiers.types import Completion, Score, Task

DESCRIPTIONS = {
    "cases": "says what its cases file says",
    "gold": "accepts the golds of its cases, refuses those marked unusable",
    "arguments": "refuses an unknown verifier_args key",
    "deterministic": "says the same each time",
    "batch": "says the same alone and in a batch",
    "threads": "says the same in 16 threads",
    "workers": "says the same in two worker processes",
    "survives": "judges hostile completions within its deadline, without raising",
    "nothing": "does not pass an empty completion or an echo of the prompt",
    "range": "stays in its declared range",
    "reasons": "gives declared reasons only",
    "effects": "writes no files, opens no sockets, starts no programs",
    "state": "leaves the process as it was",
    "memory": "does not leak memory",
    "errors": "raises errors that can be pickled, and no others than VerifierError from check_task",
    "speed": "measured",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    rule: str
    broken: str | None
    """What was broken, in one line; None where the rule is kept."""


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    verifier: str
    version: str
    cases: int
    findings: tuple[Finding, ...]
    figures: dict[str, float]
    """per_second, median_ms and p99_ms of the cases one at a time in one process; memory_growth_bytes a call."""

    @property
    def passed(self) -> bool:
        return not self.broken

    @property
    def broken(self) -> dict[str, str]:
        """Rule to what was broken."""
        return {finding.rule: finding.broken for finding in self.findings if finding.broken is not None}

    def text(self) -> str:
        lines = [
            f"{'broken' if finding.broken else 'ok    '}  {finding.rule:13}  {finding.broken or DESCRIPTIONS[finding.rule]}"
            for finding in self.findings
        ]
        return "\n".join([*lines, self.speed()])

    def speed(self) -> str:
        if "per_second" not in self.figures:
            return "speed not measured"
        return "{per_second:,.0f} a second, median {median_ms:.3f} ms, p99 {p99_ms:.3f} ms".format(**self.figures)

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "passed": self.passed}


def check(
    verifier: str,
    cases: Path | Sequence[Case] | None = None,
    *,
    deadline_s: float = 5.0,
    rule_deadline_s: float = 60.0,
    rules: Sequence[str] = (),
) -> Report:
    """Puts a verifier (registry name, module:name, file.py:name) through the rules; `rules` chooses some of DESCRIPTIONS.

    cases: a cases file; by default the one that belongs to the verifier. deadline_s: seconds it may take for one completion;
    rule_deadline_s: for a whole rule.
    Raises VerifierError where the verifier cannot be loaded or has no usable cases. Must not be called in an event loop.
    """
    if unknown := set(rules) - DESCRIPTIONS.keys():
        raise VerifierError(f"no conformance rules {sorted(unknown)}; known: {', '.join(DESCRIPTIONS)}")
    if isinstance(cases, Path) or cases is None:
        cases = read_cases(find_cases(verifier) if cases is None else cases, verifier)
    resolve(verifier)
    wanted = [rule for rule in DESCRIPTIONS if not rules or rule in rules]
    broken, figures = asyncio.run(_check(verifier, list(cases), deadline_s, rule_deadline_s, wanted))
    findings = tuple(Finding(rule, broken.get(rule)) for rule in wanted)
    return Report(verifier, version_of(verifier), len(cases), findings, figures)


async def _check(
    verifier: str, cases: list[Case], deadline_s: float, rule_deadline_s: float, wanted: Sequence[str]
) -> tuple[dict[str, str | None], dict[str, float]]:
    broken: dict[str, str | None] = {}
    figures: dict[str, float] = {}
    judged = tuple(case for case in cases if not case.refused)
    async with VerifierPool(1, deadline_s) as pool, VerifierPool(1, deadline_s) as other:
        first = [await pool.score(case.task, case.completion) for case in judged]
        second = [await other.score(case.task, case.completion) for case in judged]
        hostile = list(_hostile(judged)) if {"survives", "range", "reasons", "nothing"} & set(wanted) else []
        survived = await _survive(pool, hostile)
        seen = [(case.title, case.task, score) for case, score in zip(judged, first, strict=True)]
        seen += [(title, task, score) for (title, task, _), score in zip(hostile, survived, strict=False)]
        broken["cases"] = _cases_broken(judged, first)
        broken["workers"] = _workers_broken(judged, first, second)
        broken["survives"] = _survives_broken(hostile, survived, deadline_s)
        broken["nothing"] = _nothing_broken(judged, hostile, survived)
        broken["range"] = _range_broken(seen)
        broken["reasons"] = _reasons_broken(seen)
        for rule in RULES:
            if rule in wanted:
                score = await _trial(trial_task(rule, verifier, cases), pool, rule_deadline_s, fresh=rule == "state")
                broken[rule] = None if score.passed else _trial_broken(score, rule_deadline_s)
                figures.update(score.metrics)
    return broken, figures


async def _survive(pool: VerifierPool, hostile: list[tuple[str, Task, Completion]]) -> list[Score]:
    """Fewer than asked for where it keeps missing its deadline: that is known after three."""
    scores: list[Score] = []
    late = 0
    for _, task, completion in hostile:
        scores.append(await pool.score(task, completion))
        late += scores[-1].reason == "timeout" and scores[-1].value is not None
        if late == 3:
            break
    return scores


async def _trial(task: Task, pool: VerifierPool, deadline_s: float, *, fresh: bool) -> Score:
    nothing = Completion(text="")
    if not fresh:
        return await pool.score(task, nothing, deadline_s=deadline_s)
    async with VerifierPool(1, deadline_s) as own:
        return await own.score(task, nothing)


def _hostile(cases: tuple[Case, ...]) -> Iterator[tuple[str, Task, Completion]]:
    for task in some_tasks(cases):
        asked = " ".join(str(message.get("content", "")) for message in task.prompt)
        for name, text in {**hostile_texts(), "echo of the prompt": asked}.items():
            yield f"{name} on {task.id}", task, Completion(text=text)


def _cases_broken(cases: tuple[Case, ...], scores: list[Score]) -> str | None:
    for case, score in zip(cases, scores, strict=True):
        said = f"value {score.value}, {score.reason}: {clip(score.explanation, 160)}"
        if score.value is None:
            return f"{case.title}: gave no score; {said}"
        if score.passed != case.passed:
            return f"{case.title}: should {'pass' if case.passed else 'fail'}; {said}"
        if case.value is not None and abs(score.value - case.value) > 1e-9:
            return f"{case.title}: should be worth {case.value}; {said}"
        if case.reason is not None and score.reason != case.reason:
            return f"{case.title}: should give the reason {case.reason}; {said}"
    return None


def _workers_broken(cases: tuple[Case, ...], first: list[Score], second: list[Score]) -> str | None:
    for case, one, other in zip(cases, first, second, strict=True):
        if without_clocks(one) != without_clocks(other):
            return f"{case.title}: {differing([without_clocks(one), without_clocks(other)])}"
    return None


def _survives_broken(hostile: list[tuple[str, Task, Completion]], scores: list[Score], deadline_s: float) -> str | None:
    failed = [
        f"{title}: {score.reason}, {clip(score.explanation, 160)}"
        for (title, _, _), score in zip(hostile, scores, strict=False)
        if score.value is None or "the worker" in score.explanation or score.seconds >= deadline_s
    ]
    return f"{len(failed)} of {len(scores)} hostile completions, first {failed[0]}" if failed else None


def _nothing_broken(cases: tuple[Case, ...], hostile: list[tuple[str, Task, Completion]], scores: list[Score]) -> str | None:
    """An empty answer may be right where the cases file says so."""
    rightly = {case.task.answer for case in cases if case.passed and not case.completion.text.strip()}
    for (title, task, _), score in zip(hostile, scores, strict=False):
        if score.passed and title.startswith(("empty", "blank", "echo")) and task.answer not in rightly:
            return f"{title} passes"
    return None


def _range_broken(seen: list[tuple[str, Task, Score]]) -> str | None:
    for title, task, score in seen:
        low, high = resolve(task.verifier).range_for(task)
        if score.value is not None and not low <= score.value <= high:
            return f"{title}: value {score.value} is outside [{low}, {high}]; clip it or declare value_range"
    return None


def _reasons_broken(seen: list[tuple[str, Task, Score]]) -> str | None:
    """The pool's own reasons, and that of a verifier which raised, are not the verifier's; other rules catch them."""
    for title, task, score in seen:
        declared = resolve(task.verifier).reasons_for(task)
        if declared is None:
            declared = frozenset({"ok", "mismatch"})  # what a bare number or bool becomes
        if score.reason not in declared | {"timeout", "crash", "verifier_error"}:
            return f"{title}: reason {score.reason!r} is not declared; add it to `reasons` ({', '.join(sorted(declared))})"
    return None


def _trial_broken(score: Score, deadline_s: float) -> str:
    if score.reason == "broken":
        return score.explanation
    if score.reason == "timeout":
        return f"did not end within {deadline_s:g} s"
    return f"could not be tried: {score.reason}, {clip(score.explanation, 200)}"
