"""The `rlvr` command. Heavy imports happen inside the commands, so that --help answers at once.

Exit codes: 0 done, 1 a clear error in one line, 2 usage, 130 interrupted with the state saved.
"""

from __future__ import annotations

import datetime
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rlvr import __version__
from rlvr.commands import results, sandbox, tasks, verifiers

app = typer.Typer(
    name="rlvr",
    help="Reinforcement learning from verifiable rewards.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(tasks.app, name="tasks")
app.add_typer(sandbox.app, name="sandbox")
app.add_typer(verifiers.app, name="verifiers")
app.add_typer(results.app)
# A pipe has no width of its own, and rich would wrap tables to 80 columns.
console = Console(width=None if sys.stdout.isatty() else 120)

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file; recipes are in configs/.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Override any key, for example rl.steps=50.")
]


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        typer.echo(f"rlvr {__version__}")
        raise typer.Exit


@app.command()
def train(
    config: ConfigPath,
    overrides: Overrides = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue run_name, or the newest run of this config, from its last checkpoint.")
    ] = False,
) -> None:
    """Run the stages that CONFIG names: sft, preference, rl, reward_model."""
    from rlvr.config.load import load_config, resolved
    from rlvr.redaction import Redactor
    from rlvr.run_name import check_same_run, new_run_name, newest_run

    settings = load_config(config, overrides or [])
    if resume:
        name = settings.run_name or newest_run(settings.output_dir, config.stem)
        check_same_run(settings.output_dir / name, Redactor().value(resolved(settings)))
    else:
        name = settings.run_name or new_run_name(config.stem, datetime.datetime.now())
    _quiet_libraries()
    from rlvr.train import train as run_training

    run_training(settings, name=name, resume=resume, console=console)


