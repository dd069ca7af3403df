"""`rlvr tasks`: which sources there are, what their tasks look like, and whether they are fit to train on.

Data is named in one of three ways: a config, a file of records, or `--source NAME` with the source's own arguments. Arguments
are key=value; dots make nested ones (columns.prompt=question).
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlvr.errors import RlvrError

if TYPE_CHECKING:
    from rlvr_tasks.registry import SourceConfig
    from rlvr_verifiers.types import Task

app = typer.Typer(
    help="List task sources, look at tasks, check them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CONFIG | FILE] [KEY=VALUE]...", help="A config, a file of records, or the arguments of --source."
    ),
]
SourceName = Annotated[str | None, typer.Option("--source", help="A task source; `rlvr tasks list` shows them.")]
Limit = Annotated[int | None, typer.Option(help="Only the first so many tasks of each source.", min=1)]


@app.command("list")
def list_sources(name: Annotated[str | None, typer.Argument(help="One source only.")] = None) -> None:
    """Show every task source with its arguments."""
    from rlvr_tasks.registry import available

    infos = [info for info in available() if name in (None, info.name)]
    if not infos:
        raise RlvrError(f"no task source {name!r}; `rlvr tasks list` shows them all")
    for info in infos:
        typer.secho(info.name, bold=True, nl=False)
        typer.echo(f"  {info.doc}")
        for argument in info.arguments:
            default = "required" if argument.required else f"default {argument.default}" if argument.default else "optional"
            typer.echo(f"    {argument.name}: {argument.doc or argument.type} ({default})")


@app.command()
def show(
    words: Words = None,
    source: SourceName = None,
    count: Annotated[int, typer.Option("-n", "--count", help="Tasks to show from each source.", min=1)] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print records, one JSON line a task.")] = False,
) -> None:
    """Print the first tasks of each source."""
    from rlvr_tasks.record import record_from_task
    from rlvr_tasks.registry import load_tasks

    for label, part in _parts(words or [], source):
        tasks = load_tasks(part, check_golds=False)
        if not as_json:
            typer.secho(f"{label}: {len(tasks)} tasks", bold=True)
        for task in tasks[:count]:
            typer.echo(json.dumps(record_from_task(task), ensure_ascii=False) if as_json else _described(task))


@app.command()
def check(
    words: Words = None,
    source: SourceName = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(help="File of evaluation tasks to look for, read with the arguments of FILE; may be repeated."),
    ] = None,
    limit: Limit = None,
    ngram: Annotated[int, typer.Option(help="Words in a row that count as copied.", min=1)] = 13,
    workers: Annotated[int, typer.Option(help="Verifier processes; 0 takes one per core.", min=0)] = 0,
    deadline_s: Annotated[float, typer.Option("--deadline-s", help="Seconds a verification may run.", min=0.001)] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Put every task through its verifier and look for duplicates and contamination.

    Gold answers must pass; empty, echoed and idle completions must fail. With a config, training tasks are also compared with
    its evaluation tasks. Exits with 1 where the data is not fit for training.
    """
    from rlvr_tasks.check import check_tasks
    from rlvr_tasks.registry import load_tasks

    parts = _parts(words or [], source)
    loaded = [(label, load_tasks(_limited(part, limit), check_golds=False)) for label, part in parts]
    held_out: dict[str, Sequence[Task]] = {label: tasks for label, tasks in loaded if _is_held_out(label)}
    for path in against or []:
        held_out[str(path)] = load_tasks(_file_like(parts[0][1], path), check_golds=False)
    reasons: list[str] = []
    for label, tasks in loaded:
        evaluation = {} if _is_held_out(label) else held_out
        report = check_tasks(tasks, held_out=evaluation, ngram=ngram, workers=workers, deadline_s=deadline_s)
        if as_json:
            typer.echo(json.dumps({"source": label, **dataclasses.asdict(report), "counts": report.counts}))
        else:
            _print_report(label, report)
        if report.exit_reason:
            reasons.append(f"{label}: {report.exit_reason}")
    if reasons:
        raise RlvrError("; ".join(reasons))


