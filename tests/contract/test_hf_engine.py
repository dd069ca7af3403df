"""The numerical reference: exact seeded draws, honest log-probs, and weights of its own until they are handed over."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from rlvr.config.schema import Config, SyncConfig
from rlvr.engines.hf import HfEngine
from rlvr.engines.protocol import Generation, GenerationRequest, PolicySnapshot
from rlvr.errors import RlvrError
from rlvr.hand_over import HandOver
from rlvr.policy import Policy, load_policy
from rlvr_verifiers.types import Task
from tests.contract.test_logprobs import config_for

CPU = torch.device("cpu")
PROMPTS = [(1, 40, 41, 42), (1, 50), (1, 60, 61, 62, 63, 64, 65)]
TASKS = [
    Task(id=str(n), prompt=({"role": "user", "content": f"Number {n}?"},), verifier="exact", answer="") for n in range(4)
]


@pytest.fixture
def policy(tiny_model_dir: Path) -> Policy:
    return load_policy(config_for(tiny_model_dir), tiny_model_dir, CPU)


def move(policy: Policy, scale: float, seed: int = 1) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in policy.trainable().values():
            weight.add_(torch.randn(weight.shape, generator=generator) * scale)


def requests(temperature: float = 1.0, **changes: Any) -> list[GenerationRequest]:
    return [
        GenerationRequest(
            **{
                "index": i,
                "prompt_ids": PROMPTS[i % 3],
                "seed": 100 + i,
                "max_tokens": 8,
                "temperature": temperature,
                "weights": "base",
                **changes,
            }
        )
        for i in range(6)
    ]


def sample(engine: HfEngine, wanted: list[GenerationRequest]) -> dict[int, Generation]:
    async def collect() -> dict[int, Generation]:
        return {g.index: g async for g in engine.generate(wanted)}

    return asyncio.run(collect())


def hand_over(policy: Policy, engine: HfEngine, folder: Path, version: int) -> None:
    policy.save(folder / str(version))
    asyncio.run(engine.load_policy(PolicySnapshot(version=version, kind="lora", path=folder / str(version))))


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_log_probs_are_those_of_the_sampled_distribution(policy: Policy, temperature: float) -> None:
    done = sample(HfEngine(policy, config_for(Path("x")).engine), requests(temperature))
    for request in requests(temperature):
        generation = done[request.index]
        row = torch.tensor([request.prompt_ids + generation.token_ids])
        with torch.no_grad(), policy.using("base"):
            logprobs = (policy.model(input_ids=row).logits[0].float() / temperature).log_softmax(-1)
        start = len(request.prompt_ids) - 1
        expected = [float(logprobs[start + j, token]) for j, token in enumerate(generation.token_ids)]
        assert generation.logprobs == pytest.approx(expected, abs=1e-4)


def test_a_request_gives_the_same_completion_alone_and_in_any_company(policy: Policy) -> None:
    engine = HfEngine(policy, config_for(Path("x")).engine)
    together = sample(engine, requests())
    alone = {r.index: sample(engine, [r])[r.index].token_ids for r in requests()}
    assert {i: g.token_ids for i, g in together.items()} == alone
    assert len({g.token_ids for g in together.values()}) > 3


def test_draws_follow_the_distribution(policy: Policy) -> None:
    engine = HfEngine(policy, config_for(Path("x")).engine)
    wanted = [
        GenerationRequest(index=i, prompt_ids=PROMPTS[0], seed=i, max_tokens=1, temperature=0.25, weights="base")
        for i in range(600)
    ]
    counts = Counter(g.token_ids[0] for g in sample(engine, wanted).values())
    with torch.no_grad(), policy.using("base"):
        p = (policy.model(input_ids=torch.tensor([PROMPTS[0]])).logits[0, -1].float() / 0.25).softmax(-1)
    for token in p.topk(3).indices.tolist():
        expected = float(p[token])
        assert counts[token] / 600 == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 600) ** 0.5)


def test_greedy_is_the_argmax(policy: Policy) -> None:
    done = sample(HfEngine(policy, config_for(Path("x")).engine), requests(temperature=0.0))
    row = torch.tensor([PROMPTS[1]])
    with torch.no_grad(), policy.using("base"):
        assert done[1].token_ids[0] == int(policy.model(input_ids=row).logits[0, -1].argmax())
    assert done[1].token_ids == done[4].token_ids


def test_the_engine_keeps_its_weights_until_the_hand_over(policy: Policy, tmp_path: Path) -> None:
    engine = HfEngine(policy, config_for(Path("x")).engine)
    hand_over(policy, engine, tmp_path, 1)
    before = sample(engine, requests(weights="policy"))
    move(policy, 0.3)
    assert sample(engine, requests(weights="policy")) == before
    hand_over(policy, engine, tmp_path, 2)
    after = sample(engine, requests(weights="policy"))
    assert {g.policy_version for g in after.values()} == {2}
    assert [g.token_ids for g in after.values()] != [g.token_ids for g in before.values()]


def test_sampling_leaves_the_learner_alone(policy: Policy, tmp_path: Path) -> None:
    engine = HfEngine(policy, config_for(Path("x")).engine)
    names = list(policy.trainable())
    hand_over(policy, engine, tmp_path, 1)
    sample(engine, requests(weights="policy"))
    asyncio.run(engine.score_tokens([[1, 2, 3]], "base"))
    assert list(policy.trainable()) == names
    assert all(weight.grad is None for weight in policy.trainable().values())
    engine.close()
    assert list(policy.trainable()) == names


def test_gradient_checkpointing_changes_nothing_in_sampling(policy: Policy, tiny_model_dir: Path) -> None:
    """In training mode it drops the key/value cache, and every token would follow from the one before it alone."""
    checkpointed = load_policy(config_for(tiny_model_dir, gradient_checkpointing=True), tiny_model_dir, CPU)
    assert checkpointed.model.training
    expected = sample(HfEngine(policy, config_for(Path("x")).engine), requests())
    assert sample(HfEngine(checkpointed, config_for(Path("x")).engine), requests()) == expected
    assert checkpointed.model.training


def test_cancelling_stops_between_batches_and_gives_the_model_back_as_it_was(policy: Policy, tmp_path: Path) -> None:
    engine = HfEngine(policy, config_for(Path("x")).engine.model_copy(update={"max_sequences": 8}))
    hand_over(policy, engine, tmp_path, 1)
    names = list(policy.trainable())
    seen: list[int] = []

    async def generate() -> None:
        async for generation in engine.generate(wanted):
            seen.append(generation.index)

    async def cancelled() -> None:
        task = asyncio.ensure_future(generate())
        await asyncio.sleep(0)  # the first batch is sampled
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert list(policy.trainable()) == names

    wanted = requests(weights="policy", max_tokens=2) * 10
    asyncio.run(cancelled())
    assert 0 < len(seen) < len(wanted)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": "policy"}, "none was handed over"),
        ({"max_tokens": 300}, "do not fit into"),
        ({"prompt_ids": ()}, "its prompt has no tokens"),
        ({"max_tokens": 0}, "at least 1 is needed"),
    ],
)
def test_impossible_requests_are_refused_before_sampling(policy: Policy, changes: dict[str, Any], message: str) -> None:
    engine = HfEngine(policy, config_for(Path("x")).engine)
    with pytest.raises(RlvrError, match=message):
        sample(engine, requests(**changes))


def test_an_adapter_for_another_model_is_refused(policy: Policy, tiny_model_dir: Path, tmp_path: Path) -> None:
    other = config_for(tiny_model_dir)
    other = other.model_copy(update={"adapter": other.adapter.model_copy(update={"rank": 2})})
    load_policy(other, tiny_model_dir, CPU).save(tmp_path)
    engine = HfEngine(policy, config_for(Path("x")).engine)
    with pytest.raises(RlvrError, match=r"does not fit the model .* rank 2; check model\.name, adapter\.rank"):
        asyncio.run(engine.load_policy(PolicySnapshot(version=1, kind="lora", path=tmp_path)))
    with pytest.raises(RlvrError, match="not an adapter folder"):
        policy.load(tmp_path / "nowhere")


class Deaf(HfEngine):
    """Says it took the new adapter, and goes on with the old one."""

    deaf = False

    async def load_policy(self, snapshot: PolicySnapshot) -> None:
        if self.deaf:
            self.policy_version = snapshot.version
        else:
            await super().load_policy(snapshot)


def test_a_stale_adapter_stops_the_run(policy: Policy, tiny_model_dir: Path) -> None:
    config = config_for(tiny_model_dir).model_copy(update={"sync": SyncConfig(probe_tokens=16)})
    engine = Deaf(policy, config.engine)

    async def steps(hand: HandOver) -> None:
        for version in range(3):
            assert (await hand(version))["sync/gap_mean"] < 1e-4
            move(policy, 1e-3, seed=version)
        engine.deaf = True
        await hand(3)

    hand = HandOver(policy, engine, config, TASKS)
    with pytest.raises(RlvrError, match="handed policy version 3 but still samples from the weights of version 2"):
        asyncio.run(steps(hand))
    hand.close()


def test_an_engine_that_ignores_the_adapter_stops_the_run(policy: Policy, tiny_model_dir: Path) -> None:
    class Ignores(HfEngine):
        async def score_tokens(self, sequences: Any, weights: Any) -> list[list[float]]:
            return await super().score_tokens(sequences, "base")

    config: Config = config_for(tiny_model_dir)
    engine = Ignores(policy, config.engine)
    hand = HandOver(policy, engine, config, TASKS)

    async def steps() -> None:
        await hand(0)
        move(policy, 0.01)
        await hand(1)

    with pytest.raises(RlvrError, match="does not use the adapter of policy version 1"):
        asyncio.run(steps())
    hand.close()
