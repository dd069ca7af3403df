"""Both engines keep the engine contract on a GPU, and a sleeping vLLM gives its memory to the learner."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from rlvr.config.schema import Config
from rlvr.engines import build_engine
from rlvr.engines.hf import HfEngine
from rlvr.engines.protocol import RolloutEngine
from rlvr.policy import Policy, load_policy
from tests.contract.engine_contract import EngineContract
from tests.contract.test_logprobs import config_for

CUDA = torch.device("cuda")
CACHE_GIB = 1.0


class TestHfEngine(EngineContract):
    tolerance = 1e-4
    step = 0.1

    @pytest.fixture
    def policy(self, tiny_model_dir: Path) -> Policy:
        return load_policy(config_for(tiny_model_dir), tiny_model_dir, CUDA)

    @pytest.fixture
    def engine(self, policy: Policy, tiny_model_dir: Path) -> Iterator[HfEngine]:
        engine = HfEngine(policy, config_for(tiny_model_dir).engine)
        yield engine
        engine.close()


@pytest.fixture(scope="module")
def vllm_config(tiny_model_dir: Path) -> Config:
    config = config_for(tiny_model_dir, dtype="bfloat16")
    engine = config.engine.model_copy(update={"kind": "vllm", "max_sequences": 16, "kv_cache_gib": CACHE_GIB})
    return config.model_copy(update={"engine": engine})


@pytest.fixture(scope="module")
def vllm_engine(vllm_config: Config, tiny_model_dir: Path) -> Iterator[RolloutEngine]:
    """Shared: to start it is the slow part."""
    pytest.importorskip("vllm")
    engine = build_engine(vllm_config, load_policy(vllm_config, tiny_model_dir, CUDA), tiny_model_dir)
    yield engine
    engine.close()


@pytest.mark.vllm
class TestVllmEngine(EngineContract):
    tolerance = 0.05  # two bfloat16 implementations of the tiny model
    step = 0.3

    @pytest.fixture
    def policy(self, vllm_config: Config, tiny_model_dir: Path) -> Policy:
        return load_policy(vllm_config, tiny_model_dir, CUDA)

    @pytest.fixture
    def engine(self, vllm_engine: RolloutEngine) -> RolloutEngine:
        return vllm_engine

    def test_a_sleeping_engine_gives_its_cache_back(self, ready: RolloutEngine) -> None:
        awake, _ = torch.cuda.mem_get_info()
        asyncio.run(ready.sleep())
        asleep, _ = torch.cuda.mem_get_info()
        asyncio.run(ready.wake())
        assert asleep - awake > 0.9 * CACHE_GIB * 2**30
