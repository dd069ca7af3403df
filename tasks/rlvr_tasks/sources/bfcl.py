"""The single-turn tasks of the Berkeley Function Calling Leaderboard (version 4), from the package `bfcl-eval` or a checkout.

Only its files are read; none of its code runs. Its types become JSON Schema, its golds stay lists of accepted values. Left out:
Java and JavaScript (their values are source code in strings), live_relevance (which has no gold), and everything of several turns.
Some golds cannot pass: they lack a required argument, name one the tool does not have, or have a value of another type than the
tool's schema. They are refused, and named in the log. `WRONG_GOLDS` can pass, and are known to answer another question than is asked.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import Field

from rlvr_tasks.errors import TaskError
from rlvr_tasks.record import canonical_json
from rlvr_tasks.sources.jsonl import read_rows
from rlvr_tasks.tool_shapes import openai_tools
from rlvr_verifiers.registry import check_task
from rlvr_verifiers.types import Task

logger = logging.getLogger(__name__)

CATEGORIES = (
    *("simple_python", "multiple", "parallel", "parallel_multiple"),
    *("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple"),
    *("irrelevance", "live_irrelevance"),
)
WRONG_GOLDS = frozenset({"parallel_84", "parallel_155", "parallel_158", "parallel_170"})
"""Reported upstream as answering another question."""


def bfcl(
    categories: Annotated[str | list[str], Field(description=f"`all`, or one or more of {', '.join(CATEGORIES)}")] = "all",
    path: Annotated[
        str | None, Field(description="folder with BFCL_v4_*.json and possible_answer; default: the package bfcl-eval's")
    ] = None,
    format: Annotated[  # noqa: A002
        str, Field(description="how the policy writes calls, as in verifier_args of tool_call")
    ] = "auto",
    strings: Annotated[
        Literal["exact", "casefold", "bfcl"],
        Field(description="how strings are compared; bfcl is the leaderboard's own rule"),
    ] = "exact",
) -> Sequence[Task]:
    """Single-turn function calling of the Berkeley leaderboard, an evaluation set."""
    names = list(CATEGORIES) if categories == "all" else [categories] if isinstance(categories, str) else categories
    unknown = [name for name in names if name not in CATEGORIES]
    if unknown or not names:
        raise TaskError(f"bfcl: no category {', '.join(unknown) or 'is named'}; known: all, {', '.join(CATEGORIES)}")
    folder = _folder(path)
    arguments = {"format": format, "strings": strings}
    tasks: list[Task] = []
    refused: list[str] = []
    for name in names:
        golds = {} if "irrelevance" in name else _golds(folder, name)
        for where, row in read_rows(_file(folder, name)):
            if isinstance(row, TaskError):
                raise row
            task = _task(row, golds, name, arguments, where)
            problem = "it is known to be wrong" if task.id in WRONG_GOLDS else check_task(task)
            if problem:
                refused.append(task.id)
                logger.info("bfcl: %s is refused: %s", task.id, problem)
            else:
                tasks.append(task)
    if refused:
        logger.warning("bfcl: %d of %d golds are refused: %s", len(refused), len(refused) + len(tasks), ", ".join(refused))
    return tuple(tasks)


def _task(row: Mapping[str, Any], golds: Mapping[str, Any], category: str, arguments: Mapping[str, str], where: str) -> Task:
    identity, question, functions = row.get("id"), row.get("question"), row.get("function")
    if not isinstance(identity, str) or not isinstance(question, list) or not question:
        raise TaskError(f"{where}: id or question is missing; is this a file of BFCL version 4?")
    if golds and identity not in golds:
        raise TaskError(f"{where}: {identity} has no gold in possible_answer; take both from the same version")
    try:
        tools = openai_tools(functions, "bfcl")
    except TaskError as error:
        raise TaskError(f"{where}: {error}") from None
    return Task(
        id=identity,
        prompt=tuple(cast("list[list[dict[str, Any]]]", question)[0]),
        tools=tuple(tools),
        verifier="tool_call",
        answer=canonical_json(golds[identity]) if golds else "[]",
        verifier_args=arguments,
        data_source=f"bfcl/{category}",
        ability="tool calls",
        split="test",
        info={"licence": "Apache-2.0"},
    )


def _golds(folder: Path, category: str) -> dict[str, Any]:
    golds: dict[str, Any] = {}
    for where, row in read_rows(_file(folder / "possible_answer", category)):
        if isinstance(row, TaskError):
            raise row
        if not isinstance(row.get("id"), str) or "ground_truth" not in row:
            raise TaskError(f"{where}: id or ground_truth is missing; is this a file of BFCL version 4?")
        golds[row["id"]] = row["ground_truth"]
    return golds


def _file(folder: Path, category: str) -> Path:
    file = folder / f"BFCL_v4_{category}.json"
    if not file.is_file():
        raise TaskError(f"bfcl: no file {file}; `path` is the folder that holds BFCL_v4_*.json and possible_answer/")
    return file


def _folder(path: str | None) -> Path:
    if path is not None:
        return Path(path).expanduser()
    found = importlib.util.find_spec("bfcl_eval")
    for folder in (found and found.submodule_search_locations) or ():
        if (Path(folder) / "data").is_dir():
            return Path(folder) / "data"
    raise TaskError(
        "bfcl: the package is not installed; `pip install --no-deps bfcl-eval` is enough for its files, or give `path`"
    )
