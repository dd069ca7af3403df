"""The memory plan against real models: exact where it counts, within a factor of two where it estimates."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig

from rlvr.config.schema import Config
from rlvr.errors import RlvrError
from rlvr.logprobs import token_logprobs
from rlvr.memory_plan import (
    Device,
    MemoryPlan,
    activation_bytes,
    advice,
    count_parameters,
    kv_bytes_per_token,
    nf4_bytes,
    plan_for,
    plan_memory,
)
from rlvr.policy import load_policy
from rlvr.token_groups import TokenGroup

GIB = 2**30
CPU = Device("cpu", "a cpu", 24 * GIB, 20 * GIB)
GPU = Device("cuda", "a gpu", 80 * GIB, 79 * GIB)
SMOLLM2 = LlamaConfig(
    vocab_size=49152,
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    tie_word_embeddings=True,
)


def config(
    model: dict[str, Any] | None = None, adapter: dict[str, Any] | None = None, rl: dict[str, Any] | None = None, **top: Any
) -> Config:
    section = {"tasks": [{"source": "arithmetic"}], **(rl or {})}
    return Config.model_validate(
        {"model": {"name": "m", **(model or {})}, "adapter": adapter or {}, "stages": ["rl"], "rl": section, **top}
    )


def part(plan: MemoryPlan, name: str) -> int:
    (row,) = [row for row in plan.rows if row.part == name]
    return row.bytes


def test_parameters_are_counted_as_published() -> None:
    counts = count_parameters(config(adapter={"rank": 16}), SMOLLM2)
    assert counts.total == 134_515_008  # the model card's 135M; tied embeddings counted once
    # Per layer: q and o 576 <-> 576, k and v 576 -> 192, gate and up 576 -> 1536, down back; r (in + out) each.
    per_layer = 16 * (2 * (576 + 576) + 2 * (576 + 192) + 3 * (576 + 1536))
    assert counts.trained == 30 * per_layer == 4_884_480
    assert counts.quantizable == 134_515_008 - 49152 * 576 - 576 * 61  # all but the embedding and the norms


def test_named_targets_and_full_fine_tuning() -> None:
    assert count_parameters(config(adapter={"rank": 4, "target_modules": ["q_proj"]}), SMOLLM2).trained == 30 * 4 * (
        576 + 576
    )
    full = count_parameters(config(adapter={"kind": "full"}), SMOLLM2)
    assert full.trained == full.total


def test_counts_equal_those_of_the_loaded_policy(tiny_model_dir: Path) -> None:
    settings = config(adapter={"rank": 8}, model={"dtype": "float32"})
    policy = load_policy(settings, tiny_model_dir, torch.device("cpu"))
    counts = count_parameters(settings, AutoConfig.from_pretrained(tiny_model_dir))
    assert counts.trained == sum(p.numel() for p in policy.trainable().values())
    assert counts.total == sum(p.numel() for p in policy.model.parameters()) - counts.trained


@pytest.mark.parametrize("double", [True, False])
def test_four_bit_weights_take_what_bitsandbytes_takes(tiny_model_dir: Path, double: bool) -> None:
    pytest.importorskip("bitsandbytes")
    from bitsandbytes.nn.modules import Linear4bit
    from transformers import BitsAndBytesConfig

    quantization = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=double)
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir, quantization_config=quantization, dtype=torch.bfloat16)
    layers = [m for m in model.modules() if isinstance(m, Linear4bit)]
    counts = count_parameters(config(), AutoConfig.from_pretrained(tiny_model_dir))
    assert counts.quantizable == sum(m.in_features * m.out_features for m in layers)
    real = 0
    for layer in layers:
        state: Any = getattr(layer.weight, "quant_state")  # noqa: B009 - a parameter to the type checker
        real += layer.weight.nbytes + state.absmax.nbytes + (state.state2.absmax.nbytes if double else 0)
    assert nf4_bytes(counts.quantizable, double_quantization=double) == pytest.approx(real, rel=0.01)


def kept_by_autograd(settings: Config, folder: Path, groups: list[TokenGroup]) -> int:
    """Bytes of the distinct storages that a forward pass leaves for the backward pass, weights aside."""
    policy = load_policy(settings, folder, torch.device("cpu"))
    weights = {p.untyped_storage().data_ptr() for p in [*policy.model.parameters(), *policy.model.buffers()]}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logprobs = token_logprobs(policy, groups).logprobs
    assert logprobs.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("layout", ["grouped", "padded"])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("prompt", "completion"), [(16, 48), (64, 24)])
def test_activations_are_estimated_within_a_factor_of_two(
    tmp_path: Path, tiny_model_dir: Path, dtype: str, layout: str, checkpointing: bool, prompt: int, completion: int
) -> None:
    members = 4
    group = TokenGroup(
        prompt_ids=(5,) * prompt,
        completion_ids=((7,) * completion,) * members,
        loss_masks=((True,) * completion,) * members,
    )
    rows = members * (prompt + completion) if layout == "padded" else prompt + members * completion
    settings = config(
        model={"dtype": dtype, "layout": layout, "gradient_checkpointing": checkpointing},
        rl={"group_size": members, "max_prompt_tokens": prompt},
        micro_batch_tokens=rows,
    )
    real = kept_by_autograd(settings, tiny_model_dir, [group])
    estimate, _ = activation_bytes(settings, AutoConfig.from_pretrained(tiny_model_dir))
    # With checkpointing the plan also counts the layer that the backward pass recomputes.
    assert 0.5 * real <= estimate
    if not checkpointing:
        assert estimate <= 2 * real


def test_estimate_for_smollm2_is_what_was_measured() -> None:
    """733 MiB (bfloat16) and 1,357 MiB (float32) kept for one group of 123 + 8 x 88 tokens."""
    for dtype, measured in (("bfloat16", 733), ("float32", 1357)):
        settings = config(model={"dtype": dtype}, rl={"max_prompt_tokens": 123}, micro_batch_tokens=123 + 8 * 88)
        estimate, _ = activation_bytes(settings, SMOLLM2)
        assert estimate / 2**20 == pytest.approx(measured, rel=0.1)


def test_key_value_cache() -> None:
    assert kv_bytes_per_token(SMOLLM2, 2) == 2 * 30 * 3 * 64 * 2


def test_rows_of_a_lora_run_on_a_cpu() -> None:
    plan = plan_memory(config(), SMOLLM2, CPU)
    trained = 4_884_480
    assert part(plan, "base weights") == 2 * 134_515_008
    assert part(plan, "engine weights") == 2 * (134_515_008 + trained)
    assert part(plan, "adapter") == 2 * trained
    assert part(plan, "master weights") == 4 * trained
    assert part(plan, "optimizer") == 8 * trained
    assert part(plan, "gradients") == 4 * trained
    assert part(plan, "head chunk") == 512 * 49152 * 16
    assert part(plan, "engine KV cache") == GIB
    assert plan.fits
    assert plan.peak_bytes == sum(row.bytes for row in plan.rows)  # nothing sleeps on a CPU


def test_the_hf_engine_shares_the_base() -> None:
    plan = plan_memory(
        config(engine={"kind": "hf", "max_sequences": 4, "max_model_len": 128}, rl={"max_completion_tokens": 64}),
        SMOLLM2,
        CPU,
    )
    assert part(plan, "engine weights") == 2 * 4_884_480
    assert part(plan, "engine KV cache") == 4 * 128 * kv_bytes_per_token(SMOLLM2, 2)


def test_a_sleeping_engine_and_the_update_take_turns_on_a_gpu() -> None:
    plan = plan_memory(config(), SMOLLM2, GPU)
    engine = sum(row.bytes for row in plan.rows if row.part.startswith("engine"))
    assert engine == pytest.approx(0.4 * 80 * GIB, rel=1e-6)
    assert plan.peak_bytes < sum(row.bytes for row in plan.rows)
    awake = plan_memory(config(engine={"sleep": False}), SMOLLM2, GPU)
    assert awake.peak_bytes == sum(row.bytes for row in awake.rows)


def test_settings_that_save_memory_do() -> None:
    base = plan_memory(config(), SMOLLM2, CPU)
    four_bit = plan_memory(config(model={"quantization": "nf4"}), SMOLLM2, CPU)
    assert part(four_bit, "base weights") < 0.5 * part(base, "base weights")
    assert part(four_bit, "engine weights") == part(base, "engine weights")  # the engine samples from the dequantised base
    checkpointed = plan_memory(config(model={"gradient_checkpointing": True}), SMOLLM2, CPU)
    assert part(checkpointed, "activations") < 0.2 * part(base, "activations")
    full = plan_memory(config(adapter={"kind": "full"}), SMOLLM2, CPU)
    assert part(full, "optimizer") == 8 * 134_515_008
    with_reference = plan_memory(config(rl={"algorithm": {"kl_coef": 0.01}}), SMOLLM2, CPU)
    assert part(with_reference, "adapter") == 2 * part(base, "adapter")


def test_a_plan_that_does_not_fit_says_what_to_change() -> None:
    small = Device("cpu", "small", 2 * GIB, 1 * GIB)
    plan = plan_memory(config(micro_batch_tokens=16384), SMOLLM2, small)
    assert not plan.fits
    console = Console(file=io.StringIO(), width=140)
    console.print(plan.table())
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "does not fit" in shown
    assert (
        advice(plan)
        == "activations is the largest part that can shrink: lower micro_batch_tokens, or set model.gradient_checkpointing=true"
    )
    assert "30 layers x 16,384 tokens" in shown


def test_a_stage_without_sampling_needs_no_engine() -> None:
    sft = {"model": {"name": "m"}, "stages": ["sft"], "sft": {"tasks": [{"source": "arithmetic"}], "steps": 1}}
    plan = plan_memory(Config.model_validate(sft), SMOLLM2, CPU)
    assert not [row for row in plan.rows if row.part.startswith("engine")]


def test_the_plan_of_this_machine(tiny_model_dir: Path, tmp_path: Path) -> None:
    plan = plan_for(config(model={"name": str(tiny_model_dir)}, device="cpu"))
    assert plan.device.kind == "cpu"
    assert plan.fits
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(RlvrError, match=r"its config\.json cannot be read"):
        plan_for(config(model={"name": str(tmp_path)}))


def test_wrong_targets_are_one_clear_line() -> None:
    with pytest.raises(RlvrError, match=r"adapter\.target_modules: .*nothing_proj"):
        plan_memory(config(adapter={"target_modules": ["nothing_proj"]}), SMOLLM2, CPU)
