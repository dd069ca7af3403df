"""Two data-parallel processes make the very preference update that one makes, KTO's estimate of the KL included."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
import torch

from rlvr.config.schema import OptimizerConfig
from rlvr.learner import Learner
from rlvr.policy import Policy
from rlvr.preference.update import PreferenceStep, update
from tests.contract.test_learner import flat
from tests.contract.test_preference_update import algorithm, policy_of, step_of


def _update(policy: Policy, folder: Path, preset: str, mine: slice) -> dict[str, float]:
    whole = step_of(policy, policy_of(folder, stirred=False), algorithm(preset).objective)
    sequences = slice(2 * mine.start, 2 * mine.stop)
    part = dataclasses.replace(
        whole,
        examples=whole.examples[mine],
        ref_logprobs=None if whole.ref_logprobs is None else whole.ref_logprobs[sequences],
        mismatched=whole.mismatched[mine],
        ref_mismatched=None if whole.ref_mismatched is None else whole.ref_mismatched[sequences],
    )
    assert isinstance(part, PreferenceStep)
    learner = Learner(policy, OptimizerConfig(learning_rate=1e-3), total_steps=1, micro_batch_tokens=100)
    return update(learner, part, algorithm(preset))


def _rank_main(rank: int, folder: str, rendezvous: str, out: str, preset: str, cut: int) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank))
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    policy = policy_of(Path(folder))
    metrics = _update(policy, Path(folder), preset, slice(0, cut) if rank == 0 else slice(cut, 6))
    torch.save({"metrics": metrics, "weights": flat(policy)}, f"{out}-{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(("preset", "cut"), [("dpo", 4), ("kto", 2), ("orpo", 6)])
def test_two_ranks_make_the_update_of_one(tiny_model_dir: Path, tmp_path: Path, preset: str, cut: int) -> None:
    """With cut 6 the second rank has no pair at all."""
    policy = policy_of(tiny_model_dir)
    metrics = _update(policy, tiny_model_dir, preset, slice(0, 6))
    torch.multiprocessing.start_processes(
        _rank_main,
        args=(str(tiny_model_dir), str(tmp_path / "rendezvous"), str(tmp_path / "out"), preset, cut),
        nprocs=2,
        start_method="spawn",
    )
    for rank in range(2):
        other = torch.load(tmp_path / f"out-{rank}.pt", weights_only=True)
        assert other["metrics"] == pytest.approx(metrics, rel=1e-4, abs=1e-5)
        torch.testing.assert_close(other["weights"], flat(policy), atol=1e-5, rtol=1e-4)
