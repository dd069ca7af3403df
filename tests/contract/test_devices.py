"""Nothing of an update is left on another device than the policy's. Checked without a GPU, on `meta`, where nothing is computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rlvr.config.schema import AdapterConfig, PreferenceAlgorithmConfig
from rlvr.importance import sequence_sum
from rlvr.learner import Learner, UpdateBatch
from rlvr.logprobs import token_logprobs
from rlvr.objectives import OBJECTIVES
from rlvr.policy import Policy, load_policy
from rlvr.preference.contract import PreferenceBatch
from rlvr.preference.objectives import OBJECTIVES as PREFERENCE_OBJECTIVES
from rlvr.reward_model import RewardModel
from tests.contract.test_learner import ALGORITHM, GROUPS, OPTIMIZER, batch_of
from tests.contract.test_logprobs import config_for

META = torch.device("meta")


class OneDevice(TorchDispatchMode):
    """Refuses what a GPU refuses: tensors of two devices in one operation, but for copies, indices and single numbers."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor) and leaf.dim()]
        allowed = "copy" in str(func) or func is torch.ops.aten.index.Tensor
        assert allowed or len({tensor.device for tensor in tensors}) <= 1, f"{func} of tensors on several devices"
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module", params=[("lora", "float32"), ("lora", "bfloat16"), ("full", "bfloat16")], ids=" ".join)
def moved(request: pytest.FixtureRequest, tiny_model_dir: Path) -> Policy:
    """Loaded, and then on `meta`."""
    kind, dtype = request.param
    config = config_for(tiny_model_dir, dtype=dtype).model_copy(
        update={"adapter": AdapterConfig(kind=kind, rank=4, alpha=8)}
    )
    policy = load_policy(config, tiny_model_dir, torch.device("cpu"))
    return Policy(policy.model.to(META), policy.chat, layout="grouped", head_chunk_tokens=7)


@pytest.fixture
def policy(moved: Policy) -> Iterator[Policy]:
    yield moved
    moved.replace_gradient_hooks(())
    moved.model.zero_grad()


def on_meta(batch: UpdateBatch) -> UpdateBatch:
    """With log-probs of all kinds, so that every branch of an objective has what it needs."""
    logprobs = batch.sampled_logprobs.to(META)
    return dataclasses.replace(
        batch,
        advantages=batch.advantages.to(META),
        weights=batch.weights.to(META),
        sampled_logprobs=logprobs,
        old_logprobs=logprobs,
        ref_logprobs=logprobs,
    )


def test_the_check_sees_what_a_gpu_would_refuse() -> None:
    here, there = torch.zeros(3), torch.zeros(3, device=META)
    with OneDevice():
        assert (there + torch.tensor(1.0)).device == there[torch.tensor([0, 2])].device == here.to(META).device == META
        with pytest.raises(AssertionError, match="several devices"):
            there.gather(0, torch.tensor([0]))
        with pytest.raises((AssertionError, RuntimeError)):
            there + here


@pytest.mark.parametrize("entropy_coef", [0.0, 0.01])
@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
def test_an_update_stays_on_the_policys_device(policy: Policy, objective: str, entropy_coef: float) -> None:
    learner = Learner(policy, OPTIMIZER, total_steps=10, micro_batch_tokens=40)
    algorithm = ALGORITHM.model_copy(update={"entropy_coef": entropy_coef, "kl_coef": 0.1})
    with OneDevice():
        learner._accumulate(on_meta(batch_of(GROUPS)), OBJECTIVES[objective], algorithm)
        learner._publish()
    gradients = [master.grad for master in learner._masters]
    assert all(gradient is not None and gradient.device == META for gradient in gradients)


@pytest.mark.parametrize("objective", sorted(PREFERENCE_OBJECTIVES))
def test_a_preference_loss_stays_on_the_policys_device(policy: Policy, objective: Any) -> None:
    lengths = torch.tensor([n for group in GROUPS for n in group.loss_tokens])
    each = torch.ones(len(lengths), device=META)
    batch = PreferenceBatch(
        ref_logprobs=each,
        lengths=each,
        desirable=each.bool(),
        weights=each,
        mean_weights=each,
        chosen_tokens=9.0,
        kl=torch.zeros((), device=META),
    )
    sequence = torch.repeat_interleave(torch.arange(len(lengths)), lengths).to(META)
    with OneDevice():
        logprobs = sequence_sum(token_logprobs(policy, GROUPS).logprobs, sequence, len(lengths))
        out = PREFERENCE_OBJECTIVES[objective](
            logprobs, batch, PreferenceAlgorithmConfig(preset=objective, objective=objective)
        )
        out.loss.backward()
    assert all(weight.grad is not None for weight in policy.trainable().values())


def test_rewards_stay_on_the_policys_device(policy: Policy) -> None:
    model = RewardModel(policy)
    with OneDevice():
        model.rewards(GROUPS).sum().backward()
    assert model.score.grad is not None
    assert model.score.grad.device == META
