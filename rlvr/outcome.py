"""What a finished run says: held-out pass@1 from the base to the end with intervals, the paired gain, and samples to read."""

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


def summary_of(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Plain data for summary.json: every held-out evaluation and the last one's paired gain over each earlier one."""
    last = evaluations[-1] if evaluations else None
    return {
        "evaluations": [evaluation.summary() for evaluation in evaluations],
        "gains": {
            earlier.label: dataclasses.asdict(compare(earlier, last)) for earlier in evaluations[:-1] if last is not None
        },
    }


def show_outcome(console: Console, folder: Path, evaluations: Sequence[Evaluation]) -> None:
    """Prints the table, the gains and three completions before and after."""
    if evaluations:
        console.print(evaluation_table(evaluations))
        last = evaluations[-1]
        for earlier in _milestones(evaluations)[:-1]:
            gain = compare(earlier, last)
            console.print(
                f"{last.label} against {earlier.label}: {100 * gain.difference.value:+.1f} points "
                f"\\[{100 * gain.difference.low:+.1f}, {100 * gain.difference.high:+.1f}], p = {gain.p_value:.4f}; "
                f"better on {gain.better} tasks, worse on {gain.worse}, equal on {gain.equal}"
            )
        if len(evaluations) > 1:
            _show_samples(console, evaluations)
    console.print(f"run folder: {folder}", markup=False, soft_wrap=True)


def _milestones(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Base, the state before RL, and the end."""
    before = [e for e in evaluations if not e.label.startswith("rl ")]
    return [*before, *([evaluations[-1]] if evaluations[-1] not in before else [])]


def evaluation_table(evaluations: Sequence[Evaluation]) -> Table:
    opinions = any(evaluation.opinion_fraction > 0 for evaluation in evaluations)
    title = "held-out tasks (with opinions of a judge, which verify nothing)" if opinions else "held-out tasks"
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
