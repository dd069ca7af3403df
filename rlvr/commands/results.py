"""Commands about runs: `report`, `compare`, `watch`, `rollouts`. They read run folders and import neither torch nor an engine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer()
console = Console(width=None if sys.stdout.isatty() else 120)

Runs = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, finished or in progress.")]


@app.command()
def report(
    runs: Runs,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="HTML file to write; RUN/report.html, or report.html for several.")
    ] = None,
    max_mb: Annotated[float, typer.Option("--max-mb", help="Largest file; rollouts are sampled to fit.", min=1)] = 25.0,
) -> None:
    """Write one self-contained HTML file: curves, diagnosis, scores, a browser of rollouts, provenance."""
    from rlvr.report.page import write_report

    target = output or (runs[0] / "report.html" if len(runs) == 1 else Path("report.html"))
    written = write_report(runs, target, max_mb=max_mb)
    console.print(
        f"{written.path} ({written.bytes / 1e6:.1f} MB, {written.rollouts.shown:,} of {written.rollouts.total:,} rollouts); "
        "open it in a browser",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


@app.command()
def compare(
    words: Annotated[
        list[str],
        typer.Argument(metavar="(CONFIG... | RUN...) [KEY=VALUE]...", help="Configs to train, or finished run folders."),
    ],
    variant: Annotated[
        list[str] | None,
        typer.Option(metavar="'NAME [KEY=VALUE]...'", help="A variant of the one config given; twice or more."),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(metavar="NAME", help="Test every variant against this one only. Default: all pairs.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each config, with its seed and the ones after it.", min=1)] = 3,
    comparing: Annotated[
        list[str] | None, typer.Option(help="Config key that is compared; may be repeated. Default: rl.algorithm.")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder for runs and results.")] = None,
    target: Annotated[float | None, typer.Option(help="Accuracy whose cost in tokens is reported.", min=0, max=1)] = None,
    jobs: Annotated[int, typer.Option(help="Runs at once.", min=1)] = 1,
) -> None:
    """Train variants with the same seeds and tasks, or take finished runs, and say which is better, with intervals."""
    from rlvr.commands.compare import compare_words

    compare_words(
        words,
        console,
        seeds=seeds,
        comparing=comparing or ["rl.algorithm"],
        output=output,
        target=target,
        jobs=jobs,
        variants=variant or (),
        baseline=baseline,
    )


@app.command()
def watch(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, on this machine or a mounted one.")],
    every_s: Annotated[float, typer.Option("--every-s", help="Seconds between looks.", min=0.1)] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print what there is and exit.")] = False,
) -> None:
    """Follow a run in the terminal until it is finished."""
    from rlvr.watch import watch as watch_run

    watch_run(run, console, every_s=every_s, once=once)


@app.command()
def rollouts(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    step: Annotated[str | None, typer.Option(help="A step, or a range such as 10-20.")] = None,
    evaluations: Annotated[bool, typer.Option("--evaluations", help="Of evaluations instead of training.")] = False,
    task: Annotated[str | None, typer.Option(help="Part of the task's id.")] = None,
    source: Annotated[str | None, typer.Option(help="The task's data_source.")] = None,
    reason: Annotated[str | None, typer.Option(help="Reason code, for example mismatch.")] = None,
    min_score: Annotated[float | None, typer.Option("--min-score")] = None,
    max_score: Annotated[float | None, typer.Option("--max-score")] = None,
    min_tokens: Annotated[int | None, typer.Option("--min-tokens")] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens")] = None,
    text: Annotated[str | None, typer.Option(help="Part of the completion.")] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", help="At most so many; 0 is all.", min=0)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line a rollout, every column, for a pipe.")] = False,
) -> None:
    """Print selected rollouts of a run as a table or as JSON lines."""
    from rlvr.commands.rollouts import print_rollouts, step_range
    from rlvr.rollout_query import Query

    query = Query(
        evaluations=evaluations,
        step=step_range(step),
        task=task,
        source=source,
        reason=reason,
        min_score=min_score,
        max_score=max_score,
        min_tokens=min_tokens,
        max_tokens=max_tokens,
        text=text,
    )
    print_rollouts(run, query, console, limit=limit, as_json=as_json)
