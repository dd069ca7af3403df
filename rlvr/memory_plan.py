"""How much memory a config needs, before anything is loaded: one row a consumer, each with its formula.

Weights, adapter, gradients and optimizer are counted on the meta device with transformers and peft themselves, so they are exact.
Activations are an estimate for decoders with a gated MLP (Llama, Qwen, Mistral, Gemma); see `activation_bytes`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

from rlvr import machine
from rlvr.config.schema import Config
from rlvr.errors import RlvrError
from rlvr.models import locate_model

When = Literal["always", "sampling", "updating"]

FLOAT32 = 4
NF4_BLOCK = 64  # weights that share a scale (bitsandbytes' default)
NF4_SCALE_BLOCK = 256  # scales that share a float32 scale of their own (double quantisation)
PROCESS_BYTES = 700 * 2**20  # Python with torch, transformers, peft and vLLM imported: 653 MiB resident, measured
CUDA_CONTEXT_BYTES = 600 * 2**20
# Freed blocks that the allocator cannot give back: on CPU, glibc's heap held 1.27 times (bfloat16) and 1.58 times (float32) what
# autograd keeps in a forward pass of SmolLM2-135M over 1,654 tokens. CUDA's caching allocator wastes less.
ALLOCATOR_OVERHEAD = {"cpu": 1.4, "cuda": 1.1}


@dataclasses.dataclass(frozen=True, slots=True)
class Device:
    """Where the learner and an in-process engine live."""

    kind: Literal["cpu", "cuda"]
    name: str
    total_bytes: int
    available_bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class MemoryRow:
    part: str
    bytes: int
    when: When
    formula: str


@dataclasses.dataclass(frozen=True, slots=True)
class MemoryPlan:
    device: Device
    rows: tuple[MemoryRow, ...]

    @property
    def peak_bytes(self) -> int:
        """What is there always, plus the larger of sampling and updating: the two take turns."""
        by_phase = {
            when: sum(row.bytes for row in self.rows if row.when == when) for when in ("always", "sampling", "updating")
        }
        return by_phase["always"] + max(by_phase["sampling"], by_phase["updating"])

    @property
    def fits(self) -> bool:
        return self.peak_bytes <= self.device.available_bytes

    def table(self) -> Table:
        """For the console: the rows, the peak, what there is, and what to change where it does not fit."""
        table = Table(
            title=f"Memory plan for {self.device.name} ({self.device.kind})", title_justify="left", show_edge=False
        )
        table.add_column("part")
        table.add_column("GiB", justify="right")
        table.add_column("when")
        table.add_column("formula", overflow="fold")
        for row in self.rows:
            table.add_row(Text(row.part), _gib(row.bytes), row.when, Text(row.formula))
        table.add_section()
        table.add_row("peak", _gib(self.peak_bytes), "", "always + the larger of sampling and updating")
        table.add_row("available", _gib(self.device.available_bytes), "", f"of {_gib(self.device.total_bytes)} GiB")
        if not self.fits:
            table.add_row(Text("does not fit", style="bold red"), "", "", Text(advice(self)))
        return table


@dataclasses.dataclass(frozen=True, slots=True)
class ModelCounts:
    """Numbers of parameters."""

    total: int
    quantizable: int
    """In linear layers other than the LM head: what NF4 replaces."""
    largest_linear: int
    trained: int


def plan_for(config: Config) -> MemoryPlan:
    """The plan of `config` on this machine. Raises RlvrError where the model's description cannot be read."""
    from transformers import AutoConfig

    path = locate_model(config.model.name, config.model.revision)
    try:
        model_config = AutoConfig.from_pretrained(path, revision=config.model.revision)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise RlvrError(
            f"model.name={config.model.name}: its config.json cannot be read ({reason}); check the name"
        ) from None
    return plan_memory(config, model_config)