@app.command("eval")
def evaluate(
    config: Annotated[Path | None, typer.Argument(metavar="[CONFIG]", help="A config with model and eval sections.")] = None,
    overrides: Overrides = None,
    model: Annotated[str | None, typer.Option(help="Hub name or folder, instead of CONFIG.")] = None,
    adapter: Annotated[Path | None, typer.Option(help="A PEFT adapter folder to evaluate.")] = None,
    tasks_path: Annotated[Path | None, typer.Option("--tasks", help="A JSONL or parquet file of task records.")] = None,
    samples: Annotated[int | None, typer.Option(help="Completions per task; pass@k is given for k up to this.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write every scored completion here (parquet).")
    ] = None,
    failures: Annotated[
        int, typer.Option(help="Problems that failed to show, each with its first failing case.", min=0)
    ] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure avg@n and unbiased pass@k with confidence intervals, per task source, and show what failed."""
    from rlvr.commands.evaluate import eval_config, pass_rates, run_evaluation
    from rlvr.outcome import evaluation_table

    settings = eval_config(config, overrides or [], model=model, adapter=adapter, tasks=tasks_path, samples=samples)
    _quiet_libraries()
    evaluation = run_evaluation(settings, output)
    rates = pass_rates(evaluation)
    if as_json:
        typer.echo(json.dumps({**evaluation.summary(), **rates.to_json()}))
    else:
        console.print(evaluation_table([evaluation]))
        rates.show(console, failures=failures)


@app.command()
def score(
    records: Annotated[Path, typer.Argument(help="JSONL of task records plus `completion`; - reads standard input.")],
    verifier: Annotated[str | None, typer.Option(help="Use this verifier instead of each record's own.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="JSONL to write; standard output by default.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Verifier processes; 0 takes one per core.")] = 0,
    deadline_s: Annotated[float, typer.Option("--deadline-s", help="Seconds before a verification is killed.")] = 5.0,
    k: Annotated[str | None, typer.Option("--k", help="The k of pass@k, e.g. 1,5,10; default: powers of two.")] = None,
    failures: Annotated[
        int, typer.Option(help="Problems that failed to show, each with its first failing case.", min=0)
    ] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON; needs -o for the rows.")] = False,
) -> None:
    """Score existing completions without a model: rows with their scores, and pass@k by task source.

    Rows with one id, or a list in `completion`, are completions of one problem.
    """
    from rlvr.pass_rates import parsed_ks
    from rlvr.score_records import score_records

    score_records(records, verifier, output, workers, deadline_s, ks=parsed_ks(k), failures=failures, as_json=as_json)


@app.command()
def pairs(
    output: Annotated[Path, typer.Option("-o", "--output", help="JSONL to write; its provenance goes beside it.")],
    config: Annotated[Path | None, typer.Argument(metavar="[CONFIG]", help="A config; its rl.tasks are sampled.")] = None,
    overrides: Overrides = None,
    model: Annotated[str | None, typer.Option(help="Hub name or folder, instead of CONFIG's.")] = None,
    adapter: Annotated[Path | None, typer.Option(help="A PEFT adapter folder to sample from.")] = None,
    tasks_path: Annotated[Path | None, typer.Option("--tasks", help="A JSONL or parquet file of task records.")] = None,
    limit: Annotated[int | None, typer.Option(help="Use only the first so many tasks of each source.")] = None,
    samples: Annotated[int, typer.Option(help="Completions per prompt.")] = 8,
    temperature: Annotated[float | None, typer.Option(help="Sampling temperature; default: the config's.")] = None,
    verifier: Annotated[str | None, typer.Option(help="Score with this verifier, `judge` for example.")] = None,
    verifier_args: Annotated[str | None, typer.Option("--verifier-args", help="Its arguments, a JSON object.")] = None,
    sft: Annotated[bool, typer.Option("--sft", help="Write verified completions to learn from instead of pairs.")] = False,
    margin: Annotated[float, typer.Option(help="Smallest difference between the scores of a pair.")] = 0.0,
    same_length: Annotated[
        float | None, typer.Option("--same-length", help="Largest difference of lengths, as a share of the longer one.")
    ] = None,
    per_prompt: Annotated[int, typer.Option("--per-prompt", help="Most rows a prompt may give.")] = 1,
) -> None:
    """Make preference pairs (best against worst), or verified demonstrations, from a model's own completions."""
    from rlvr.commands.pairs import Request, describe, make_dataset
    from rlvr.preference.from_rollouts import PairRule

    _quiet_libraries()
    counts = make_dataset(
        Request(
            config=config,
            overrides=overrides or [],
            model=model,
            adapter=adapter,
            tasks=tasks_path,
            limit=limit,
            samples=samples,
            temperature=temperature,
            verifier=verifier,
            verifier_args=verifier_args,
            kind="sft" if sft else "pairs",
            rule=PairRule(margin=margin, same_length=same_length, per_prompt=per_prompt),
            output=output,
        )
    )
    console.print(f"{counts.rows} rows written to {output}; {describe(counts)}", markup=False, soft_wrap=True)


@app.command()
def check(config: ConfigPath, overrides: Overrides = None) -> None:
    """Validate CONFIG, print it resolved and a memory plan. Launches nothing."""
    import yaml

    from rlvr.config.load import load_config, resolved
    from rlvr.memory_plan import plan_for

    settings = load_config(config, overrides or [])
    console.print(yaml.safe_dump(resolved(settings), sort_keys=False), markup=False, highlight=False)
    _quiet_libraries()
    console.print(plan_for(settings).table())


@app.command()
def doctor() -> None:
    """Say what this machine can do."""
    from rlvr.doctor import render, run_doctor

    _quiet_libraries()
    render(run_doctor(), console)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    output: Annotated[Path, typer.Option("-o", "--output", file_okay=False, help="Folder to write.")],
    merge: Annotated[bool, typer.Option("--merge", help="Merge the adapter into the base: a whole model.")] = False,
    which: Annotated[str, typer.Option(help="best (of rl, on held-out tasks), last, or a checkpoint's name.")] = "best",
) -> None:
    """Write a PEFT adapter or a merged model that vLLM and transformers load."""
    from rlvr.export import export_run

    _quiet_libraries()
    written = export_run(run, output, merge=merge, which=which)
    console.print(written, markup=False, soft_wrap=True)


def main() -> None:
    """Entry point: turns every mistake a user can make into one line and an exit code."""
    from rlvr.errors import RlvrError
    from rlvr.interrupt import Interrupted
    from rlvr_tasks.errors import TaskError
    from rlvr_verifiers.errors import VerifierError

    try:
        app()
    except (RlvrError, TaskError, VerifierError) as error:
        Console(stderr=True, soft_wrap=True).print(f"error: {error}", markup=False, highlight=False)
        sys.exit(1)
    except (Interrupted, KeyboardInterrupt) as stop:
        saved = "the state is saved, continue with --resume" if isinstance(stop, Interrupted) else "not saved"
        Console(stderr=True, soft_wrap=True).print(f"interrupted; {saved}", markup=False)
        sys.exit(130)


def _quiet_libraries() -> None:
    """Libraries' own chatter hides what matters; their warnings and errors still show."""
    import logging

    # It warns at every import that an optional kernel, which it would fetch from a hub, is not installed.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()


if __name__ == "__main__":
    main()
