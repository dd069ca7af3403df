"""Real vLLM with a real model: seeds, log-probs against transformers, hand-over, and every way it can silently go wrong."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from rlvr.config.schema import Config
from rlvr.engines.protocol import Generation, GenerationRequest, PolicySnapshot
from rlvr.engines.vllm import VllmEngine
from rlvr.errors import RlvrError
from rlvr.hand_over import HandOver, probe_logprobs
from rlvr.policy import Policy
from rlvr_verifiers.types import Task

pytestmark = [pytest.mark.vllm, pytest.mark.model]

TASKS = [
    Task(
        id=str(n),
        prompt=({"role": "user", "content": f"Tell me a short story about the number {n}."},),
        verifier="exact",
        answer="",
    )
    for n in range(4)
]


def move(policy: Policy, scale: float, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in policy.trainable().items():
            if "lora_B" in name:
                weight.add_((torch.randn(weight.shape, generator=generator) * scale).to(weight.dtype))


def requests(policy: Policy, **changes: Any) -> list[GenerationRequest]:
    return [
        GenerationRequest(
            **{
                "index": i,
                "prompt_ids": policy.chat.prompt_ids(TASKS[i // 4]),
                "seed": 1000 + i,
                "max_tokens": 24,
                "temperature": 1.0,
                "weights": "policy",
                **changes,
            }
        )
        for i in range(16)
    ]


def sample(engine: VllmEngine, wanted: Sequence[GenerationRequest]) -> dict[int, Generation]:
    async def collect() -> dict[int, Generation]:
        return {g.index: g async for g in engine.generate(wanted)}

    return asyncio.run(collect())


def hand_over(engine: VllmEngine, policy: Policy, folder: Path, version: int) -> None:
    policy.save(folder / str(version))
    asyncio.run(engine.load_policy(PolicySnapshot(version=version, kind="lora", path=folder / str(version))))


def gap(
    policy: Policy,
    engine: VllmEngine,
    sequences: list[list[int]],
    ours: Literal["policy", "base"],
    theirs: Literal["policy", "base"],
) -> float:
    with policy.using(ours):
        learner = probe_logprobs(policy, sequences, 512)
    engine_side = asyncio.run(engine.score_tokens(sequences, theirs))
    return statistics.mean(abs(a - b) for x, y in zip(learner, engine_side, strict=True) for a, b in zip(x, y, strict=True))


def sequences_of(done: dict[int, Generation], wanted: Sequence[GenerationRequest]) -> list[list[int]]:
    return [[*request.prompt_ids, *done[request.index].token_ids] for request in wanted[:6]]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampled_log_probs_are_the_learners(
    vllm_engine: VllmEngine, policy: Policy, tmp_path: Path, temperature: float
) -> None:
    move(policy, 0.02)
    hand_over(vllm_engine, policy, tmp_path, 1)
    wanted = requests(policy, temperature=temperature)
    done = sample(vllm_engine, wanted)
    differences: list[float] = []
    for request in wanted[:8]:
        generation = done[request.index]
        row = torch.tensor([request.prompt_ids + generation.token_ids])
        with torch.no_grad():
            logprobs = (policy.model(input_ids=row).logits[0].float() / temperature).log_softmax(-1)
        start = len(request.prompt_ids) - 1
        differences += [
            abs(float(logprobs[start + j, t]) - p)
            for j, (t, p) in enumerate(zip(generation.token_ids, generation.logprobs, strict=True))
        ]
    assert statistics.mean(differences) < 0.1  # bfloat16 noise is 0.04 to 0.06; the wrong temperature gives 0.4
    assert {g.policy_version for g in done.values()} == {1}


def test_the_same_request_gives_the_same_completion(vllm_engine: VllmEngine, policy: Policy, tmp_path: Path) -> None:
    hand_over(vllm_engine, policy, tmp_path, 1)
    wanted = requests(policy)
    first, again = sample(vllm_engine, wanted), sample(vllm_engine, wanted)
    assert first == again
    assert len({g.token_ids for g in first.values()}) == len(wanted)


def test_more_prompts_than_one_step_holds(vllm_engine: VllmEngine, policy: Policy, tmp_path: Path) -> None:
    """Seeded requests whose prompts do not fit into one prefill: split prompts would kill vLLM on CPU."""
    hand_over(vllm_engine, policy, tmp_path, 1)
    long = policy.chat.message_ids([{"role": "user", "content": "word " * 150}])
    wanted = [
        GenerationRequest(index=i, prompt_ids=(*long[:-8], 300 + i, *long[-8:]), seed=i, max_tokens=4, temperature=1.0)
        for i in range(40)
    ]
    assert len(sample(vllm_engine, wanted)) == 40


def test_adapter_on_and_off_are_told_apart(vllm_engine: VllmEngine, policy: Policy, tmp_path: Path) -> None:
    move(policy, 0.05)
    hand_over(vllm_engine, policy, tmp_path, 1)
    wanted = requests(policy)
    sequences = sequences_of(sample(vllm_engine, wanted), wanted)
    same = gap(policy, vllm_engine, sequences, "policy", "policy")
    crossed = gap(policy, vllm_engine, sequences, "policy", "base")
    assert same < 0.1
    assert crossed > 3 * same
    assert gap(policy, vllm_engine, sequences, "base", "base") < 0.1


def test_base_and_policy_requests_may_be_mixed(vllm_engine: VllmEngine, policy: Policy, tmp_path: Path) -> None:
    move(policy, 0.05)
    hand_over(vllm_engine, policy, tmp_path, 1)
    on, off = requests(policy), requests(policy, weights="base")
    mixed = [request if i % 2 else off[i] for i, request in enumerate(on)]
    alone = {
        **sample(vllm_engine, [r for r in mixed if r.weights == "base"]),
        **sample(vllm_engine, [r for r in mixed if r.weights == "policy"]),
    }
    assert {i: g.token_ids for i, g in sample(vllm_engine, mixed).items()} == {i: g.token_ids for i, g in alone.items()}


def test_no_prefix_of_the_old_adapter_survives_a_hand_over(vllm_engine: VllmEngine, policy: Policy, tmp_path: Path) -> None:
    """vLLM's prefix cache is keyed by the adapter's name and path: from the same folder, the old keys and values would be reused."""
    wanted = requests(policy)
    for version in (1, 2):
        move(policy, 0.05, seed=version)
        policy.save(tmp_path)
        asyncio.run(vllm_engine.load_policy(PolicySnapshot(version=version, kind="lora", path=tmp_path)))
        done = sample(vllm_engine, wanted)  # version 1 fills the cache with its prompts
    first = [(request, done[request.index]) for request in wanted]
    learner = probe_logprobs(policy, [[*r.prompt_ids, *g.token_ids] for r, g in first], 512)
    differences = [
        abs(ours[len(r.prompt_ids) - 1 + j] - p)
        for ours, (r, g) in zip(learner, first, strict=True)
        for j, p in enumerate(g.logprobs)
    ]
    assert statistics.mean(differences) < 0.1


def test_fresh_hand_overs_pass_and_a_stale_one_is_caught(
    vllm_engine: VllmEngine, policy: Policy, smollm_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps of the size that a learning rate of 2e-4 makes; then the engine keeps an old adapter without saying so."""
    hand = HandOver(policy, vllm_engine, smollm_config, TASKS)
    passed: list[dict[str, float]] = []

    async def healthy() -> None:
        passed.append(await hand(0))
        for version in range(1, 7):
            move(policy, 2e-3, seed=version)
            passed.append(await hand(version))

    async def stuck() -> None:
        for version in range(7, 20):
            move(policy, 2e-3, seed=version)
            await hand(version)

    asyncio.run(healthy())
    assert all(0.5 < metrics["sync/moved"] < 2 for metrics in passed[1:])

    async def deaf(snapshot: PolicySnapshot) -> None:
        vllm_engine.policy_version = snapshot.version

    monkeypatch.setattr(vllm_engine, "load_policy", deaf)
    with pytest.raises(RlvrError, match="proof of sync failed: the engine was handed policy version"):
        asyncio.run(stuck())
    hand.close()


