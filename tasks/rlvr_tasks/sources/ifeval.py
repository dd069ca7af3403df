"""IFEval (Zhou et al., 2023) and rows of its shape: `prompt`, `instruction_id_list`, `kwargs`, perhaps `key` and `demonstration`.

    {"key": 1001, "prompt": "... no commas ...", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}

The published rows are an evaluation set. The verifier looks at form alone: to train, weigh it against a verifier of the content.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, cast

from pydantic import Field

from rlvr_tasks.errors import TaskError, UnreadableGoldError
from rlvr_tasks.record import canonical_json, parse_json, task_from_record
from rlvr_tasks.rows import tasks_from_rows
from rlvr_tasks.sources.hf import file_or_hub_rows
from rlvr_verifiers.types import Task


def ifeval(
    path: Annotated[str, Field(description="a .jsonl, .jsonl.gz or .parquet file, or a hub name")] = "google/IFEval",
    split: Annotated[str, Field(description="split of a hub data set; name of the split for a file")] = "train",
    config: Annotated[str | None, Field(description="configuration of a hub data set")] = None,
    revision: Annotated[str | None, Field(description="hub commit or tag, for an exact repeat")] = None,
    partial: Annotated[
        bool, Field(description="score the share of instructions that are followed, not all or nothing")
    ] = False,
    unreadable: Annotated[
        Literal["refuse", "drop"],
        Field(description="rows with instructions that are not known: refuse the file (default), or drop them"),
    ] = "refuse",
    data_source: Annotated[str, Field(description="name that metrics are reported under")] = "ifeval",
) -> Sequence[Task]:
    """Instructions whose keeping can be checked: length, format, words, case, language."""
    rows, origin = file_or_hub_rows("ifeval", path, config, split, revision)

    def convert(row: Mapping[str, Any], where: str) -> Task:
        try:
            record = {
                "prompt": row.get("prompt"),
                "verifier": "ifeval",
                "verifier_args": {"partial": True} if partial else {},
                "answer": _answer(row),
                "data_source": data_source,
                "ability": "instructions",
                "split": split.split("[")[0],
                "info": {"demonstration": row["demonstration"]} if row.get("demonstration") else {},
            }
        except TaskError as error:
            raise type(error)(f"{where}: {error}") from None
        key = row.get("key")
        return task_from_record(record if key is None else {**record, "id": f"{data_source}/{key}"}, where)

    return tasks_from_rows(rows, convert, origin, drop_unreadable=unreadable == "drop")


def _answer(row: Mapping[str, Any]) -> str:
    ids, kwargs = (_list(row, name) for name in ("instruction_id_list", "kwargs"))
    # Arrow gives every set of arguments the keys of all, and null for those that it does not have.
    given = [{key: value for key, value in _object(item).items() if value is not None} for item in kwargs]
    return canonical_json({"instruction_id_list": ids, "kwargs": given})


def _list(row: Mapping[str, Any], name: str) -> list[Any]:
    value = row.get(name)
    value = parse_json(value) if isinstance(value, str) else value
    if not isinstance(value, list):
        raise TaskError(f"{name} is {type(value).__name__}; a row of IFEval has a list there")
    return cast("list[Any]", value)


def _object(item: object) -> Mapping[str, Any]:
    value: object = parse_json(item) if isinstance(item, str) else item
    if value is not None and not isinstance(value, Mapping):
        raise UnreadableGoldError(f"kwargs holds {type(value).__name__}; give an object for each instruction")
    return cast("Mapping[str, Any]", value or {})
