"""An adapter that a run starts from is the policy it was trained as, or it is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rlvr.config.schema import AdapterConfig, Config
from rlvr.errors import RlvrError
from rlvr.policy import Policy, load_policy
from rlvr.preference.reference import identity, sequence_logprobs
from rlvr.token_groups import TokenGroup
from tests.contract.test_logprobs import config_for, random_groups

CPU = torch.device("cpu")
GROUPS: list[TokenGroup] = random_groups(3, [(5, [7, 9])])


def config_of(folder: Path, **adapter: Any) -> Config:
    return config_for(folder).model_copy(update={"adapter": AdapterConfig.model_validate({"rank": 4, **adapter})})


def stirred(folder: Path, **adapter: Any) -> Policy:
    policy = load_policy(config_of(folder, **adapter), folder, CPU)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in policy.trainable().values():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator).to(weight.dtype))
    return policy


def rewrite(folder: Path, **changed: Any) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))


def test_an_adapter_runs_at_the_strength_it_was_trained_at(tiny_model_dir: Path, tmp_path: Path) -> None:
    trained = stirred(tiny_model_dir, alpha=8)
    trained.save(tmp_path)
    with pytest.raises(RlvrError, match=r"strength \(alpha / rank\) of 2 and would run at 8.* set adapter\.alpha=8$"):
        load_policy(config_of(tiny_model_dir, init_from=tmp_path), tiny_model_dir, CPU)
    again = load_policy(config_of(tiny_model_dir, init_from=tmp_path, alpha=8), tiny_model_dir, CPU)
    assert torch.equal(sequence_logprobs(again, GROUPS, 100), sequence_logprobs(trained, GROUPS, 100))


def test_rank_stabilised_adapters_have_another_strength(tiny_model_dir: Path, tmp_path: Path) -> None:
    stirred(tiny_model_dir, alpha=8).save(tmp_path)
    rewrite(tmp_path, use_rslora=True)  # 8 / sqrt(4), as 16 / 4 is
    with pytest.raises(RlvrError, match=r"set adapter\.alpha=16$"):
        load_policy(config_of(tiny_model_dir, init_from=tmp_path, alpha=8), tiny_model_dir, CPU)
    load_policy(config_of(tiny_model_dir, init_from=tmp_path, alpha=16), tiny_model_dir, CPU)


@pytest.mark.parametrize("name", ["rank_pattern", "alpha_pattern"])
def test_adapters_whose_layers_differ_are_refused(tiny_model_dir: Path, tmp_path: Path, name: str) -> None:
    stirred(tiny_model_dir, alpha=8).save(tmp_path)
    rewrite(tmp_path, **{name: {"q_proj": 4}})
    with pytest.raises(RlvrError, match=f"this adapter has a {name}"):
        load_policy(config_of(tiny_model_dir, init_from=tmp_path, alpha=8), tiny_model_dir, CPU)


def test_the_strength_decides_a_references_numbers(tiny_model_dir: Path) -> None:
    weak, strong = stirred(tiny_model_dir, alpha=8), stirred(tiny_model_dir, alpha=32)
    assert all(torch.equal(a, b) for a, b in zip(weak.trainable().values(), strong.trainable().values(), strict=True))
    keys = [
        identity(policy, GROUPS, config_of(tiny_model_dir), weights="start", model_hash="m") for policy in (weak, strong)
    ]
    assert keys[0] != keys[1]
