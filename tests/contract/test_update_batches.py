"""From scored groups to updates: what is left out because it has no gradient changes neither the update nor what is said of it."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
import torch

from rlvr.batch import update_batches, with_advantages
from rlvr.config.schema import RlConfig, TasksConfig
from rlvr.learner import Learner, UpdateBatch
from rlvr.logprobs import frozen_logprobs
from rlvr.objectives import OBJECTIVES
from rlvr.policy import Policy
from rlvr.stages.rl import mean_by_name
from rlvr.token_groups import TokenGroup
from rlvr.types import Group, Rollout
from rlvr_verifiers.types import Completion, Score, Task
from tests.contract.test_learner import flat, fresh

INFORMATIVE, IDLE = (1.0, 0.0), (1.0, 1.0)


def group(name: str, scores: tuple[float, ...]) -> Group:
    draw = random.Random(name)
    task = Task(id=name, prompt=(), verifier="exact", answer="")
    prompt = tuple(draw.randrange(5, 90) for _ in range(4))
    rollouts: list[Rollout] = []
    for value in scores:
        ids = tuple(draw.randrange(5, 90) for _ in range(draw.randrange(3, 9)))
        completion = Completion(
            text="", prompt_ids=prompt, token_ids=ids, sampled_logprobs=(-5.0,) * len(ids), loss_mask=(True,) * len(ids)
        )
        rollouts.append(Rollout(task=task, completion=completion, score=Score(value=value, passed=value > 0, reason="ok")))
    return Group(task=task, rollouts=tuple(rollouts))


def batches_of(policy: Policy, scores: list[tuple[float, ...]], updates: int) -> tuple[RlConfig, list[UpdateBatch]]:
    config = RlConfig(tasks=(TasksConfig(source="arithmetic"),), updates_per_batch=updates)

    def logprobs(groups: object) -> torch.Tensor:
        assert isinstance(groups, list)
        kept: list[TokenGroup] = groups
        return frozen_logprobs(policy, kept, max_tokens=1000, temperature=config.temperature)

    groups = with_advantages([group(f"g{n}", s) for n, s in enumerate(scores)], config, logprobs, logprobs)
    return config, update_batches(groups, config, policy.device, logprobs, logprobs)


def updated(policy: Policy, learner: Learner, scores: list[tuple[float, ...]], updates: int) -> list[dict[str, float]]:
    config, batches = batches_of(policy, scores, updates)
    return [learner.update(batch, OBJECTIVES["clipped"], config.algorithm) for batch in batches]


def test_means_are_over_the_tokens_that_were_computed(tiny_model_dir: Path) -> None:
    """Groups with equal scores are not computed; before any update the ratio is 1 whatever their share is."""
    policy, learner = fresh(tiny_model_dir)
    (alone,) = updated(policy, learner, [INFORMATIVE], 1)
    policy, learner = fresh(tiny_model_dir)
    (beside,) = updated(policy, learner, [INFORMATIVE, IDLE, IDLE, IDLE], 1)
    assert alone["ratio"] == beside["ratio"] == pytest.approx(1.0)
    for name in ("entropy", "engine_gap", "importance_weight"):
        assert beside[name] == pytest.approx(alone[name], rel=1e-4), name
    assert alone["entropy"] > 0.1


def test_an_update_without_any_gradient_changes_nothing_and_breaks_nothing(tiny_model_dir: Path) -> None:
    policy, learner = fresh(tiny_model_dir)
    before = flat(policy)
    updates = updated(policy, learner, [IDLE, IDLE], 2)
    assert len(updates) == 2
    assert torch.equal(before, flat(policy))
    assert "loss" not in mean_by_name(updates)
    mixed = updated(policy, learner, [IDLE, INFORMATIVE, IDLE, INFORMATIVE], 4)
    assert not torch.equal(before, flat(policy))
    metrics = mean_by_name(mixed)
    assert metrics["ratio"] == pytest.approx((mixed[1]["ratio"] + mixed[3]["ratio"]) / 2)
    assert metrics["grad_norm"] == pytest.approx(sum(update["grad_norm"] for update in mixed) / 4)


def test_infinities_of_both_signs_have_a_mean_that_is_told() -> None:
    assert math.isnan(mean_by_name([{"loss": math.inf}, {"loss": -math.inf}])["loss"])
