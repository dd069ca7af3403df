"""The hf engine keeps the engine contract, in float32 on a tiny random Llama. vLLM: tests/loop/test_engine_contract.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from rlvr.engines.hf import HfEngine
from rlvr.engines.protocol import NO_POLICY
from rlvr.errors import RlvrError
from rlvr.policy import Policy, load_policy
from tests.contract.engine_contract import EngineContract, requests, sample
from tests.contract.test_logprobs import config_for


class TestHfEngine(EngineContract):
    tolerance = 1e-5
    step = 0.1

    @pytest.fixture
    def policy(self, tiny_model_dir: Path) -> Policy:
        return load_policy(config_for(tiny_model_dir), tiny_model_dir, torch.device("cpu"))

    @pytest.fixture
    def engine(self, policy: Policy, tiny_model_dir: Path) -> Iterator[HfEngine]:
        engine = HfEngine(policy, config_for(tiny_model_dir).engine)
        yield engine
        engine.close()

    def test_before_the_first_hand_over_there_is_only_the_base(self, engine: HfEngine, policy: Policy) -> None:
        assert engine.policy_version == NO_POLICY
        with pytest.raises(RlvrError, match="none was handed over"):
            sample(engine, requests(policy))
        assert sample(engine, requests(policy, weights="base"))

    def test_a_closed_engine_says_so(self, engine: HfEngine, policy: Policy) -> None:
        engine.close()
        with pytest.raises(RlvrError, match="closed"):
            sample(engine, requests(policy, weights="base"))
