"""Environments of PrimeIntellect's `verifiers` as tasks: data set and rewards of version 0, tasksets of version 1, of one turn.

The environment runs in a process of its own, in whichever interpreter has it, once to list its rows and again in each worker that
scores (`rlvr_verifiers/bridges/prime_process.py`). So what it depends on need not get along with what is installed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from rlvr_tasks.errors import TaskError
from rlvr_verifiers.bridges.prime_process import Place, rows_of
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.types import Task

VERIFIER = "rlvr_verifiers.bridges.prime_process:VerifiersEnv"


def verifiers(
    environment: Annotated[str, Field(description="an installed environment, module:name or path/file.py:name")],
    python: Annotated[
        str | None, Field(description="interpreter that has it, for example my_env/.venv/bin/python; by default this one")
    ] = None,
    args: Annotated[dict[str, Any] | None, Field(description="what load_environment or the taskset's config takes")] = None,
    size: Annotated[int | None, Field(ge=1, description="only the first so many rows; tasksets without end need it")] = None,
    split: Annotated[str, Field(description="written into each task; which rows there are is up to args")] = "train",
) -> Sequence[Task]:
    """Single-turn environments of PrimeIntellect's `verifiers`, versions 0 and 1, with their own rewards, in their own interpreter."""
    try:
        rows = rows_of(Place.of(environment, python, args or {}), size)
    except VerifierError as error:
        raise TaskError(f"source verifiers: {error}") from error
    name = Path(environment.rpartition(":")[0] or environment).stem
    arguments = {"environment": environment, "args": args or {}, **({} if python is None else {"python": python})}
    return [
        Task(
            id=f"{name}-{row['id']}",
            prompt=tuple(row["prompt"]),
            verifier=VERIFIER,
            verifier_args=arguments,
            answer=row["answer"],
            data_source=name,
            split=split,
            info={"verifiers": {"index": index, "key": row["key"], "group": row["group"]}},
        )
        for index, row in enumerate(rows)
    ]
