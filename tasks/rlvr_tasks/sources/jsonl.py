"""Rows from files on disk: .jsonl, .jsonl.gz and .parquet.

JSON lines are read here and not by Arrow, which would unify the objects of all rows and fill absent keys with null.
"""

from __future__ import annotations

import gzip
import importlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import Field
from typing_extensions import Unpack

from rlvr_tasks.errors import TaskError
from rlvr_tasks.mapping import MappingOptions, column_mapping
from rlvr_tasks.record import parse_json
from rlvr_tasks.rows import Row, tasks_from_rows
from rlvr_verifiers.types import Task

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")


def jsonl(
    path: Annotated[str | list[str], Field(description="file or files: .jsonl, .jsonl.gz or .parquet")],
    **mapping: Unpack[MappingOptions],
) -> Sequence[Task]:
    """Rows of local files, as records or with mapped columns."""
    paths = [Path(item).expanduser() for item in ([path] if isinstance(path, str) else path)]
    if not paths:
        raise TaskError("jsonl: `path` is an empty list; name at least one file")
    for item in paths:
        if not item.is_file():
            raise TaskError(f"jsonl: no file {item} (looked from {Path.cwd()}); correct `path`")
        if not item.name.endswith(SUFFIXES):
            raise TaskError(f"jsonl: {item} is none of {', '.join(SUFFIXES)}; convert it or use the source `hf`")
    convert = column_mapping(default_data_source=paths[0].name.split(".")[0], **mapping)
    rows = (row for item in paths for row in read_rows(item))
    origin = ", ".join(map(str, paths))
    return tasks_from_rows(rows, convert, origin, drop_unreadable=mapping.get("unreadable_golds") == "drop")


def read_rows(path: Path) -> Iterator[Row]:
    """Rows with their place (file:line); a line that is no JSON object comes as the TaskError that says so."""
    return _parquet_rows(path) if path.suffix == ".parquet" else _file_rows(path)


def json_rows(lines: Iterable[str], origin: str) -> Iterator[Row]:
    """The same from lines that are already open; empty ones are skipped."""
    try:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield f"{origin}:{number}", _row_or_error(line, f"{origin}:{number}")
    except UnicodeDecodeError as error:
        raise TaskError(f"{origin}: not UTF-8 ({error.reason}); convert it") from None


def _file_rows(path: Path) -> Iterator[Row]:
    open_text = gzip.open if path.suffix == ".gz" else open
    try:
        with open_text(path, "rt", encoding="utf-8") as lines:
            yield from json_rows(lines, str(path))
    except (gzip.BadGzipFile, EOFError) as error:
        raise TaskError(f"{path}: damaged gzip file ({error}); fetch or write it again") from None


def json_row(line: str, where: str) -> dict[str, Any]:
    """One JSON line as a row; TaskError names the place."""
    try:
        row = parse_json(line)
    except TaskError as error:
        raise TaskError(f"{where}: {error}; one JSON object a line is expected") from None
    if not isinstance(row, dict):
        raise TaskError(f"{where}: expected a JSON object, found {type(row).__name__}")
    return cast("dict[str, Any]", row)


def _row_or_error(line: str, where: str) -> dict[str, Any] | TaskError:
    try:
        return json_row(line, where)
    except TaskError as error:
        return error


def _parquet_rows(path: Path) -> Iterator[Row]:
    parquet: Any = importlib.import_module("pyarrow.parquet")
    try:
        file = parquet.ParquetFile(path)
    except ValueError as error:  # pyarrow.ArrowInvalid is one
        raise TaskError(f"{path}: not a parquet file ({error})") from None
    number = 0
    with file:
        for batch in file.iter_batches(batch_size=1024):
            for row in cast("list[dict[str, Any]]", batch.to_pylist()):
                number += 1
                yield f"{path}:{number}", row