def test_the_dense_kernel_equals_vllms_own() -> None:
    """For one adapter and all tokens; for anything else the original is called."""
    pytest.importorskip("vllm")
    from vllm.lora.layers import LoRAMapping
    from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

    from rlvr.engines.vllm_cpu_lora import Joined, use_joined_matrices

    original = PunicaWrapperCPU.add_lora_linear
    original = getattr(original, "original", original)
    ours = type("Ours", (PunicaWrapperCPU,), {"add_lora_linear": original})
    use_joined_matrices(ours)
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    tokens, width, rank, slices = 10, 12, 4, (8, 3)
    x, start = random(tokens, width), random(tokens, sum(slices))
    a, b = [random(1, 1, rank, width) for _ in slices], [random(1, 1, out, rank) for out in slices]
    joined_a, joined_b = Joined.side_by_side(a, diagonal=False), Joined.side_by_side(b, diagonal=True)
    for whose in ([1] * tokens, [0] * tokens, [1] * 6 + [0] * 4):  # all with the adapter, none, some
        results = []
        for kind, matrices in ((PunicaWrapperCPU, (tuple(a), tuple(b))), (ours, (joined_a, joined_b))):
            wrapper = kind(64, 8, torch.device("cpu"))
            wrapper.update_metadata(LoRAMapping(tuple(whose), tuple(whose), is_prefill=True), [1], 1, 100)
            y = start.clone()
            (original if kind is PunicaWrapperCPU else ours.add_lora_linear)(wrapper, y, x, *matrices, 1.0, slices)
            results.append(y)
        torch.testing.assert_close(results[0], results[1])
        assert torch.equal(results[1], start) == (not any(whose))


