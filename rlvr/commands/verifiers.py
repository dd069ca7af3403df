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


@app.command()
def audit(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="A verifier, or trl:module:function, verl:module:function.")
    ],
    tasks_path: Annotated[Path, typer.Option("--tasks", help="Task records with golds (.jsonl, .jsonl.gz, .parquet).")],
    limit: Annotated[int | None, typer.Option(help="Only the first so many tasks.", min=1)] = None,
    form: Annotated[
        str | None, typer.Option(help="How answers are stated: boxed, hash, tag, line, alone. Default: found out.")
    ] = None,
    deadline_s: Annotated[float, typer.Option("--deadline-s", help="Seconds one completion may take.", min=0.001)] = 10.0,
    workers: Annotated[int, typer.Option(help="Processes; 0 takes one per core.", min=0)] = 1,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the report as JSON.")] = None,
    as_json: AsJson = False,
) -> None:
    """Try to cheat a verifier, ours or foreign, with completions built from the tasks; count what it wrongly takes and refuses."""
    from rlvr_tasks.registry import load_tasks
    from rlvr_verifiers.audit import audit as run_audit

    tasks = load_tasks({"source": "jsonl", "args": {"path": str(tasks_path)}, "limit": limit}, check_golds=False)
    report = run_audit(target, tasks, form=form, deadline_s=deadline_s, workers=workers)
    found = json.dumps(report.to_json(), ensure_ascii=False, indent=1)
    if output is not None:
        output.write_text(found + "\n", encoding="utf-8")
    typer.echo(found if as_json else report.text())


@app.command()
def serve(
    names: Annotated[list[str], typer.Argument(metavar="VERIFIER...", help="What may be asked; nothing else can be.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port.", min=0, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(help="Verifier processes; 0 takes one per core.", min=0)] = 0,
    deadline_s: Annotated[float, typer.Option("--deadline-s", help="Seconds one verification may run.", min=0.001)] = 5.0,
    max_waiting: Annotated[int, typer.Option(help="Verifications under way or waiting before it says 503.", min=1)] = 4096,
) -> None:
    """Score over HTTP. On Ctrl-C or SIGTERM it takes nothing new and ends when what is under way is done.

    RLVR_VERIFIER_TOKEN in the environment is the token that callers must give.
    """
    import os

    try:
        import uvicorn

        from rlvr_verifiers.service.app import make_app
    except ImportError as error:
        raise RlvrError(f"rlvr verifiers serve needs fastapi and uvicorn ({error}); pip install 'rlvr[serve]'") from None
    token = os.environ.get("RLVR_VERIFIER_TOKEN")
    if not token and host not in ("127.0.0.1", "localhost", "::1"):
        raise RlvrError(
            f"listening on {host} without a token would let anybody use it; set RLVR_VERIFIER_TOKEN or leave --host out"
        )
    service = make_app(names, token=token, workers=workers, deadline_s=deadline_s, max_waiting=max_waiting)
    uvicorn.run(service, host=host, port=port, log_level="warning", timeout_graceful_shutdown=int(deadline_s) + 5)
