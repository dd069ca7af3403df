"""Run as a program by test_tiny_vllm.py: four vLLM engines one after another in one process, float32 on a tiny model.

Prints one JSON object: the largest difference from the learner's log-probs, nats, for each way weights reach the engine; and
completions with room for all of them in the cache, and without.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from rlvr.config.schema import AdapterConfig, Config, EngineConfig, ModelConfig, RlConfig
from rlvr.engines import build_engine
from rlvr.engines.protocol import GenerationRequest, PolicySnapshot, RolloutEngine
from rlvr.errors import RlvrError
from rlvr.policy import Policy, load_policy

ROWS = [torch.randint(3, 300, (40,), generator=torch.Generator().manual_seed(row)).tolist() for row in range(4)]


def config_for(folder: Path, kind: Literal["lora", "full"], quantization: str) -> Config:
    return Config(
        model=ModelConfig.model_validate({"name": str(folder), "dtype": "float32", "quantization": quantization}),
        adapter=AdapterConfig(kind=kind, rank=4, alpha=8),
        engine=EngineConfig(max_model_len=128, max_sequences=8, kv_cache_gib=0.1),
        rl=RlConfig(tasks=(), max_completion_tokens=64),
    )


def gap(policy: Policy, engine: RolloutEngine, weights: Literal["policy", "base"]) -> float:
    scored = asyncio.run(engine.score_tokens(ROWS, weights))
    worst = 0.0
    for row, theirs in zip(ROWS, scored, strict=True):
        ids = torch.tensor([row])
        with torch.no_grad(), policy.using(weights):
            logprobs = policy.model(input_ids=ids, use_cache=False).logits[0, :-1].log_softmax(-1)
        ours = logprobs.gather(-1, ids[0, 1:, None])[:, 0]
        worst = max(worst, float((ours - torch.tensor(theirs)).abs().max()))
    return worst


def hand_over(policy: Policy, engine: RolloutEngine, folder: Path, version: int) -> None:
    """From a folder that is gone afterwards, as in training."""
    with torch.no_grad():
        for weight in policy.trainable().values():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(version)) * 0.05)
    policy.save(folder)
    asyncio.run(engine.load_policy(PolicySnapshot(version=version, kind=policy.kind, path=folder)))
    shutil.rmtree(folder)


def requests(*lengths: int) -> list[GenerationRequest]:
    """One for each length, in tokens."""
    return [
        GenerationRequest(index=i, prompt_ids=tuple(row[:20]), seed=i, max_tokens=length, temperature=1.0, weights="base")
        for i, (row, length) in enumerate(zip(ROWS * 2, lengths, strict=False))
    ]


def closed_while_sampling(engine: RolloutEngine) -> str:
    """What an interrupted run meets that closes its engine before its rollouts are let go of."""

    async def sample() -> None:
        sampling = engine.generate(requests(1, 100))
        await anext(aiter(sampling))
        engine.close()
        await sampling.aclose()  # type: ignore[attr-defined]

    try:
        asyncio.run(sample())
    except Exception as error:
        return repr(error)
    return "nothing"


def completions(engine: RolloutEngine) -> list[list[int]]:
    async def sample() -> dict[int, list[int]]:
        return {g.index: list(g.token_ids) async for g in engine.generate(requests(*[100] * 8))}

    done = asyncio.run(sample())
    return [done[i] for i in sorted(done)]


def crowded(config: Config, policy: Policy, folder: Path) -> tuple[list[list[int]], int]:
    """Completions from an engine whose cache holds a third of them, and how often one had to make room for another."""
    settings = config.engine.model_copy(update={"kv_cache_gib": 11 * 16384 / 2**30})  # 11 blocks of 32 tokens
    engine = build_engine(config.model_copy(update={"engine": settings}), policy, folder)
    scheduler = engine._llm.engine_core.engine_core.scheduler  # type: ignore[attr-defined]
    preempt, preempted = scheduler._preempt_request, []
    scheduler._preempt_request = lambda *a, **k: (preempted.append(1), preempt(*a, **k))[1]
    found = completions(engine)
    engine.close()
    return found, len(preempted)


def base_refusal(engine: RolloutEngine) -> str:
    async def sample(wanted: Sequence[GenerationRequest]) -> None:
        async for _ in engine.generate(wanted):
            pass

    request = GenerationRequest(index=0, prompt_ids=(1, 2), seed=0, max_tokens=1, temperature=1.0, weights="base")
    try:
        asyncio.run(sample([request]))
    except RlvrError as error:
        return str(error)
    return ""


def main(folder: Path, scratch: Path) -> None:
    found: dict[str, object] = {}
    kinds: list[tuple[Literal["lora", "full"], str]] = [("full", "none"), ("lora", "none"), ("lora", "nf4")]
    for kind, quantization in kinds:
        config = config_for(folder, kind, quantization)
        policy = load_policy(config, folder, torch.device("cpu"))
        engine = build_engine(config, policy, folder)
        name = f"{kind} {quantization}"
        if kind == "lora":
            found[f"{name} base"] = gap(policy, engine, "base")
        for version in (1, 2):
            hand_over(policy, engine, scratch / "snapshot", version)
            found[f"{name} {version}"] = gap(policy, engine, "policy")
        if kind == "full":
            found["refusal"] = base_refusal(engine)
        roomy = completions(engine) if (kind, quantization) == ("lora", "none") else None
        if quantization == "nf4":
            found["closed while sampling"] = closed_while_sampling(engine)
        engine.close()
        if roomy is not None:
            found["roomy"] = roomy
            found["crowded"], found["preempted"] = crowded(config, policy, folder)
    print(json.dumps(found))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
