"""The real model and one real vLLM engine for the whole session: starting either is the slow part."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from rlvr.config.schema import Config
    from rlvr.engines.vllm import VllmEngine
    from rlvr.policy import Policy


@pytest.fixture(scope="module")
def straight(recipe: Path) -> Path:
    """The run of a module's own recipe that nothing happened to."""
    from tests.loop.tiny_runs import finish, rlvr

    finish(rlvr("train", str(recipe), "run_name=straight"))
    return recipe.parent / "runs" / "straight"


@pytest.fixture(scope="session")
def smollm_config() -> Config:
    from rlvr.config.load import parse_config

    return parse_config(
        {
            "model": {"name": "smollm2-135m-instruct", "dtype": "bfloat16"},
            "adapter": {"rank": 8, "alpha": 16},
            "engine": {"max_model_len": 256, "max_sequences": 32, "kv_cache_gib": 0.25},
            "rl": {"tasks": [], "max_completion_tokens": 64, "optimizer": {"learning_rate": 2e-4}},
            "device": "cpu",
            "micro_batch_tokens": 512,
        }
    )


@pytest.fixture(scope="session")
def smollm(smollm_config: Config) -> Path:
    """Folder of SmolLM2-135M-Instruct."""
    from rlvr.models import locate_model

    return Path(locate_model(smollm_config.model.name))


@pytest.fixture
def policy(smollm_config: Config, smollm: Path) -> Policy:
    """A fresh LoRA policy on the real model; its adapter does nothing yet."""
    import torch

    from rlvr.policy import load_policy

    return load_policy(smollm_config, smollm, torch.device("cpu"))


@pytest.fixture(scope="session")
def vllm_engine(smollm_config: Config, smollm: Path) -> Iterator[VllmEngine]:
    """Shared: a test hands over its own policy before it samples, and must not rely on what was there."""
    pytest.importorskip("vllm")
    from rlvr.engines.vllm import VllmEngine

    engine = VllmEngine(
        smollm, smollm_config.engine, dtype="bfloat16", max_lora_rank=smollm_config.adapter.rank, eos_token_ids=[2], seed=0
    )
    yield engine
    engine.close()
