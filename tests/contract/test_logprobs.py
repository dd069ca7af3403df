"""The forward pass: grouped and padded layouts against the model's own logits, whatever the split."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from rlvr.config.schema import AdapterConfig, Config, EngineConfig, ModelConfig, RlConfig
from rlvr.errors import RlvrError
from rlvr.logprobs import frozen_logprobs, token_logprobs
from rlvr.policy import Policy, load_policy
from rlvr.token_groups import TokenGroup

CPU = torch.device("cpu")


def config_for(folder: Path, **model: object) -> Config:
    return Config(
        model=ModelConfig.model_validate({"name": str(folder), "dtype": "float32", **model}),
        adapter=AdapterConfig(rank=4, alpha=8),
        engine=EngineConfig(max_model_len=256),
        rl=RlConfig(tasks=(), max_completion_tokens=64),
        head_chunk_tokens=7,
    )


def random_groups(seed: int, shapes: list[tuple[int, list[int]]]) -> list[TokenGroup]:
    rng = random.Random(seed)
    groups = []
    for prompt, lengths in shapes:
        ids = [tuple(rng.randrange(300) for _ in range(n)) for n in lengths]
        groups.append(
            TokenGroup(
                prompt_ids=tuple(rng.randrange(300) for _ in range(prompt)),
                completion_ids=tuple(ids),
                loss_masks=tuple(tuple(rng.random() < 0.8 for _ in tokens) for tokens in ids),
            )
        )
    return groups


def own_logprobs(policy: Policy, groups: list[TokenGroup], temperature: float) -> torch.Tensor:
    """One plain row at a time through the model's own head: slow and obviously right."""
    out = []
    for group in groups:
        for ids, mask in zip(group.completion_ids, group.loss_masks, strict=True):
            row = torch.tensor([group.prompt_ids + ids])
            logprobs = (policy.model(input_ids=row).logits[0].float() / temperature).log_softmax(-1)
            out += [logprobs[len(group.prompt_ids) + j - 1, t] for j, t in enumerate(ids) if mask[j]]
    return torch.stack(out)


@pytest.fixture(scope="module")
def policy(tiny_model_dir: Path) -> Policy:
    policy = load_policy(config_for(tiny_model_dir), tiny_model_dir, CPU)
    with torch.no_grad():
        for name, weight in policy.trainable().items():
            if "lora_B" in name:
                weight.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
    return policy


GROUPS = random_groups(0, [(9, [5, 1, 12]), (1, [3]), (30, [7, 7]), (4, [0, 6])])


def test_auto_takes_the_grouped_layout(policy: Policy) -> None:
    assert policy.layout == "grouped"


@pytest.mark.parametrize("layout", ["grouped", "padded"])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_layouts_equal_the_models_own_logits(policy: Policy, layout: str, temperature: float) -> None:
    policy.layout = layout  # type: ignore[assignment]
    try:
        with torch.no_grad():
            ours = token_logprobs(policy, GROUPS, temperature=temperature).logprobs
            torch.testing.assert_close(ours, own_logprobs(policy, GROUPS, temperature), atol=2e-5, rtol=1e-4)
    finally:
        policy.layout = "grouped"


def test_gradients_do_not_depend_on_the_layout(policy: Policy) -> None:
    gradients = []
    for layout in ("grouped", "padded"):
        policy.layout = layout  # type: ignore[assignment]
        policy.model.zero_grad()
        logprobs = token_logprobs(policy, GROUPS).logprobs
        (logprobs * torch.linspace(-1, 1, len(logprobs))).sum().backward()
        gradients.append(torch.cat([w.grad.flatten() for w in policy.trainable().values() if w.grad is not None]))
    policy.layout = "grouped"
    policy.model.zero_grad()
    assert gradients[0].norm() > 1e-3
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-3)


