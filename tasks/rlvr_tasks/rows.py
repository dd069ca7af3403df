"""From rows of a file to tasks: all bad rows are reported together, ids are checked."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rlvr_tasks.errors import TaskError
from rlvr_tasks.record import content_id
from rlvr_verifiers.registry import check_task
from rlvr_verifiers.types import Task

logger = logging.getLogger(__name__)

SHOWN = 10
"""Bad rows spelled out in one error; the rest is counted."""

Row = tuple[str, Mapping[str, Any] | TaskError]
"""Where the row stands (file:line), and its columns or why they cannot be read."""


def tasks_from_rows(
    rows: Iterable[Row], convert: Callable[[Mapping[str, Any], str], Task | None], origin: str
) -> tuple[Task, ...]:
    """Converts every row; `convert` gives None for a row that a filter leaves out.

    Rows without an id that are equal in content get a running number behind their hash, in file order; an id that is given
    twice is an error. Raises one TaskError for all unusable rows, and one where nothing is left.
    """
    problems: list[str] = []
    places: list[str] = []
    tasks: list[Task] = []
    seen: dict[str, str] = {}
    copies: dict[str, int] = {}
    read = 0
    for where, row in rows:
        read += 1
        try:
            if isinstance(row, TaskError):
                raise row
            task = convert(row, where)
        except TaskError as error:
            problems.append(str(error).removeprefix(f"{where}: "))
            places.append(where)
            continue
        if task is None:
            continue
        if task.id in seen and task.id == content_id(task):
            copies[task.id] = copies.get(task.id, 1) + 1
            task = dataclasses.replace(task, id=f"{task.id}-{copies[task.id]}")
        if task.id in seen:
            problems.append(f"id: {task.id!r} is also the id of {seen[task.id]}; ids must be unique")
            places.append(where)
            continue
        seen[task.id] = where
        tasks.append(task)
    if problems and len(problems) == read and len(set(problems)) == 1:
        raise TaskError(f"{origin}: none of the {read} rows can be used: {problems[0]}")
    if problems:
        lines = [f"{where}: {problem}" for where, problem in zip(places, problems, strict=True)]
        raise TaskError(listed(f"{origin}: {len(problems)} of {read} rows cannot be used", lines))
    if not tasks:
        raise TaskError(f"{origin}: no tasks ({read} rows read); check the path, the split and the filter")
    return tuple(tasks)


def readable(tasks: tuple[Task, ...], origin: str) -> tuple[Task, ...]:
    """Only tasks whose gold their verifier can use; how many were dropped is logged."""
    kept = tuple(task for task in tasks if not task.verifier or check_task(task) is None)
    if len(kept) < len(tasks):
        logger.warning("%s: dropped %d of %d tasks: unreadable golds", origin, len(tasks) - len(kept), len(tasks))
    return kept


def listed(headline: str, problems: Sequence[str]) -> str:
    """A headline, the first problems one a line, and a count of the rest."""
    lines = [headline, *(f"  {problem}" for problem in problems[:SHOWN])]
    if len(problems) > SHOWN:
        lines.append(f"  ... and {len(problems) - SHOWN} more")
    return "\n".join(lines)
