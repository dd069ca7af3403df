"""`rlvr verifiers`: which there are, a new one from templates, whether one keeps its promises, how it can be cheated, a service.

A verifier is named as in a task record: by its registry name, as module:name, or as path/file.py:name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from rlvr.errors import RlvrError

app = typer.Typer(
    help="List, write, check, audit and serve verifiers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(metavar="VERIFIER", help="Registry name, module:name or path/file.py:name.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command("list")
def list_verifiers(as_json: AsJson = False) -> None:
    """Show every built-in and installed verifier."""
    from rlvr_verifiers.registry import BUILT_IN, available, summary_of

    rows = [
        {"name": name, "target": target, "built_in": name in BUILT_IN, "summary": summary_of(name)}
        for name, target in sorted(available().items())
    ]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    width = max(len(str(row["name"])) for row in rows)
    for row in rows:
        typer.secho(f"{row['name']:{width}}", bold=True, nl=False)
        typer.echo(f"  {row['summary']}{'' if row['built_in'] else '  [' + str(row['target']) + ']'}")


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Small letters, digits and underscores, as in word_count.")],
    folder: Annotated[Path, typer.Option("-o", "--output", help="Folder to write it into.")] = Path("."),
    single_file: Annotated[bool, typer.Option("--file", help="One file and its cases instead of a package.")] = False,
) -> None:
    """Write a verifier that works, to change: an installable package, or one file."""
    from rlvr_verifiers.scaffold import new_verifier

    files = new_verifier(name, folder, single_file=single_file)
    for path in files:
        typer.echo(path)
    if single_file:
        typer.echo(f'next: edit it, then rlvr verifiers check {files[0]}:score; in a record "verifier": "{files[0]}:score"')
    else:
        typer.echo(f"next: pip install -e {folder / name}; edit {files[2]}; rlvr verifiers check {name}")


@app.command()
def check(
    verifier: Name,
    cases: Annotated[Path | None, typer.Option(help="Cases file (JSONL); by default the verifier's own.")] = None,
    deadline_s: Annotated[
        float, typer.Option("--deadline-s", help="Seconds it may take for one completion.", min=0.001)
    ] = 5.0,
    as_json: AsJson = False,
) -> None:
    """Put a verifier through its cases, hostile completions, threads and processes; look for side effects and leaks."""
    from rlvr_verifiers.conformance import check as run_check

    report = run_check(verifier, cases, deadline_s=deadline_s)
    typer.echo(json.dumps(report.to_json()) if as_json else report.text())
    if not report.passed:
        raise RlvrError(f"{verifier} breaks {len(report.broken)} rules: {', '.join(report.broken)}")
