"""Two data-parallel processes make the very update that one makes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from rlvr.learner import UpdateBatch
from rlvr.objectives import OBJECTIVES
from tests.contract.test_learner import ALGORITHM, GROUPS, batch_of, flat, fresh


def _rank_main(rank: int, folder: str, rendezvous: str, out: str) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank))
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    policy, learner = fresh(Path(folder))
    whole = batch_of(GROUPS)
    first = sum(GROUPS[0].loss_tokens)
    sequences = len(GROUPS[0].completion_ids)
    mine = slice(0, first) if rank == 0 else slice(first, None)
    part = UpdateBatch(
        groups=GROUPS[:1] if rank == 0 else GROUPS[1:],
        advantages=whole.advantages[:sequences] if rank == 0 else whole.advantages[sequences:],
        sampled_logprobs=whole.sampled_logprobs[mine],
        old_logprobs=None,
        ref_logprobs=None,
        weights=whole.weights[mine],
    )
    metrics = learner.update(part, OBJECTIVES["clipped"], ALGORITHM)
    torch.save({"metrics": metrics, "weights": flat(policy)}, f"{out}-{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_ranks_make_the_update_of_one(tiny_model_dir: Path, tmp_path: Path) -> None:
    policy, learner = fresh(tiny_model_dir)
    metrics = learner.update(batch_of(GROUPS), OBJECTIVES["clipped"], ALGORITHM)
    torch.multiprocessing.start_processes(
        _rank_main,
        args=(str(tiny_model_dir), str(tmp_path / "rendezvous"), str(tmp_path / "out")),
        nprocs=2,
        start_method="spawn",
    )
    for rank in range(2):
        other = torch.load(tmp_path / f"out-{rank}.pt", weights_only=True)
        assert other["metrics"] == pytest.approx(metrics, rel=1e-4, abs=1e-6)
        torch.testing.assert_close(other["weights"], flat(policy), atol=1e-5, rtol=1e-4)
