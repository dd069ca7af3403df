"""Questions to be answered by a query: the tables and the first database's rows are shown, other databases are not.

    {"question": "...", "schema": "CREATE TABLE ...;", "inserts": ["INSERT ...;", "INSERT ...;"], "query": "SELECT ..."}

`inserts` is one text or a list, each filling one database; `id` is optional. Beside what is given the verifier makes variations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, cast

from pydantic import Field

from rlvr_tasks.errors import TaskError
from rlvr_tasks.mapping import Template
from rlvr_tasks.record import canonical_json, task_from_record
from rlvr_tasks.rows import tasks_from_rows
from rlvr_tasks.sources.hf import file_or_hub_rows
from rlvr_verifiers.types import Task

ASK = (
    "{schema}\n{rows}\n\n{question}\nAnswer with one query for SQLite, in a block that starts with ```sql and ends with ```. It has to be "
    "right for other rows, too."
)


def sql(
    path: Annotated[str, Field(description="a .jsonl, .jsonl.gz or .parquet file, or a hub name")],
    split: Annotated[str, Field(description="split of a hub data set; name of the split for a file")] = "train",
    config: Annotated[str | None, Field(description="configuration of a hub data set")] = None,
    revision: Annotated[str | None, Field(description="hub commit or tag, for an exact repeat")] = None,
    prompt: Annotated[str, Field(description="the user message around {schema}, {rows} and {question}")] = ASK,
    unreadable: Annotated[
        Literal["refuse", "drop"],
        Field(description="rows whose gold cannot be judged by: refuse the file (default), or drop them"),
    ] = "refuse",
    data_source: Annotated[str, Field(description="name that metrics are reported under")] = "sql",
) -> Sequence[Task]:
    """Questions with tables, rows and a gold query, judged by what a query gives on several databases."""
    rows, origin = file_or_hub_rows("sql", path, config, split, revision)
    shape = Template.parse(prompt, "prompt")

    def convert(row: Mapping[str, Any], where: str) -> Task:
        question, schema, query = (_text(row, name, where) for name in ("question", "schema", "query"))
        given = row.get("inserts")
        inserts = cast("list[Any]", given) if isinstance(given, list) and given else [_text(row, "inserts", where)]
        record = {
            "prompt": shape.fill({"schema": schema.strip(), "rows": str(inserts[0]).strip(), "question": question.strip()}),
            "verifier": "sql",
            "answer": canonical_json({"query": query, "schema": schema, "databases": inserts}),
            "data_source": data_source,
            "ability": "sql",
            "split": split.split("[")[0],
        }
        identity = row.get("id")
        return task_from_record(record if identity is None else {**record, "id": f"{data_source}/{identity}"}, where)

    return tasks_from_rows(rows, convert, origin, drop_unreadable=unreadable == "drop")


def _text(row: Mapping[str, Any], name: str, where: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise TaskError(
            f"{where}: {name} is {type(value).__name__}; a row has question, schema, inserts and query, as texts"
        )
    return value
