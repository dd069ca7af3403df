"""Runs a target over attacks, in processes of its own that are confined and killed at a deadline."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from rlvr_verifiers.audit.attacks import CANARY, FORMS, Attack, attacks_on, honest
from rlvr_verifiers.audit.observed import confinement
from rlvr_verifiers.audit.report import SLOW_S, AuditReport, Judged
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.pool import VerifierPool
from rlvr_verifiers.registry import resolve
from rlvr_verifiers.types import Completion, Score, Task

PATIENCE = 2
"""Times that a giant or slow input is let be slow."""
_OBSERVED = "rlvr_verifiers.audit.observed:Observed"
Judge = Callable[[Task, Attack], Awaitable[Score]]
Pair = tuple[Task, Attack]


def audit(
    target: str, tasks: Sequence[Task], *, form: str | None = None, deadline_s: float = 10.0, workers: int = 1
) -> AuditReport:
    """Attacks a verifier (any name that a task record may have, `trl:` and `verl:` included) on tasks with a gold.

    A task's `verifier_args` are given to the target only where the task names it. form: one of FORMS; by default the one in which
    the target accepts most golds. A giant or slow input that has been slow PATIENCE times is not tried on further tasks, where it
    would be slow again; the report counts what was left out.

    Raises VerifierError where the target cannot be loaded, or accepts no gold in any form.
    Must not be called in an event loop.
    """
    golds = [task for task in tasks if task.answer.strip()]
    if not golds:
        raise VerifierError("the audit needs tasks with a gold answer; these have none")
    if form is not None and form not in FORMS:
        raise VerifierError(f"no form {form!r} of answer; known: {', '.join(FORMS)}")
    resolve(target)
    with tempfile.TemporaryDirectory(prefix="rlvr-audit-") as folder:
        return asyncio.run(_audit(target, golds, form, deadline_s, workers, Path(folder)))


async def _audit(
    target: str, tasks: list[Task], form: str | None, deadline_s: float, workers: int, folder: Path
) -> AuditReport:
    log, free = folder / "effects.jsonl", folder / "free"
    free.mkdir()
    log.touch()
    async with VerifierPool(workers, deadline_s) as pool:

        async def judge(task: Task, attack: Attack) -> Score:
            completion = Completion(text=attack.text, finish_reason=attack.finish_reason)
            return await pool.score(_observed(target, task, attack, log, free), completion)

        if form is None:
            form = await _form(target, tasks, judge)
        pairs = [(task, attack) for task in tasks for attack in attacks_on(task, form)]
        judged = await _judge_all(pairs, judge)
    effects = tuple(json.loads(line) for line in log.read_text(encoding="utf-8").splitlines())
    return AuditReport(
        target=target,
        form=form,
        confinement=confinement(),
        tasks=len(tasks),
        judged=tuple(judged),
        left_out=len(pairs) - len(judged),
        effects=effects,
        canary=(free / CANARY).exists(),
    )


async def _judge_all(pairs: list[Pair], judge: Judge) -> list[Judged]:
    """Each attack by itself; the giant and slow ones a series at a time, which ends when it has been slow often enough."""
    series: dict[object, list[Pair]] = {}
    for place, pair in enumerate(pairs):
        attack = pair[1]
        series.setdefault(f"pair {place}" if attack.series is None else attack.series, []).append(pair)
    return [
        each for part in await asyncio.gather(*(_judge_series(part, judge) for part in series.values())) for each in part
    ]


async def _judge_series(pairs: list[Pair], judge: Judge) -> list[Judged]:
    judged: list[Judged] = []
    slow = 0
    for task, attack in pairs:
        score = await judge(task, attack)
        judged.append(_judged(task, attack, score))
        slow += score.seconds > SLOW_S or score.reason in ("timeout", "crash")
        if slow == PATIENCE:
            break
    return judged


async def _form(target: str, tasks: list[Task], judge: Judge) -> str:
    """The form in which it accepts most golds of the first tasks."""
    some = tasks[:8]
    accepted: dict[str, int] = {}
    for form in FORMS:
        scores: list[Score] = [await judge(task, honest(task.answer.strip(), form)) for task in some]
        accepted[form] = sum(score.passed for score in scores)
        if accepted[form] == len(some):
            return form
    best = max(accepted, key=lambda form: accepted[form])
    if not accepted[best]:
        raise VerifierError(
            f"{target} accepts none of {len(some)} golds in any form ({', '.join(FORMS)}); is it made for them?"
        )
    return best


def _observed(target: str, task: Task, attack: Attack, log: Path, folder: Path) -> Task:
    arguments = {
        "target": target,
        "args": dict(task.verifier_args) if task.verifier == target else {},
        "attack": attack.kind,
        "log": str(log),
        "folder": str(folder),
    }
    return dataclasses.replace(task, verifier=_OBSERVED, verifier_args=arguments)


def _judged(task: Task, attack: Attack, score: Score) -> Judged:
    return Judged(
        task=task.id,
        gold=task.answer,
        kind=attack.kind,
        text=attack.text[:2_000],
        right=attack.right,
        passed=score.passed,
        value=score.value,
        reason=score.reason,
        explanation=score.explanation,
        seconds=score.seconds,
    )
