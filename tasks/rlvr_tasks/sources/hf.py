"""Data sets through Hugging Face `datasets`: a hub name, or a local file or folder through the same code."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import Field
from typing_extensions import Unpack

from rlvr_tasks.errors import TaskError
from rlvr_tasks.mapping import MappingOptions, column_mapping
from rlvr_tasks.rows import Row, tasks_from_rows
from rlvr_tasks.sources.jsonl import SUFFIXES, read_rows
from rlvr_verifiers.types import Task

BUILDERS = {".jsonl": "json", ".json": "json", ".gz": "json", ".parquet": "parquet", ".csv": "csv", ".arrow": "arrow"}


def hf(
    name: Annotated[str, Field(description="hub name such as openai/gsm8k, or a local file or folder")],
    config: Annotated[str | None, Field(description="the data set's configuration, e.g. main")] = None,
    split: Annotated[str, Field(description="split to read, e.g. train, test or train[:1000]")] = "train",
    revision: Annotated[str | None, Field(description="hub commit or tag, for an exact repeat")] = None,
    **mapping: Unpack[MappingOptions],
) -> Sequence[Task]:
    """Rows of a Hugging Face data set, from the hub or from disk, as records or with mapped columns."""
    origin = f"{name}{f'/{config}' if config else ''} [{split}]"
    convert = column_mapping(
        default_data_source=name.rstrip("/").rsplit("/", 1)[-1].split(".")[0], default_split=split.split("[")[0], **mapping
    )
    rows = hub_rows(name, config, split, revision, origin)
    drop = mapping.get("unreadable_golds") == "drop"
    return tasks_from_rows(_numbered(rows, origin), convert, origin, drop_unreadable=drop)


def file_or_hub_rows(
    source: str, path: str, config: str | None, split: str, revision: str | None
) -> tuple[Iterator[Row], str]:
    """Rows of a local .jsonl, .jsonl.gz or .parquet file, or of a hub data set, and what to call them in messages.

    Raises TaskError where a file is meant that is not there or of another kind, or the data set cannot be loaded.
    """
    file = Path(path).expanduser()
    if file.is_file() or path.endswith(SUFFIXES):
        if not path.endswith(SUFFIXES):
            raise TaskError(f"{source}: {file} is none of {', '.join(SUFFIXES)}; convert it or correct `path`")
        if not file.is_file():
            raise TaskError(f"{source}: no file {file} (looked from {Path.cwd()}); correct `path`")
        return read_rows(file), str(file)
    origin = f"{path}{f'/{config}' if config else ''} [{split}]"
    return _numbered(hub_rows(path, config, split, revision, origin), origin), origin


def _numbered(rows: Sequence[Mapping[str, Any]], origin: str) -> Iterator[Row]:
    for number in range(len(rows)):
        yield f"{origin}:{number}", rows[number]


def hub_rows(name: str, config: str | None, split: str, revision: str | None, origin: str) -> Sequence[Mapping[str, Any]]:
    """Rows of a hub data set or a local file or folder; `origin` names it in the TaskError of what cannot be loaded."""
    datasets: Any = importlib.import_module("datasets")  # seconds to import, and only this source needs it
    arguments: dict[str, Any] = {"path": name, "name": config, "revision": revision}
    local = Path(name).expanduser()
    if local.is_file():
        builder = BUILDERS.get(local.suffix)
        if builder is None:
            raise TaskError(f"hf: {local} is none of {', '.join(BUILDERS)}; convert it")
        # A single file has no splits of its own: it is read whole, and a slice like train[:100] still applies.
        arguments = {"path": builder, "data_files": {split.split("[")[0]: str(local)}}
    elif local.suffix in BUILDERS or (name.startswith((".", "/", "~")) and not local.is_dir()):
        raise TaskError(f"hf: no file {local} (looked from {Path.cwd()}); correct `name`")
    try:
        loaded = datasets.load_dataset(**arguments, split=split)
    except Exception as error:  # datasets raises dozens of types: hub, network, builder, file system
        line = str(error).strip().splitlines() or [""]
        raise TaskError(
            f"hf: cannot load {origin} ({type(error).__name__}: {line[0]}); check name, config and split"
        ) from error
    return cast("Sequence[Mapping[str, Any]]", loaded)
