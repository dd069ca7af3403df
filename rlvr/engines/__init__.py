"""Rollout engines by name. A new one is one file that keeps rlvr/engines/protocol.py, and one line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rlvr.config.schema import Config
from rlvr.engines.protocol import RolloutEngine
from rlvr.errors import RlvrError

if TYPE_CHECKING:
    from rlvr.policy import Policy


def build_engine(config: Config, policy: Policy, model_path: Path | str) -> RolloutEngine:
    """The config's engine, started, without the policy's trained weights: hand them over before sampling."""
    return ENGINES[config.engine.kind](config, policy, model_path)


def _vllm(config: Config, policy: Policy, model_path: Path | str) -> RolloutEngine:
    from rlvr.engines.vllm import VllmEngine
    from rlvr.models import dequantized_base

    if config.adapter.kind == "lora" and config.model.dtype == "float32" and policy.device.type == "cuda":
        raise RlvrError(
            "model.dtype=float32: on CUDA vLLM runs adapters in 16 bits only; use model.dtype=bfloat16, or engine.kind=hf"
        )
    revision = config.model.revision
    if config.model.quantization == "nf4":
        model_path = dequantized_base(
            model_path,
            double_quantization=config.model.double_quantization,
            compute_dtype=config.model.dtype,
            device=policy.device.type,
            revision=revision,
        )
        revision = None
    return VllmEngine(
        model_path,
        config.engine,
        dtype=config.model.dtype,
        max_lora_rank=config.adapter.rank if config.adapter.kind == "lora" else None,
        eos_token_ids=policy.chat.stop_ids,
        seed=config.seed,
        target_modules=config.adapter.target_modules,
        revision=revision,
    )


def _hf(config: Config, policy: Policy, _model_path: Path | str) -> RolloutEngine:
    from rlvr.engines.hf import HfEngine

    return HfEngine(policy, config.engine)


ENGINES: dict[str, Callable[[Config, Policy, Path | str], RolloutEngine]] = {"vllm": _vllm, "hf": _hf}
