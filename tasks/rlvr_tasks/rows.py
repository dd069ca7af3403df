"""From rows of a file to tasks: all bad rows are reported together, ids are checked."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rlvr_tasks.errors import TaskError, UnreadableGoldError
from rlvr_tasks.record import content_id
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.registry import check_task
from rlvr_verifiers.types import Task

logger = logging.getLogger(__name__)

SHOWN = 10
"""Bad rows spelled out in one error; the rest is counted."""

Row = tuple[str, Mapping[str, Any] | TaskError]
"""Where the row stands (file:line), and its columns or why they cannot be read."""


def tasks_from_rows(
    rows: Iterable[Row],
    convert: Callable[[Mapping[str, Any], str], Task | None],
    origin: str,
    *,
    drop_unreadable: bool = False,
) -> tuple[Task, ...]:
    """Converts every row; `convert` gives None for a row that a filter leaves out.

    Rows without an id that are equal in content get a running number behind their hash, in file order; an id that is given
    twice is an error. `drop_unreadable` leaves out, and names in the log, rows whose gold cannot be found or is not one that
    their verifier can use. Raises one TaskError for all unusable rows, and one where nothing is left.
    """
    problems: list[tuple[str, str]] = []
    ids = _Ids()
    tasks: list[Task] = []
    dropped: list[str] = []
    read = 0
    for where, row in rows:
        read += 1
        try:
            task = _converted(row, where, convert)
            if task is None:
                continue
            if drop_unreadable and not _is_readable(task):
                raise UnreadableGoldError("the verifier cannot use its gold")
            tasks.append(ids.unique(task, where))
        except TaskError as error:
            if drop_unreadable and isinstance(error, UnreadableGoldError):
                dropped.append(f"{where}: {str(error).removeprefix(f'{where}: ')}")
            else:
                problems.append((where, str(error).removeprefix(f"{where}: ")))
    if problems:
        raise TaskError(_report(problems, read, origin))
    if not tasks:
        raise TaskError(
            f"{origin}: no tasks ({read} rows read, {len(dropped)} dropped); check the path, the split and the filter"
        )
    if dropped:
        logger.warning("%s", listed(f"{origin}: dropped {len(dropped)} of {read} rows: unreadable golds", dropped))
    return tuple(tasks)


def listed(headline: str, problems: Sequence[str]) -> str:
    """A headline, the first problems one a line, and a count of the rest."""
    lines = [headline, *(f"  {problem}" for problem in problems[:SHOWN])]
    if len(problems) > SHOWN:
        lines.append(f"  ... and {len(problems) - SHOWN} more")
    return "\n".join(lines)


class _Ids:
    def __init__(self) -> None:
        self._places: dict[str, str] = {}
        self._copies: dict[str, int] = {}

    def unique(self, task: Task, where: str) -> Task:
        """The task, numbered where it repeats the content of an earlier one. Raises TaskError for an id given twice."""
        if task.id in self._places and task.id == content_id(task):
            self._copies[task.id] = copy = self._copies.get(task.id, 1) + 1
            task = dataclasses.replace(task, id=f"{task.id}-{copy}")
        if task.id in self._places:
            raise TaskError(f"id: {task.id!r} is also the id of {self._places[task.id]}; ids must be unique")
        self._places[task.id] = where
        return task


def _converted(
    row: Mapping[str, Any] | TaskError, where: str, convert: Callable[[Mapping[str, Any], str], Task | None]
) -> Task | None:
    if isinstance(row, TaskError):
        raise row
    return convert(row, where)


def _is_readable(task: Task) -> bool:
    try:
        return not task.verifier or check_task(task) is None
    except VerifierError as error:
        raise TaskError(str(error)) from None


def _report(problems: Sequence[tuple[str, str]], read: int, origin: str) -> str:
    if len(problems) == read and len({problem for _, problem in problems}) == 1:
        return f"{origin}: none of the {read} rows can be used: {problems[0][1]}"
    lines = [f"{where}: {problem}" for where, problem in problems]
    return listed(f"{origin}: {len(problems)} of {read} rows cannot be used", lines)