def _print_report(label: str, report: Any) -> None:
    from rich.console import Console

    console = Console(soft_wrap=not sys.stdout.isatty())
    console.print(label, markup=False, style="bold")
    if report.findings:
        console.print(report.table())
    else:
        console.print(f"{report.tasks} tasks, {report.golds_passed} golds pass their verifier, nothing found")


def _is_held_out(label: str) -> bool:
    return label.startswith(("eval.", "preference.held_out", "reward_model.held_out"))


def _parts(words: Sequence[str], source: str | None) -> list[tuple[str, Mapping[str, Any] | SourceConfig]]:
    """What the command line names, each with the label it is reported under."""
    if source is not None:
        return [(source, {"source": source, "args": _arguments(words)})]
    if not words:
        raise RlvrError("name a config, a file of records, or --source NAME with its arguments")
    path, rest = Path(words[0]), words[1:]
    if path.suffix not in (".yaml", ".yml"):
        return [(str(path), {"source": "jsonl", "args": {"path": str(path), **_arguments(rest)}})]
    from rlvr.config.load import load_config

    config = load_config(path, rest)
    sections = {
        "sft.tasks": config.sft.tasks if config.sft else (),
        "preference.tasks": config.preference.tasks if config.preference else (),
        "preference.held_out": config.preference.held_out if config.preference else (),
        "reward_model.tasks": config.reward_model.tasks if config.reward_model else (),
        "reward_model.held_out": config.reward_model.held_out if config.reward_model else (),
        "rl.tasks": config.rl.tasks if config.rl else (),
        "eval.tasks": config.eval.tasks if config.eval else (),
        "eval.retention": config.eval.retention if config.eval else (),
    }
    parts: list[tuple[str, Mapping[str, Any] | SourceConfig]] = [
        (f"{section}[{number}] {part.source}", part)
        for section, listed in sections.items()
        for number, part in enumerate(listed)
    ]
    if not parts:
        raise RlvrError(f"{path}: the config lists no tasks; add rl.tasks, preference.tasks, sft.tasks or eval.tasks")
    return parts


def _file_like(part: Mapping[str, Any] | SourceConfig, path: Path) -> Mapping[str, Any]:
    """Another file, with the same columns mapped where the first is a file too."""
    same = part["args"] if isinstance(part, Mapping) and part["source"] == "jsonl" else {}
    return {"source": "jsonl", "args": {**same, "path": str(path)}}


def _limited(part: Mapping[str, Any] | SourceConfig, limit: int | None) -> Mapping[str, Any] | SourceConfig:
    if limit is None:
        return part
    if isinstance(part, Mapping):
        return {**part, "limit": limit}
    return {"source": part.source, "args": part.args, "limit": min(limit, part.limit or limit)}


def _arguments(words: Sequence[str]) -> dict[str, Any]:
    """key=value words; dots make nested keys."""
    arguments: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise RlvrError(f"{word!r}: expected key=value, an argument of the source")
        value = _value(text)
        node = arguments
        *parents, leaf = key.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise RlvrError(f"{word!r}: {parent} already has a plain value; it has no keys below it")
        node[leaf] = value
    return arguments


def _value(text: str) -> Any:
    """JSON, or a list or mapping in YAML's looser spelling; anything else is text (`#` and `:` are common in patterns)."""
    import yaml

    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass
    if text[:1] not in "[{":
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _described(task: Task) -> str:
    from rlvr.printable import visible

    lines = [f"  {task.id}  [{task.data_source or 'no data source'}, {task.split}]"]
    lines += [f"    {message.get('role')}: {visible(str(message.get('content')), 2000)}" for message in task.prompt]
    arguments = f" {json.dumps(task.verifier_args, ensure_ascii=False)}" if task.verifier_args else ""
    lines.append(f"    gold: {visible(task.answer, 500)}  ({task.verifier or 'no verifier'}{arguments})")
    if isinstance(shown := task.info.get("demonstration"), str):
        lines.append(f"    demonstration: {visible(shown, 500)}")
    return "\n".join(lines)
