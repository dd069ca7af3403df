"""What every rollout engine must do, as a class of tests: an implementation inherits it and provides `engine` and `policy`.

hf runs it in tests/contract/test_engines.py on a tiny model, vLLM in tests/loop/test_engine_contract.py on a real one. The
learner's own forward pass is the judge, within `tolerance` nats a token (mean).
"""

from __future__ import annotations

import asyncio
import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from rlvr.engines.feed import RequestFeed
from rlvr.engines.protocol import NO_POLICY, Generation, GenerationRequest, PolicySnapshot, RolloutEngine
from rlvr.errors import RlvrError
from rlvr.policy import Policy
from rlvr_verifiers.types import Task

Weights = Literal["policy", "base"]


class EngineContract:
    tolerance: float
    """Mean difference from the learner's log-probs that rounding explains, nats a token."""
    step: float
    """Standard deviation of a change of the adapter's B matrices that moves log-probs well beyond the tolerance."""

    @pytest.fixture
    def engine(self) -> RolloutEngine:
        raise NotImplementedError

    @pytest.fixture
    def policy(self) -> Policy:
        raise NotImplementedError

    @pytest.fixture
    def ready(self, engine: RolloutEngine, policy: Policy, tmp_path: Path) -> RolloutEngine:
        """The engine with a policy that differs from the base, as version 1."""
        self.move(policy)
        self.hand_over(engine, policy, tmp_path, 1)
        return engine

    def test_every_request_is_answered_once_and_as_asked(self, ready: RolloutEngine, policy: Policy) -> None:
        wanted = requests(policy) + requests(policy, first_index=100, max_tokens=3, temperature=0.7)
        generations = sample(ready, wanted)
        assert sorted(g.index for g in generations) == sorted(r.index for r in wanted)
        by_index = {r.index: r for r in wanted}
        for generation in generations:
            tokens, limit = generation.token_ids, by_index[generation.index].max_tokens
            assert 1 <= len(tokens) == len(generation.logprobs) <= limit
            assert not set(tokens[:-1]) & set(policy.chat.stop_ids)
            assert generation.finish_reason == ("stop" if tokens[-1] in policy.chat.stop_ids else "length")
            assert generation.finish_reason == "stop" or len(tokens) == limit
            assert all(p <= 0 for p in generation.logprobs)
            assert generation.policy_version == 1

    @pytest.mark.parametrize(("weights", "temperature"), [("policy", 1.0), ("policy", 0.6), ("base", 1.0), ("policy", 0.0)])
    def test_log_probs_are_of_the_distribution_that_was_sampled_from(
        self, ready: RolloutEngine, policy: Policy, weights: Weights, temperature: float
    ) -> None:
        """Temperature 0 samples nothing: its log-probs are those at temperature 1."""
        wanted = requests(policy, weights=weights, temperature=temperature)
        generations = {g.index: g for g in sample(ready, wanted)}
        differences: list[float] = []
        for request in wanted:
            generation = generations[request.index]
            ours = learner_logprobs(policy, [*request.prompt_ids, *generation.token_ids], weights, temperature or 1.0)
            differences += [
                abs(a - b) for a, b in zip(ours[len(request.prompt_ids) - 1 :], generation.logprobs, strict=True)
            ]
        assert statistics.mean(differences) < self.tolerance
        assert {g.policy_version for g in generations.values()} == {NO_POLICY if weights == "base" else 1}

    def test_a_seed_is_a_completion(self, ready: RolloutEngine, policy: Policy) -> None:
        wanted = requests(policy)
        first = {g.index: g for g in sample(ready, wanted)}
        assert {g.index: g for g in sample(ready, wanted)} == first
        assert len({g.token_ids for g in first.values()}) > len(wanted) // 2

    def test_scores_are_the_learners_with_and_without_adapter(self, ready: RolloutEngine, policy: Policy) -> None:
        rows = sequences(policy)
        for weights in ("policy", "base"):
            assert self.gap(ready, policy, rows, weights, weights) < self.tolerance
        assert self.gap(ready, policy, rows, "policy", "base") > 2 * self.tolerance

    def test_new_weights_count_from_the_hand_over_on(self, ready: RolloutEngine, policy: Policy, tmp_path: Path) -> None:
        rows = sequences(policy)
        before = asyncio.run(ready.score_tokens(rows, "policy"))
        self.move(policy)
        assert asyncio.run(ready.score_tokens(rows, "policy")) == before
        assert self.gap(ready, policy, rows, "policy", "policy") > 2 * self.tolerance
        self.hand_over(ready, policy, tmp_path, 2)
        assert ready.policy_version == 2
        assert self.gap(ready, policy, rows, "policy", "policy") < self.tolerance

    @pytest.mark.parametrize(
        "changes", [{"max_tokens": 10_000}, {"max_tokens": 0}, {"prompt_ids": ()}, {"temperature": -1.0}]
    )
    def test_one_impossible_request_refuses_the_batch_and_the_engine_goes_on(
        self, ready: RolloutEngine, policy: Policy, changes: dict[str, Any]
    ) -> None:
        with pytest.raises(RlvrError, match=r"^request 7: "):
            sample(ready, requests(policy) + requests(policy, first_index=7, **changes)[:1])
        assert sample(ready, requests(policy, max_tokens=1))

    @pytest.mark.parametrize("sequence", [[5], [5] * 10_000])
    def test_what_cannot_be_scored_is_refused(self, ready: RolloutEngine, sequence: list[int]) -> None:
        with pytest.raises(RlvrError, match=r"^sequence 0 to be scored has"):
            asyncio.run(ready.score_tokens([sequence], "policy"))

    def test_a_turn_that_joins_later_goes_on_from_exactly_its_tokens(self, ready: RolloutEngine, policy: Policy) -> None:
        """Two turns with something shown between them, while other requests are being sampled: ids, order and log-probs."""
        shown = prompts(policy)[0]
        firsts = requests(policy)
        feed = RequestFeed(firsts)
        answers: dict[int, list[Generation]] = {request.index: [] for request in firsts}
        rows: dict[int, list[int]] = {request.index: list(request.prompt_ids) for request in firsts}

        async def converse() -> None:
            async for generation in ready.generate(feed):
                answers[generation.index].append(generation)
                row = rows[generation.index]
                row += generation.token_ids
                if len(answers[generation.index]) == 1:
                    row += shown
                    first = firsts[generation.index]
                    feed.put(dataclasses.replace(first, prompt_ids=tuple(row), seed=first.seed + 1, max_tokens=5))
                elif all(len(turns) == 2 for turns in answers.values()):
                    feed.close()

        asyncio.run(converse())
        differences: list[float] = []
        for request in firsts:
            one, two = answers[request.index]
            assert rows[request.index] == [*request.prompt_ids, *one.token_ids, *shown, *two.token_ids]
            assert 1 <= len(two.token_ids) <= 5
            ours = learner_logprobs(policy, rows[request.index], "policy")
            differences += [abs(a - b) for a, b in zip(ours[-len(two.token_ids) :], two.logprobs, strict=True)]
        assert statistics.mean(differences) < self.tolerance

    def test_leaving_early_frees_the_engine(self, ready: RolloutEngine, policy: Policy) -> None:
        async def first_only() -> None:
            generations = ready.generate(requests(policy))
            await anext(generations)
            await generations.aclose()  # type: ignore[attr-defined]

        asyncio.run(first_only())
        assert len(sample(ready, requests(policy, max_tokens=2))) == 6

    def test_a_folder_without_weights_is_refused_and_the_old_ones_stay(
        self, ready: RolloutEngine, policy: Policy, tmp_path: Path
    ) -> None:
        rows = sequences(policy)
        before = asyncio.run(ready.score_tokens(rows, "policy"))
        with pytest.raises(RlvrError, match="nowhere"):
            asyncio.run(ready.load_policy(PolicySnapshot(version=9, kind="lora", path=tmp_path / "nowhere")))
        with pytest.raises(RlvrError, match="policy 9"):
            asyncio.run(ready.load_policy(PolicySnapshot(version=9, kind="full", path=tmp_path)))
        assert ready.policy_version == 1
        assert asyncio.run(ready.score_tokens(rows, "policy")) == before

    def test_sleeping_and_waking_changes_nothing(self, ready: RolloutEngine, policy: Policy) -> None:
        rows = sequences(policy)
        before = asyncio.run(ready.score_tokens(rows, "policy"))
        asyncio.run(ready.sleep())
        asyncio.run(ready.wake())
        assert asyncio.run(ready.score_tokens(rows, "policy")) == before

    def move(self, policy: Policy) -> None:
        with torch.no_grad():
            for number, (name, weight) in enumerate(policy.trainable().items()):
                if "lora_B" in name:
                    noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(number))
                    weight.add_((noise * self.step).to(weight.dtype))

    def hand_over(self, engine: RolloutEngine, policy: Policy, folder: Path, version: int) -> None:
        policy.save(folder / str(version))
        asyncio.run(engine.load_policy(PolicySnapshot(version=version, kind="lora", path=folder / str(version))))

    def gap(
        self, engine: RolloutEngine, policy: Policy, rows: Sequence[Sequence[int]], ours: Weights, theirs: Weights
    ) -> float:
        scored = asyncio.run(engine.score_tokens(rows, theirs))
        pairs = [
            (a, b)
            for row, s in zip(rows, scored, strict=True)
            for a, b in zip(learner_logprobs(policy, row, ours), s, strict=True)
        ]
        return statistics.mean(abs(a - b) for a, b in pairs)


