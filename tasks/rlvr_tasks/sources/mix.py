"""Several sources woven into one finite sequence by weight, for evaluation sets and fixed mixtures.

Training over several sources needs no `mix`: list them in the config, each with its `weight`, and they form an endless stream.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from rlvr_tasks.errors import TaskError
from rlvr_verifiers.types import Task


def mix(
    sources: Annotated[
        list[dict[str, Any]], Field(description="what to mix: a list of {source, args, weight (1), limit}", min_length=1)
    ],
    size: Annotated[int | None, Field(ge=1, description="tasks in all; default: until a drawn source has none left")] = None,
    seed: Annotated[int, Field(description="order within and between the sources")] = 0,
) -> Sequence[Task]:
    """Several sources woven into one by weight; every task is used at most once."""
    from rlvr_tasks.registry import load_tasks  # the registry lists this file

    weights = [_weight(config) for config in sources]
    pools = [list(load_tasks(_without_weight(config), check_golds=False)) for config in sources]
    generator = random.Random(f"mix/{seed}")
    for pool in pools:
        generator.shuffle(pool)
    mixed: list[Task] = []
    owners: dict[str, int] = {}
    while size is None or len(mixed) < size:
        chosen = generator.choices(range(len(pools)), weights)[0]
        if not pools[chosen]:
            if size is None:
                break
            raise TaskError(f"mix: source {chosen} ran out after {len(mixed)} of {size} tasks; lower `size` or its weight")
        task = pools[chosen].pop()
        if task.id in owners:
            raise TaskError(f"mix: task id {task.id!r} is in source {owners[task.id]} and in {chosen}; change one of them")
        owners[task.id] = chosen
        mixed.append(task)
    if not mixed:
        raise TaskError("mix: no tasks; check the sources")
    return tuple(mixed)


def _weight(config: Mapping[str, Any]) -> float:
    weight = config.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
        raise TaskError(f"mix: weight {weight!r} of {config.get('source')} is not a positive number")
    return float(weight)


def _without_weight(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != "weight"}
