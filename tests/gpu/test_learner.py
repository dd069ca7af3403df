"""The learner on a GPU computes what it computes on a CPU."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import pytest
import torch

from rlvr.learner import Learner
from rlvr.logprobs import frozen_logprobs
from rlvr.objectives import OBJECTIVES
from rlvr.policy import Policy, load_policy
from tests.contract.test_learner import ALGORITHM, GROUPS, OPTIMIZER, batch_of
from tests.contract.test_logprobs import config_for

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def policies(folder: Path, **model: object) -> tuple[Policy, Policy]:
    """The same weights on either device, an adapter that does something among them; `model` is for the one on the GPU."""
    here = load_policy(config_for(folder), folder, CPU)
    there = load_policy(config_for(folder, **model), folder, CUDA)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for ours, theirs in zip(here.trainable().values(), there.trainable().values(), strict=True):
            ours.normal_(std=0.1, generator=generator)
            theirs.copy_(ours)
    return here, there


def learner_of(policy: Policy) -> Learner:
    return Learner(policy, OPTIMIZER, total_steps=10, micro_batch_tokens=40)


def losses(learner: Learner, steps: int, objective: str = "clipped") -> list[tuple[float, ...]]:
    """Loss, gradient norm and entropy of each step."""
    device, batch = learner.policy.device, batch_of(GROUPS)
    batch = dataclasses.replace(
        batch,
        advantages=batch.advantages.to(device),
        sampled_logprobs=batch.sampled_logprobs.to(device),
        weights=batch.weights.to(device),
    )
    found = [learner.update(batch, OBJECTIVES[objective], ALGORITHM) for _ in range(steps)]
    return [(metrics["loss"], metrics["grad_norm"], metrics["entropy"]) for metrics in found]


@pytest.mark.parametrize("layout", ["grouped", "padded"])
@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
def test_updates_are_those_of_the_cpu(tiny_model_dir: Path, objective: str, layout: str) -> None:
    here, there = policies(tiny_model_dir, layout=layout)
    assert there.layout == layout
    expected = losses(learner_of(here), 3, objective)
    for ours, theirs in zip(losses(learner_of(there), 3, objective), expected, strict=True):
        assert ours == pytest.approx(theirs, rel=2e-3, abs=1e-5)


@pytest.mark.parametrize(
    ("model", "tolerance"), [({"dtype": "bfloat16"}, 0.05), ({"dtype": "bfloat16", "quantization": "nf4"}, 0.5)]
)
def test_log_probs_in_few_bits_are_near_those_of_the_cpu(
    tiny_model_dir: Path, model: dict[str, object], tolerance: float
) -> None:
    if "quantization" in model:
        pytest.importorskip("bitsandbytes")
    here, there = policies(tiny_model_dir, **model)
    expected = frozen_logprobs(here, GROUPS, max_tokens=40)
    found = frozen_logprobs(there, GROUPS, max_tokens=40)
    assert found.device.type == CUDA.type
    assert float((found.cpu() - expected).abs().mean()) < tolerance


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_every_adapter_weight_is_moved(tiny_model_dir: Path, quantization: str) -> None:
    if quantization == "nf4":
        pytest.importorskip("bitsandbytes")
    _, policy = policies(tiny_model_dir, dtype="bfloat16", quantization=quantization)
    before = {name: weight.detach().clone() for name, weight in policy.trainable().items()}
    losses(learner_of(policy), 2)
    assert [name for name, weight in policy.trainable().items() if torch.equal(weight, before[name])] == []


def test_restored_state_continues(tiny_model_dir: Path) -> None:
    _, policy = policies(tiny_model_dir, dtype="bfloat16")
    learner = learner_of(policy)
    losses(learner, 1)
    file = io.BytesIO()
    torch.save(learner.state(), file)
    expected = losses(learner, 2)
    _, other = policies(tiny_model_dir, dtype="bfloat16")
    resumed = learner_of(other)
    resumed.restore(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    for ours, theirs in zip(losses(resumed, 2), expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)
