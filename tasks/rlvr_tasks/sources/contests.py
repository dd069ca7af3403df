"""Programs that read standard input and write standard output: CodeContests, APPS, LiveCodeBench and rows of their kind.

A task has hidden cases, or it is none: cases that are printed in the statement can be answered by heart, so they are judged
too but are never the only ones. Problems with several right outputs need a judge that nobody shipped; they are told apart
by what the row or its statement says, and left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from rlvr_tasks.errors import TaskError, UnreadableGoldError
from rlvr_tasks.record import canonical_json
from rlvr_tasks.rows import tasks_from_rows
from rlvr_tasks.sources.contest_rows import Case, Problem, problem_of, row_id
from rlvr_tasks.sources.hf import file_or_hub_rows
from rlvr_tasks.sources.statements import MAX_STATEMENT, interactive, several_answers, tolerance
from rlvr_verifiers.types import Task

ASK = (
    "{statement}\n\nWrite a Python program that reads from standard input and writes to standard output. Give the whole program in "
    "one block that starts with ```python and ends with ```."
)
MAX_DEMONSTRATION = 20_000
"""Characters of a solution that is kept as a demonstration."""


def contests(
    path: Annotated[
        str, Field(description="a .jsonl, .jsonl.gz or .parquet file, or a hub name such as deepmind/code_contests")
    ],
    split: Annotated[str, Field(description="split of a hub data set; name of the split for a file")] = "train",
    config: Annotated[str | None, Field(description="configuration of a hub data set")] = None,
    revision: Annotated[str | None, Field(description="hub commit or tag, for an exact repeat")] = None,
    max_cases: Annotated[int, Field(ge=2, description="cases of a task at most, people's before generated ones")] = 32,
    max_case_bytes: Annotated[int, Field(ge=16, description="larger cases are left out")] = 65_536,
    max_bytes: Annotated[int, Field(ge=64, description="of all cases of a task together")] = 1_048_576,
    exclude: Annotated[
        list[str], Field(description="ids known to need a judge of their own that their statements do not betray")
    ] = [],  # noqa: B006
    several: Annotated[
        Literal["unusable", "keep"],
        Field(description="problems whose statement says that several outputs are right: unusable (default), or keep"),
    ] = "unusable",
    limits: Annotated[
        dict[str, Any] | None, Field(description="limits of a program, e.g. {wall_s: 8, memory_mb: 256}")
    ] = None,
    unusable: Annotated[
        Literal["refuse", "drop"],
        Field(
            description="rows that cannot be judged fairly: refuse the file (default), or drop them with their reasons logged"
        ),
    ] = "refuse",
    report: Annotated[str | None, Field(description="file to write every unusable row's id and reason to (JSONL)")] = None,
    data_source: Annotated[
        str | None, Field(description="name that metrics are reported under; default: the file's")
    ] = None,
) -> Sequence[Task]:
    """Problems judged by standard input and output: CodeContests, APPS, LiveCodeBench or rows like theirs."""
    rows, origin = file_or_hub_rows("contests", path, config, split, revision)
    name = data_source or Path(path).name.split(".")[0]
    left_out: list[dict[str, str]] = []

    def convert(row: Mapping[str, Any], where: str) -> Task | None:
        identity = row_id(row) or where
        try:
            if identity in exclude:
                return None
            problem = problem_of(row)
            _refuse_unfair(problem, several)
            cases, hidden = _chosen(problem, max_cases, max_case_bytes, max_bytes)
            return _task(problem, cases, hidden, name, split.split("[")[0], limits)
        except TaskError as error:
            left_out.append({"row": where, "id": identity, "reason": str(error)})
            raise type(error)(f"{where}: {identity}: {error}") from None

    try:
        return tasks_from_rows(rows, convert, origin, drop_unreadable=unusable == "drop")
    except TaskError as error:
        hint = "; `unusable: drop` leaves out what cannot be judged fairly" if unusable == "refuse" and left_out else ""
        raise TaskError(f"{error}{hint}") from None
    finally:
        if report is not None:
            _write(Path(report).expanduser(), left_out)


def _write(report: Path, left_out: Sequence[Mapping[str, str]]) -> None:
    try:
        report.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in left_out), encoding="utf-8")
    except OSError as error:
        raise TaskError(f"contests: cannot write {report} ({error.strerror}); correct `report`") from None


def _refuse_unfair(problem: Problem, several: str) -> None:
    """Raises UnreadableGoldError where comparing outputs would not be the problem's own judge."""
    if len(problem.statement) > MAX_STATEMENT:
        raise UnreadableGoldError(f"the statement has {len(problem.statement)} characters, over {MAX_STATEMENT}")
    if problem.special_judge:
        raise UnreadableGoldError("the row declares a judge of its own")
    if word := interactive(problem.statement):
        raise UnreadableGoldError(f"the program has to talk with its judge ({word!r} in the statement)")
    if several == "unusable" and (words := several_answers(problem.statement)):
        raise UnreadableGoldError(f"the statement allows several outputs ({words!r})")
    if tolerance(problem.statement) is None:
        raise UnreadableGoldError("the statement allows an error and does not say how large, or one over 0.01")