def test_joined_matrices_are_filled_through_their_views(vllm_engine: VllmEngine, policy: Policy, tmp_path: Path) -> None:
    from rlvr.engines.vllm_cpu_lora import Joined

    def joined(model: torch.nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]]:
        layers = [m for m in model.modules() if isinstance(getattr(m, "lora_a_stacked", None), Joined)]
        return [(layer.lora_a_stacked.whole.clone(), layer.lora_b_stacked.whole.clone()) for layer in layers]

    move(policy, 0.02)
    hand_over(vllm_engine, policy, tmp_path, 1)
    [layers] = vllm_engine._llm.apply_model(joined)
    assert len(layers) == 4 * policy.model.config.num_hidden_layers  # q k v, o, gate up, down
    weights = {name: weight for name, weight in policy.trainable().items() if ".layers.0.self_attn.q_proj." in name}
    (a,) = (weight for name, weight in weights.items() if "lora_A" in name)
    assert torch.equal(layers[0][0][: len(a)], a)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_tokens": 300}, "do not fit into"),
        ({"prompt_ids": ()}, "its prompt has no tokens"),
        ({"temperature": -1.0}, "temperature=-1.0"),
    ],
)
def test_impossible_requests_are_refused_and_the_engine_goes_on(
    vllm_engine: VllmEngine, policy: Policy, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    hand_over(vllm_engine, policy, tmp_path, 1)
    with pytest.raises(RlvrError, match=message):
        sample(vllm_engine, requests(policy, **changes))
    assert sample(vllm_engine, requests(policy, max_tokens=1))


def test_leaving_early_frees_the_engine(vllm_engine: VllmEngine, policy: Policy, tmp_path: Path) -> None:
    hand_over(vllm_engine, policy, tmp_path, 1)

    async def first_only() -> None:
        generations = vllm_engine.generate(requests(policy))
        await anext(generations)
        await generations.aclose()  # type: ignore[attr-defined]

    asyncio.run(first_only())
    assert not vllm_engine._llm.has_unfinished_requests()
    assert len(sample(vllm_engine, requests(policy, max_tokens=2))) == 16


def test_nothing_else_is_asked_of_an_engine_that_is_generating(
    vllm_engine: VllmEngine, policy: Policy, tmp_path: Path
) -> None:
    """A caller that waited for the generation it suspended would wait for ever; new weights would mix with old."""
    hand_over(vllm_engine, policy, tmp_path, 1)
    snapshot = PolicySnapshot(version=2, kind="lora", path=tmp_path / "1")

    async def meddle() -> None:
        generations = vllm_engine.generate(requests(policy))
        await anext(generations)
        with pytest.raises(RlvrError, match="finish or abandon generate"):
            await vllm_engine.score_tokens([[1, 2, 3]], "policy")
        with pytest.raises(RlvrError, match="policy 2 was handed over while generations were running"):
            await vllm_engine.load_policy(snapshot)
        await generations.aclose()  # type: ignore[attr-defined]
        await vllm_engine.load_policy(snapshot)

    asyncio.run(meddle())
    assert vllm_engine.policy_version == 2


def test_adapters_that_do_not_fit_are_refused(vllm_engine: VllmEngine, policy: Policy, tmp_path: Path) -> None:
    with pytest.raises(RlvrError, match="not a whole PEFT adapter folder"):
        asyncio.run(vllm_engine.load_policy(PolicySnapshot(version=1, kind="lora", path=tmp_path)))
    with pytest.raises(RlvrError, match="started for adapters"):
        asyncio.run(vllm_engine.load_policy(PolicySnapshot(version=1, kind="full", path=tmp_path)))


def test_an_engine_that_dies_in_a_step_says_so_and_stays_dead(
    vllm_engine: VllmEngine, policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_over(vllm_engine, policy, tmp_path, 1)
    step, steps = vllm_engine._llm.step, iter(range(100))

    def dying() -> Any:
        if next(steps) == 3:
            raise RuntimeError("a kernel failed")
        return step()

    with monkeypatch.context() as broken:
        broken.setattr(vllm_engine._llm, "step", dying)
        with pytest.raises(
            RlvrError, match="died in a step: RuntimeError: a kernel failed; resume from the last checkpoint"
        ):
            sample(vllm_engine, requests(policy))
        with pytest.raises(RlvrError, match="the vLLM engine has died: RuntimeError: a kernel failed"):
            sample(vllm_engine, requests(policy))
    # Revived for the tests that follow: nothing was wrong with it.
    vllm_engine._llm.abort_request(list(vllm_engine._llm.output_processor.request_states), internal=True)
    vllm_engine._failure = None
    assert len(sample(vllm_engine, requests(policy, max_tokens=2))) == 16


def test_the_layers_of_an_unknown_vllm_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from rlvr.engines import vllm_cpu_lora

    monkeypatch.setattr(vllm_cpu_lora, "_vllm_version", lambda: (9, 9))
    with pytest.warns(UserWarning, match=r"vLLM 9\.9 is not one it was proven on \(0\.32\)"):
        assert not vllm_cpu_lora.can_install()