def prompts(policy: Policy) -> list[tuple[int, ...]]:
    questions = ("How many?", "Tell me about the number 7 and about the number 12.", "Name a colour.")
    return [
        policy.chat.prompt_ids(Task(id=q, prompt=({"role": "user", "content": q},), verifier="exact", answer=""))
        for q in questions
    ]


def requests(policy: Policy, *, first_index: int = 0, **changes: Any) -> list[GenerationRequest]:
    return [
        GenerationRequest(
            **{
                "index": first_index + i,
                "prompt_ids": prompts(policy)[i % 3],
                "seed": 1000 + i,
                "max_tokens": 12,
                "temperature": 1.0,
                **changes,
            }
        )
        for i in range(6)
    ]


def sequences(policy: Policy) -> list[list[int]]:
    vocabulary = policy.head_weight.shape[0]
    drawn = torch.randint(3, vocabulary, (3, 10), generator=torch.Generator().manual_seed(0)).tolist()
    return [[*prompt, *tokens] for prompt, tokens in zip(prompts(policy), drawn, strict=True)]


def sample(engine: RolloutEngine, wanted: Sequence[GenerationRequest]) -> list[Generation]:
    async def collect() -> list[Generation]:
        return [generation async for generation in engine.generate(wanted)]

    return asyncio.run(collect())


def learner_logprobs(policy: Policy, row: Sequence[int], weights: Weights, temperature: float = 1.0) -> list[float]:
    """One plain row through the model's own head."""
    ids = torch.tensor([list(row)])
    with torch.no_grad(), policy.using(weights):
        logprobs = (policy.model(input_ids=ids, use_cache=False).logits[0, :-1].float() / temperature).log_softmax(-1)
    return logprobs.gather(-1, ids[0, 1:, None])[:, 0].tolist()