def _task(
    problem: Problem, chosen: Sequence[Case], hidden: int, data_source: str, split: str, limits: Mapping[str, Any] | None
) -> Task:
    allowed = tolerance(problem.statement)
    answer: dict[str, Any] = {"style": "stdio", "cases": [{"stdin": case.stdin, "stdout": case.stdout} for case in chosen]}
    answer |= {"float_tol": allowed} if allowed else {}
    answer |= {"limits": dict(limits)} if limits else {}
    info: dict[str, Any] = {
        "cases": len(chosen),
        "hidden_cases": hidden,
        "cases_given": len(problem.visible) + len(problem.hidden),
    }
    solution = next(
        (source for source in problem.solutions if len(source) <= MAX_DEMONSTRATION and "```" not in source), None
    )
    if solution is not None:
        info["demonstration"] = f"```python\n{solution.rstrip()}\n```"
    return Task(
        id=problem.id or hashlib.sha256(problem.statement.encode("utf-8", "surrogatepass")).hexdigest()[:16],
        prompt=({"role": "user", "content": ASK.format(statement=problem.statement.strip())},),
        verifier="code",
        answer=canonical_json(answer),
        data_source=data_source,
        ability="code",
        split=split,
        info=info,
    )


def _chosen(problem: Problem, max_cases: int, max_case_bytes: int, max_bytes: int) -> tuple[list[Case], int]:
    """The cases of the task, hidden ones first, and how many are hidden. Raises UnreadableGoldError where they prove nothing."""
    small = [case for case in (*problem.hidden, *problem.visible) if _size(case) <= max_case_bytes]
    if not small:
        given = len(problem.hidden) + len(problem.visible)
        raise UnreadableGoldError(
            f"all of its {given} cases are over {max_case_bytes} bytes" if given else "it has no cases"
        )
    shown = {_words(case.stdin) for case in problem.visible}
    page = _page(problem.statement)
    expected: dict[tuple[str, ...], Case] = {}
    for case in small:
        other = expected.setdefault(_words(case.stdin), case)
        if _words(other.stdout) != _words(case.stdout):
            raise UnreadableGoldError(f"the input {case.stdin[:40]!r} is given with two outputs")
    hidden = [case for words, case in expected.items() if words not in shown and not _is_printed(case, page)]
    if not hidden:
        raise UnreadableGoldError(f"all of its {len(expected)} cases can be read in the statement")
    visible = [case for case in expected.values() if case not in hidden]
    room = max(1, max_cases - min(len(visible), max_cases // 4))
    chosen = _within([*hidden[:room], *visible[: max_cases // 4]], max_bytes)
    if len({_words(case.stdout) for case in chosen}) == 1:
        raise UnreadableGoldError(f"its {len(chosen)} cases all expect the same output, so that printing it would pass")
    return chosen, sum(case in hidden for case in chosen)


def _within(cases: Sequence[Case], max_bytes: int) -> list[Case]:
    kept: list[Case] = []
    for case in cases:
        if _size(case) <= max_bytes:
            kept.append(case)
            max_bytes -= _size(case)
    return kept


def _size(case: Case) -> int:
    return len(case.stdin.encode("utf-8", "surrogatepass")) + len(case.stdout.encode("utf-8", "surrogatepass"))


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _page(text: str) -> str:
    return "\n" + "\n".join(line for raw in text.splitlines() if (line := " ".join(raw.split()))) + "\n"


def _is_printed(case: Case, page: str) -> bool:
    """Whether input and output both stand in the statement, line for line."""
    return _page(case.stdin) in page and _page(case.stdout) in page