def plan_memory(config: Config, model_config: Any, device: Device | None = None) -> MemoryPlan:
    """The plan of a run with the model that `model_config` (transformers' AutoConfig) describes; loads no weights.

    Raises RlvrError for an architecture that transformers cannot build as a causal LM, or adapter targets it does not have.
    """
    device = device or this_device(config)
    counts = count_parameters(config, model_config)
    rows = [
        MemoryRow("process", _process_bytes(device), "always", "libraries" if device.kind == "cpu" else "CUDA context"),
        *_learner_rows(config, counts),
        *_update_rows(config, model_config, counts, device),
        *_engine_rows(config, model_config, counts, device),
    ]
    return MemoryPlan(device, tuple(rows))


def this_device(config: Config) -> Device:
    """The device the config will train on, as the driver or the kernel sees it; does not import torch."""
    found = [] if config.device == "cpu" else machine.gpus()
    if found:
        return Device("cuda", found[0].name, found[0].total_bytes, found[0].free_bytes)
    if config.device == "cuda":
        raise RlvrError("device=cuda, but nvidia-smi finds no GPU here: run where the GPU is, or set device=cpu")
    memory = machine.memory()
    return Device("cpu", machine.cpu_name(), memory.total_bytes, memory.available_bytes)


def count_parameters(config: Config, model_config: Any) -> ModelCounts:
    """Builds model and adapter on the meta device (shapes without storage) and counts; exact for any architecture."""
    import torch
    from peft import LoraConfig, get_peft_model
    from torch import nn
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(model_config)
            model.tie_weights()
    except (ValueError, KeyError) as error:
        raise RlvrError(f"model.name={config.model.name}: transformers cannot build it as a causal LM ({error})") from None
    total = _count(model.parameters())
    head = model.get_output_embeddings()
    linears = [m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear) and m is not head]
    trained = total
    if config.adapter.kind == "lora":
        targets = config.adapter.target_modules
        lora = LoraConfig(
            r=config.adapter.rank,
            target_modules=targets if isinstance(targets, str) else list(targets),
            task_type="CAUSAL_LM",
        )
        try:
            with torch.device("meta"):
                adapted = get_peft_model(model, lora, low_cpu_mem_usage=True, autocast_adapter_dtype=False)
        except ValueError as error:
            raise RlvrError(f"adapter.target_modules: {' '.join(str(error).split())[:300]}") from None
        trained = _count(p for p in adapted.parameters() if p.requires_grad)
    return ModelCounts(total, sum(linears), max(linears, default=0), trained)


def nf4_bytes(parameters: int, *, double_quantization: bool) -> float:
    """Bytes of `parameters` weights in NF4: half a byte each, and the scales (QLoRA, Dettmers et al., 2023, section 3)."""
    scales = parameters / NF4_BLOCK
    return parameters / 2 + (scales + scales / NF4_SCALE_BLOCK * FLOAT32 if double_quantization else scales * FLOAT32)


def activation_bytes(config: Config, model_config: Any) -> tuple[float, str]:
    """What autograd keeps for one micro-batch of `micro_batch_tokens` tokens, and how it was computed.

    Counted tensor by tensor from saved_tensors_hooks on Llama and Qwen2 (bytes a token and layer, s = bytes of a number):
        norms            (8 + 2s) x hidden      each norm's input in float32, its output
        MLP              4s x intermediate      gate, its activation, up, their product
        adapter          s x rank x modules     full fine-tuning instead 2s x hidden
        attention        padded: 2s x (query + key widths). Grouped: queries, repeated keys and values, output, and for every
                         completion its own copy of the prompt's keys and values; the prompt is taken at its limit, at most half
                         of the micro-batch.
    With gradient checkpointing each layer keeps its input (s x hidden), and one layer at a time is recomputed.
    """
    shape = _Shape.of(model_config, config)
    tokens, s = config.micro_batch_tokens, shape.item_bytes
    token_wise = (8 + 2 * s) * shape.hidden + 4 * s * shape.intermediate
    token_wise += s * config.adapter.rank * shape.adapted_modules if config.adapter.kind == "lora" else 2 * s * shape.hidden
    per_layer = tokens * token_wise + _attention_bytes(config, shape)
    embedding = tokens * shape.hidden * (FLOAT32 + 2 * s)  # final norm and what the head keeps
    if config.model.gradient_checkpointing:
        kept = shape.layers * tokens * s * shape.hidden + per_layer + embedding
        return kept, f"{shape.layers} layer inputs + 1 layer of {tokens:,} tokens"
    return (
        shape.layers * per_layer + embedding,
        f"{shape.layers} layers x {tokens:,} tokens x {per_layer / tokens / 1000:.1f} kB",
    )


