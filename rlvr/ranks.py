"""Data-parallel ranks. A rank owns whole groups; counts are summed over ranks before any weight is computed.

With one process every function here is the identity, so the trainer never asks how many there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import distributed


def rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def summed(*counts: float) -> tuple[float, ...]:
    """Each number summed over all ranks."""
    if world_size() == 1:
        return counts
    total = torch.tensor(counts, dtype=torch.float64)
    distributed.all_reduce(total)
    return tuple(total.tolist())


def union(names: Iterable[str]) -> list[str]:
    """All names that any rank has, sorted, the same list everywhere."""
    if world_size() == 1:
        return sorted(names)
    gathered: list[list[str]] = [[] for _ in range(world_size())]
    distributed.all_gather_object(gathered, sorted(names))
    return sorted({name for part in gathered for name in part})


def summed_by_name(sums: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Each named number summed over all ranks; a rank may lack some, where it had nothing to compute."""
    names = union(sums)
    return dict(zip(names, summed(*(float(sums[name]) if name in sums else 0.0 for name in names)), strict=True))


def sum_gradients(parameters: Iterable[torch.Tensor]) -> None:
    """Adds up `.grad` over ranks in place. Losses carry global weights already, so a sum is the whole batch's gradient."""
    if world_size() == 1:
        return
    for parameter in parameters:
        if parameter.grad is None:  # a rank without loss tokens still takes part in the sum
            parameter.grad = torch.zeros_like(parameter)
        distributed.all_reduce(parameter.grad)
