"""What a finished run says: held-out and retention pass@1 from the base to the end, the paired differences, and samples to read."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from rlvr.evaluation import Evaluation, compare
from rlvr.printable import printable
from rlvr.types import Rollout

SHOWN_SAMPLES = 3
SHOWN_CHARACTERS = 240


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """Evaluations in the order they were taken."""

    held_out: tuple[Evaluation, ...] = ()
    retained: tuple[Evaluation, ...] = ()
    """On tasks that the run does not train on."""
    stopped: str | None = None
    """Which gate ended the run before its last stage."""


def summary_of(outcome: Outcome) -> dict[str, Any]:
    """Plain data for summary.json: every evaluation, and the last one's paired gain over each earlier one."""
    return {
        "evaluations": [evaluation.summary() for evaluation in outcome.held_out],
        "gains": _gains(outcome.held_out),
        **(
            {"retention": [e.summary() for e in outcome.retained], "retention_changes": _gains(outcome.retained)}
            if outcome.retained
            else {}
        ),
        **({"stopped": outcome.stopped} if outcome.stopped else {}),
    }


def _gains(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    return {earlier.label: dataclasses.asdict(compare(earlier, evaluations[-1])) for earlier in evaluations[:-1]}


def show_outcome(console: Console, folder: Path, outcome: Outcome) -> None:
    """Prints tables and paired differences, held-out and retention tasks apart, and three completions before and after."""
    for title, evaluations in (("held-out tasks", outcome.held_out), ("retention tasks", outcome.retained)):
        if evaluations:
            console.print(evaluation_table(evaluations, title))
            _show_differences(console, evaluations)
    if len(outcome.held_out) > 1:
        _show_samples(console, outcome.held_out)
    console.print(f"run folder: {folder}", markup=False, soft_wrap=True)
    if outcome.stopped:
        console.print(outcome.stopped, markup=False)


def _show_differences(console: Console, evaluations: Sequence[Evaluation]) -> None:
    last = evaluations[-1]
    for earlier in _milestones(evaluations)[:-1]:
        gain = compare(earlier, last)
        console.print(
            f"{last.label} against {earlier.label}: {100 * gain.difference.value:+.1f} points "
            f"\\[{100 * gain.difference.low:+.1f}, {100 * gain.difference.high:+.1f}], p = {gain.p_value:.4f}; "
            f"better on {gain.better} tasks, worse on {gain.worse}, equal on {gain.equal}"
        )


def _milestones(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Base, the state before RL, and the end."""
    before = [e for e in evaluations if not e.label.startswith("rl ")]
    return [*before, *([evaluations[-1]] if evaluations[-1] not in before else [])]


def evaluation_table(evaluations: Sequence[Evaluation], title: str = "held-out tasks") -> Table:
    if any(evaluation.opinion_fraction > 0 for evaluation in evaluations):
        title += " (with opinions of a judge, which verify nothing)"
    table = Table(title=title, title_justify="left")
    for column in ("policy", "pass@1 (95 % interval)", "pass@k", "tokens", "cut off", "most common reasons"):
        table.add_column(column)
    for evaluation in evaluations:
        k = max(evaluation.pass_at)
        reasons = ", ".join(f"{reason} {100 * share:.0f} %" for reason, share in list(evaluation.reasons.items())[:3])
        table.add_row(
            evaluation.label,
            evaluation.accuracy.as_percent().replace("[", "\\["),
            f"pass@{k} {100 * evaluation.pass_at[k].value:.1f} %" if k > 1 else "-",
            f"{evaluation.tokens_mean:.0f}",
            f"{100 * evaluation.truncated_fraction:.0f} %",
            printable(reasons, 60),
        )
    return table


def _show_samples(console: Console, evaluations: Sequence[Evaluation]) -> None:
    """The same tasks before and after, chosen by position and not by success."""
    first, last = evaluations[0], evaluations[-1]
    before = {rollout.task.id: rollout for rollout in reversed(first.rollouts)}
    shown = list(dict.fromkeys(rollout.task.id for rollout in last.rollouts))[:SHOWN_SAMPLES]
    after = {rollout.task.id: rollout for rollout in reversed(last.rollouts)}
    for task_id in shown:
        if task_id not in before:
            continue
        question = str(after[task_id].task.prompt[-1].get("content", ""))
        console.print(
            f"\n[bold]{printable(question, SHOWN_CHARACTERS)}[/] (gold: {printable(after[task_id].task.answer, 60)})"
        )
        console.print(f"  {first.label}: {_sample(before[task_id])}")
        console.print(f"  {last.label}: {_sample(after[task_id])}")
    console.print()


def _sample(rollout: Rollout) -> str:
    mark = "[green]right[/]" if rollout.score.passed else f"[red]wrong ({printable(rollout.score.reason, 20)})[/]"
    return f"{mark} {printable(rollout.completion.content, SHOWN_CHARACTERS)}"