def head_chunk_bytes(config: Config, model_config: Any) -> float:
    """The LM head's working memory for one chunk of loss tokens: 16 bytes a logit for a frozen head (measured), 24 for one that
    is recomputed in the backward pass.
    """
    vocabulary = model_config.get_text_config().vocab_size
    recomputed = config.adapter.kind == "full" or (config.rl is not None and config.rl.algorithm.entropy_coef > 0)
    return config.head_chunk_tokens * vocabulary * (24 if recomputed else 16)


def kv_bytes_per_token(model_config: Any, item_bytes: int) -> int:
    """Keys and values of one token over all layers."""
    text = model_config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    return 2 * text.num_hidden_layers * heads * _head_size(text) * item_bytes


def advice(plan: MemoryPlan) -> str:
    """What to change first: the remedy of the largest row that has one."""
    remedies = {
        "activations": "lower micro_batch_tokens, or set model.gradient_checkpointing=true",
        "head chunk": "lower head_chunk_tokens",
        "base weights": "set model.quantization=nf4, or take a smaller model",
        "engine KV cache": "lower engine.kv_cache_gib (CPU) or engine.gpu_memory_utilization (CUDA)",
        "optimizer": "set adapter.kind=lora, or lower adapter.rank",
    }
    largest = max((row for row in plan.rows if row.part in remedies), key=lambda row: row.bytes)
    return f"{largest.part} is the largest part that can shrink: {remedies[largest.part]}"


def _learner_rows(config: Config, counts: ModelCounts) -> list[MemoryRow]:
    s = _item_bytes(config)
    lora = config.adapter.kind == "lora"
    rows: list[MemoryRow] = []
    if config.model.quantization == "nf4":
        plain = counts.total - counts.quantizable
        double = config.model.double_quantization
        quantized = nf4_bytes(counts.quantizable, double_quantization=double)
        each = 8 * quantized / counts.quantizable
        rows.append(
            _row(
                "base weights",
                quantized + plain * s,
                "always",
                f"{counts.quantizable:,} x {each:.2f} bit + {plain:,} x {s} B",
            )
        )
        rows.append(
            _row(
                "dequantised layer",
                counts.largest_linear * s,
                "updating",
                f"largest layer, {counts.largest_linear:,} x {s} B",
            )
        )
    else:
        rows.append(_row("base weights", counts.total * s, "always", f"{counts.total:,} x {s} B"))
    if lora:
        copies = 2 if config.rl is not None and config.rl.algorithm.kl_coef > 0 else 1
        what = "policy and reference, " if copies == 2 else ""
        rows.append(_row("adapter", copies * counts.trained * s, "always", f"{what}{copies * counts.trained:,} x {s} B"))
    if s < FLOAT32:
        rows.append(_row("master weights", counts.trained * FLOAT32, "always", f"{counts.trained:,} x 4 B, float32"))
    rows.append(_row("optimizer", counts.trained * 2 * FLOAT32, "always", f"{counts.trained:,} x 8 B, AdamW's two moments"))
    rows.append(_row("gradients", counts.trained * FLOAT32, "updating", f"{counts.trained:,} x 4 B, float32"))
    return rows


def _update_rows(config: Config, model_config: Any, counts: ModelCounts, device: Device) -> list[MemoryRow]:
    kept, formula = activation_bytes(config, model_config)
    overhead = ALLOCATOR_OVERHEAD[device.kind]
    vocabulary = model_config.get_text_config().vocab_size
    chunk = head_chunk_bytes(config, model_config)
    each = chunk / config.head_chunk_tokens / vocabulary
    return [
        _row("activations", kept * overhead, "updating", f"{formula} x {overhead:g} (allocator); estimate"),
        _row("head chunk", chunk, "updating", f"{config.head_chunk_tokens:,} tokens x {vocabulary:,} logits x {each:.0f} B"),
    ]


