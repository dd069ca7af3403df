"""`rlvr rollouts`: the table for people, the JSON lines for pipes."""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rlvr.errors import RlvrError
from rlvr.printable import visible
from rlvr.rollout_query import Query, find_rollouts
from rlvr.run_record import read_run

SHOWN_CHARACTERS = 120


def step_range(text: str | None) -> tuple[int, int] | None:
    """`7` or `10-20`."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text.strip())
    if match is None:
        raise RlvrError(f"--step {text!r}: give a step or a range, for example 7 or 10-20")
    return int(match[1]), int(match[2] or match[1])


def print_rollouts(path: Path, query: Query, console: Console, *, limit: int, as_json: bool) -> None:
    """Prints at most `limit` rollouts (0: all); a closed pipe ends it quietly."""
    found = itertools.islice(find_rollouts(read_run(path), query), limit or None)
    if as_json:
        try:
            for row in found:
                sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at exit
        return
    table = Table()
    for column in ("step", "task", "score", "reason", "tokens", "completion"):
        table.add_column(column, overflow="fold")
    for row in found:
        score = "-" if row["score"] is None else f"{row['score']:g}"
        texts = (visible(row["task_id"], 40), score, visible(row["reason"], 30), str(len(row["token_ids"] or [])))
        table.add_row(f"{row['stage']} {row['step']}", *map(Text, texts), Text(visible(row["completion"], SHOWN_CHARACTERS)))
    console.print(table if table.row_count else Text("no rollout matches"))