def test_a_completion_does_not_see_its_siblings(policy: Policy) -> None:
    """Changing one completion leaves the others' log-probs alone, in the same row."""
    (group,) = random_groups(5, [(6, [8, 8])])
    other = TokenGroup(
        prompt_ids=group.prompt_ids,
        completion_ids=(group.completion_ids[0], tuple(reversed(group.completion_ids[1]))),
        loss_masks=group.loss_masks,
    )
    kept = group.loss_tokens[0]
    with torch.no_grad():
        before = token_logprobs(policy, [group]).logprobs[:kept]
        after = token_logprobs(policy, [other]).logprobs[:kept]
    torch.testing.assert_close(before, after, atol=1e-6, rtol=0)


@pytest.mark.parametrize("max_tokens", [10, 30, 64, 10_000])
def test_frozen_logprobs_keep_the_order_whatever_the_split(policy: Policy, max_tokens: int) -> None:
    whole = frozen_logprobs(policy, GROUPS, max_tokens=10_000)
    torch.testing.assert_close(frozen_logprobs(policy, GROUPS, max_tokens=max_tokens), whole, atol=1e-5, rtol=1e-4)


def test_reference_and_base_are_the_adapter_switched(policy: Policy) -> None:
    policy.freeze_reference()
    (weight,) = [w for n, w in policy.trainable().items() if "layers.0.self_attn.q_proj.lora_B" in n]
    with torch.no_grad():
        now = token_logprobs(policy, GROUPS).logprobs
        weight.add_(0.5)
        moved = token_logprobs(policy, GROUPS).logprobs
        with policy.using("reference"):
            reference = token_logprobs(policy, GROUPS).logprobs
        with policy.using("base"):
            base = token_logprobs(policy, GROUPS).logprobs
        again = token_logprobs(policy, GROUPS).logprobs
        weight.sub_(0.5)
    torch.testing.assert_close(reference, now)
    torch.testing.assert_close(again, moved)
    assert (moved - now).abs().max() > 1e-3
    assert (base - now).abs().max() > 1e-3
    assert all("reference" not in name for name in policy.trainable())


def test_gradient_checkpointing_gives_the_same_gradient(tiny_model_dir: Path) -> None:
    gradients = []
    for checkpointing in (False, True):
        policy = load_policy(config_for(tiny_model_dir, gradient_checkpointing=checkpointing), tiny_model_dir, CPU)
        token_logprobs(policy, GROUPS).logprobs.sum().backward()
        gradients.append(torch.cat([w.grad.flatten() for w in policy.trainable().values() if w.grad is not None]))
    torch.testing.assert_close(gradients[0], gradients[1])


def test_a_window_smaller_than_the_context_is_never_grouped(tiny_model_dir: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, GenerationConfig, MistralConfig, MistralForCausalLM

    model = MistralForCausalLM(
        MistralConfig(
            vocab_size=320, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
            num_key_value_heads=1, head_dim=16, sliding_window=16, eos_token_id=2, pad_token_id=0, bos_token_id=1,
        )
    )  # fmt: skip
    model.generation_config = GenerationConfig(eos_token_id=2, pad_token_id=0)
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_model_dir).save_pretrained(tmp_path)
    assert load_policy(config_for(tmp_path), tmp_path, CPU).layout == "padded"
    with pytest.raises(RlvrError, match="window of 16 tokens"):
        load_policy(config_for(tmp_path, layout="grouped"), tmp_path, CPU)


def test_nf4_gradients_flow_through_every_layer_after_a_forward_without_gradient(tiny_model_dir: Path) -> None:
    """bitsandbytes repacks weights on CPU in such a forward, and the packed kernel has no backward."""
    policy = load_policy(config_for(tiny_model_dir, quantization="nf4", dtype="bfloat16"), tiny_model_dir, CPU)
    frozen_logprobs(policy, GROUPS, max_tokens=1000)
    token_logprobs(policy, GROUPS).logprobs.sum().backward()
    first = [w for n, w in policy.trainable().items() if "layers.0." in n and "lora_B" in n]
    assert first
    assert all(w.grad is not None and float(w.grad.abs().max()) > 0 for w in first)