def _engine_rows(config: Config, model_config: Any, counts: ModelCounts, device: Device) -> list[MemoryRow]:
    """What sampling needs: vLLM holds its own dense copy of the base (of a 4-bit base, the dequantised one); `hf` shares it."""
    if "rl" not in config.stages and config.eval is None:
        return []
    s, engine = _item_bytes(config), config.engine
    each = kv_bytes_per_token(model_config, s)
    adapter = counts.trained * s if config.adapter.kind == "lora" else 0
    if engine.kind == "hf":
        cache = engine.max_sequences * engine.max_model_len * each
        made_of = f"at most {engine.max_sequences} x {engine.max_model_len:,} tokens x {each:,} B"
        return [
            _row("engine weights", adapter, "always", f"its own adapter, {adapter // s:,} x {s} B; the base is shared"),
            _row("engine KV cache", cache, "sampling", made_of),
        ]
    weights = counts.total * s + adapter
    if device.kind == "cuda":
        cache = max(0.0, engine.gpu_memory_utilization * device.total_bytes - weights)
        made_of = f"{engine.gpu_memory_utilization:g} of the GPU less the weights"
    else:
        cache = engine.kv_cache_gib * 2**30
        made_of = f"engine.kv_cache_gib={engine.kv_cache_gib:g}"
    when: When = "sampling" if device.kind == "cuda" and engine.sleep else "always"
    sequences = cache / (each * engine.max_model_len)
    held = f"{made_of} = {cache / each:,.0f} tokens = {sequences:.1f} sequences of {engine.max_model_len:,}"
    return [
        _row("engine weights", weights, when, f"its own copy and adapter, {weights // s:,} x {s} B"),
        _row("engine KV cache", cache, when, held),
    ]


@dataclasses.dataclass(frozen=True, slots=True)
class _Shape:
    """What the activation estimate needs to know of a decoder."""

    layers: int
    hidden: int
    intermediate: int
    query: int  # heads x head size
    key: int  # key/value heads x head size
    item_bytes: int
    adapted_modules: int  # a layer

    @classmethod
    def of(cls, model_config: Any, config: Config) -> _Shape:
        text = model_config.get_text_config()
        size = _head_size(text)
        targets = config.adapter.target_modules
        experts = getattr(text, "num_experts_per_tok", None) or 1
        width = (getattr(text, "moe_intermediate_size", None) if experts > 1 else None) or text.intermediate_size
        return cls(
            layers=text.num_hidden_layers,
            hidden=text.hidden_size,
            intermediate=experts * width,
            query=text.num_attention_heads * size,
            key=(getattr(text, "num_key_value_heads", None) or text.num_attention_heads) * size,
            item_bytes=_item_bytes(config),
            adapted_modules=7 if isinstance(targets, str) else len(targets),
        )


def _attention_bytes(config: Config, shape: _Shape) -> float:
    """One layer's attention over a micro-batch."""
    tokens, s = config.micro_batch_tokens, shape.item_bytes
    if config.model.layout == "padded":
        return tokens * 2 * s * (shape.query + shape.key)
    prompt = min(config.rl.max_prompt_tokens if config.rl else 0, tokens // 2)
    completions = config.rl.group_size if config.rl else 1
    completed = tokens - prompt
    longest = completed / completions
    widths = 4 * tokens + prompt + 4 * completed + 2 * completions * prompt
    return s * (widths * shape.query + longest * (prompt + longest))  # the mask is shared by a group's completions


def _row(part: str, size: float, when: When, formula: str) -> MemoryRow:
    return MemoryRow(part, round(size), when, formula)


def _process_bytes(device: Device) -> int:
    return PROCESS_BYTES if device.kind == "cpu" else CUDA_CONTEXT_BYTES


def _item_bytes(config: Config) -> int:
    return FLOAT32 if config.model.dtype == "float32" else 2


def _head_size(text: Any) -> int:
    return getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads


def _count(parameters: Any) -> int:
    return sum(parameter.numel() for parameter in parameters)


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f}"
