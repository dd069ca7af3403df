"""The update: invariant to micro-batches and ranks, exact to resume, unharmed by a NaN."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch

from rlvr.config.schema import AlgorithmConfig, OptimizerConfig
from rlvr.errors import RlvrError
from rlvr.learner import Learner, UpdateBatch
from rlvr.objectives import OBJECTIVES
from rlvr.policy import Policy, load_policy
from rlvr.token_groups import TokenGroup
from rlvr.token_weights import StepTotals, token_weights
from tests.contract.test_logprobs import config_for, random_groups

CPU = torch.device("cpu")
GROUPS = random_groups(2, [(9, [5, 1, 12, 8]), (3, [3, 9]), (30, [7, 7])])
OPTIMIZER = OptimizerConfig(learning_rate=1e-2)
ALGORITHM = AlgorithmConfig()


def batch_of(groups: list[TokenGroup], totals: StepTotals | None = None) -> UpdateBatch:
    lengths = [n for group in groups for n in group.loss_tokens]
    totals = totals or StepTotals(sequences=sum(n > 0 for n in lengths), tokens=sum(lengths))
    generator = torch.Generator().manual_seed(len(lengths))
    return UpdateBatch(
        groups=groups,
        advantages=torch.randn(len(lengths), generator=generator),
        sampled_logprobs=torch.full((sum(lengths),), -5.0),
        old_logprobs=None,
        ref_logprobs=None,
        weights=token_weights("sequence_mean", lengths, totals, 100),
    )


def fresh(folder: Path, max_tokens: int = 10_000, dtype: str = "float32") -> tuple[Policy, Learner]:
    policy = load_policy(config_for(folder, dtype=dtype), folder, CPU)
    return policy, Learner(policy, OPTIMIZER, total_steps=10, micro_batch_tokens=max_tokens)


def flat(policy: Policy) -> torch.Tensor:
    return torch.cat([weight.detach().float().flatten() for weight in policy.trainable().values()])


@pytest.mark.parametrize("objective", ["clipped", "sequence_clipped", "clipped_weight", "reinforce"])
def test_micro_batches_do_not_change_the_update(tiny_model_dir: Path, objective: str) -> None:
    results = []
    for max_tokens in (10_000, 40, 12):
        _, learner = fresh(tiny_model_dir, max_tokens)
        metrics = learner.update(batch_of(GROUPS), OBJECTIVES[objective], ALGORITHM)
        results.append((metrics["grad_norm"], metrics["loss"], metrics["entropy"]))
    for other in results[1:]:
        assert other == pytest.approx(results[0], rel=1e-4, abs=1e-6)
    assert results[0][0] > 1e-4


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_restored_state_continues_bit_for_bit(tiny_model_dir: Path, dtype: str) -> None:
    policy, learner = fresh(tiny_model_dir, dtype=dtype)
    learner.update(batch_of(GROUPS), OBJECTIVES["clipped"], ALGORITHM)
    file = io.BytesIO()
    torch.save(learner.state(), file)
    losses = [learner.update(batch_of(GROUPS), OBJECTIVES["clipped"], ALGORITHM)["loss"] for _ in range(2)]
    other_policy, other = fresh(tiny_model_dir, dtype=dtype)
    other.restore(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    again = [other.update(batch_of(GROUPS), OBJECTIVES["clipped"], ALGORITHM)["loss"] for _ in range(2)]
    assert losses == again
    assert torch.equal(flat(policy), flat(other_policy))


def test_small_steps_accumulate_in_bfloat16(tiny_model_dir: Path) -> None:
    """A learning rate below bfloat16's resolution still moves the policy, because the master is float32."""
    policy, _ = fresh(tiny_model_dir, dtype="bfloat16")
    with torch.no_grad():
        for weight in policy.trainable().values():
            weight.fill_(1.0)
    learner = Learner(
        policy, OptimizerConfig(learning_rate=1e-3), total_steps=30, micro_batch_tokens=10_000
    )  # bfloat16 near 1 has steps of 0.004 to 0.008
    before = flat(policy)
    learner.update(batch_of(GROUPS), OBJECTIVES["clipped"], ALGORITHM)
    after_one = flat(policy)
    for _ in range(9):
        learner.update(batch_of(GROUPS), OBJECTIVES["clipped"], ALGORITHM)
    assert torch.equal(before, after_one)
    assert not torch.equal(before, flat(policy))


def test_a_nan_gradient_changes_nothing_and_is_counted(tiny_model_dir: Path) -> None:
    policy, learner = fresh(tiny_model_dir)
    learner.update(batch_of(GROUPS), OBJECTIVES["clipped"], ALGORITHM)
    before = flat(policy)
    bad = batch_of(GROUPS)
    bad.advantages[0] = float("nan")
    for skipped in (1, 2, 3):
        assert learner.update(bad, OBJECTIVES["clipped"], ALGORITHM)["skipped_updates"] == skipped
    assert torch.equal(before, flat(policy))
    with pytest.raises(RlvrError, match=r"4 updates in a row.*last checkpoint is intact"):
        learner.update(bad, OBJECTIVES["clipped"], ALGORITHM)
    assert torch.equal(before, flat(policy))


def test_a_good_update_resets_the_count(tiny_model_dir: Path) -> None:
    _, learner = fresh(tiny_model_dir)
    bad = batch_of(GROUPS)
    bad.advantages[0] = float("inf")
    for _ in range(3):
        learner.update(bad, OBJECTIVES["clipped"], ALGORITHM)
        learner.update(batch_of(GROUPS), OBJECTIVES["clipped"], ALGORITHM)
    assert learner.skipped == 3


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("constant", [1, 1, 1]), ("linear", [1, 0.5, 0]), ("cosine", [1, 0.5, 0])],
)
def test_schedules(tiny_model_dir: Path, schedule: str, expected: list[float]) -> None:
    policy, _ = fresh(tiny_model_dir)
    config = OptimizerConfig.model_validate({"learning_rate": 1.0, "schedule": schedule, "warmup_steps": 2})
    learner = Learner(policy, config, total_steps=6, micro_batch_tokens=100)
    factor = learner.scheduler.lr_lambdas[0]
    assert [factor(t) for t in (0, 1)] == pytest.approx([1 / 3, 2 / 3])
    assert [factor(t) for t in (2, 4, 6)] == pytest.approx(expected, abs=1e-9)
