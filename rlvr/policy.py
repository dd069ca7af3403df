"""The policy: a transformers model, its trainable weights (LoRA, QLoRA or all), and its chat format.

The base is loaded once. The reference policy is the same base with the adapter switched off, or with a frozen copy of the
adapter that an earlier stage trained; never a second copy of the base.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from rlvr import grouped_attention
from rlvr.chat_template import ChatFormat, check_chat_format
from rlvr.config.schema import AdapterConfig, Config, ModelConfig
from rlvr.errors import RlvrError
from rlvr.logprobs import token_logprobs
from rlvr.token_groups import TokenGroup

ADAPTER = "default"
REFERENCE = "reference"


class Policy:
    """A loaded model with what is needed to compute log-probs and to hand its weights over."""

    def __init__(
        self,
        model: PeftModel | PreTrainedModel,
        chat: ChatFormat,
        *,
        layout: Literal["grouped", "padded"],
        head_chunk_tokens: int,
    ) -> None:
        self.model = model
        self.chat = chat
        self.layout: Literal["grouped", "padded"] = layout
        self.head_chunk_tokens = head_chunk_tokens
        self._gradient_hooks: tuple[RemovableHandle, ...] = ()
        self.kind: Literal["lora", "full"] = "lora" if isinstance(model, PeftModel) else "full"
        base = self.causal_lm
        self.decoder: nn.Module = base.get_decoder()
        head = base.get_output_embeddings()
        if not isinstance(head, nn.Linear) or head.bias is not None:
            raise RlvrError(
                f"{type(base).__name__}: its LM head is {type(head).__name__}, only a plain linear head without bias is "
                "supported; leave the head out of adapter.target_modules"
            )
        self.head_weight: torch.Tensor = head.weight
        self.device: torch.device = head.weight.device

    @property
    def causal_lm(self) -> PreTrainedModel:
        """The transformers model below the adapter."""
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model  # type: ignore[return-value]

    def trainable(self) -> dict[str, nn.Parameter]:
        """Name to weight, in a stable order."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def replace_gradient_hooks(self, hooks: Sequence[RemovableHandle]) -> None:
        """Puts a new learner's hooks in the place of the last one's, which would carry the gradients away first."""
        for hook in self._gradient_hooks:
            hook.remove()
        self._gradient_hooks = tuple(hooks)

    @contextlib.contextmanager
    def using(self, weights: Literal["policy", "reference", "base"]) -> Iterator[None]:
        """Within the block, log-probs are those of the policy, the frozen reference or the bare base."""
        if weights == "policy" or (weights == "base" and self.kind == "full"):
            if weights == "base":
                raise RlvrError("full fine-tuning keeps no untrained base in memory; use adapter.kind=lora for a reference")
            yield
            return
        assert isinstance(self.model, PeftModel)
        if weights == "reference" and REFERENCE in self.model.peft_config:
            self.model.set_adapter(REFERENCE)
            try:
                yield
            finally:
                self.model.set_adapter(ADAPTER)
        else:
            with self.model.disable_adapter():
                yield

    def freeze_reference(self) -> None:
        """Keeps a copy of the adapter as it is now as the reference (an adapter's size, not a model's)."""
        if not isinstance(self.model, PeftModel):
            raise RlvrError(
                "a KL term needs a reference, and full fine-tuning keeps none; set rl.algorithm.kl_coef=0 or use LoRA"
            )
        if REFERENCE not in self.model.peft_config:
            self.model.add_adapter(REFERENCE, self.model.peft_config[ADAPTER], autocast_adapter_dtype=False)
        state = get_peft_model_state_dict(self.model, adapter_name=ADAPTER, save_embedding_layers=False)
        set_peft_model_state_dict(self.model, state, adapter_name=REFERENCE)
        for name, parameter in self.model.named_parameters():
            if f".{REFERENCE}." in name:
                parameter.requires_grad_(False)
                parameter.data = parameter.data.to(self.trainable_dtype)
        self.model.set_adapter(ADAPTER)

    @property
    def trainable_dtype(self) -> torch.dtype:
        return next(iter(self.trainable().values())).dtype

    def save(self, folder: Path) -> None:
        """The trained weights as transformers and peft load them: an adapter, or the whole model. Raises OSError, on a full disk too."""
        with failing_as_oserror():
            if isinstance(self.model, PeftModel):
                self.model.save_pretrained(str(folder), selected_adapters=[ADAPTER], save_embedding_layers=False)
                (folder / "README.md").unlink(missing_ok=True)  # peft's model card template: nothing in it is filled in
            else:
                self.model.save_pretrained(folder)

    def load(self, folder: Path) -> None:
        """Replaces the trained weights by those of `folder`; raises `RlvrError` where they do not fit."""
        self._put(self._read(folder), folder)

    def _read(self, folder: Path) -> dict[str, torch.Tensor]:
        if isinstance(self.model, PeftModel):
            return read_adapter(folder)
        tensors: dict[str, torch.Tensor] = {}
        for file in sorted(folder.glob("*.safetensors")):
            tensors.update(_read_safetensors(file))
        return tensors

    def _put(self, tensors: dict[str, torch.Tensor], folder: Path) -> None:
        """Puts what stood in `folder` into the model."""
        if isinstance(self.model, PeftModel):
            expected = get_peft_model_state_dict(self.model, adapter_name=ADAPTER, save_embedding_layers=False)
            check_adapter_fits(tensors, expected, folder, lora_strength(self.model, ADAPTER))
            set_peft_model_state_dict(self.model, tensors, adapter_name=ADAPTER)
        else:
            try:
                missing, unexpected = self.model.load_state_dict(tensors, strict=False)
            except RuntimeError as error:  # tensors of other sizes
                said = " ".join(str(error).split())[:300]
                raise RlvrError(f"{folder}: its weights do not fit this model: {said}; check model.name") from None
            tied = {name for name in missing if name.endswith("lm_head.weight")}
            if set(missing) - tied or unexpected:
                raise RlvrError(f"{folder}: its weights are not those of this model (first: {[*missing, *unexpected][0]})")


def load_policy(config: Config, model_path: Path | str, device: torch.device) -> Policy:
    """Loads base, adapter and chat format, and proves that the fast forward pass equals the model's own."""
    torch.manual_seed(config.seed)  # LoRA's A matrices
    base, tokenizer = _load_base(config.model, model_path, device)
    chat = check_chat_format(
        tokenizer,
        base.generation_config,
        where=config.model.name,
        template=config.model.chat_template,
        pad_token=config.model.pad_token,
    )
    dtype = getattr(torch, config.model.dtype)
    model: PeftModel | PreTrainedModel = base
    if config.adapter.kind == "lora":
        model = _with_lora(base, config.adapter, dtype)
    elif config.model.quantization != "none":
        raise RlvrError("adapter.kind=full cannot train a 4-bit base; use adapter.kind=lora or model.quantization=none")
    else:
        base.requires_grad_(True)
    _without_dropout(model)
    if config.model.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        base.enable_input_require_grads()
    # transformers recomputes activations only in training mode; with every dropout at 0 the two modes are the same function.
    model.train(config.model.gradient_checkpointing)
    policy = Policy(model, chat, layout="padded", head_chunk_tokens=config.head_chunk_tokens)
    policy.layout = _choose_layout(policy, config)
    if config.adapter.init_from is not None:
        policy.load(config.adapter.init_from)
    return policy


def _load_base(
    config: ModelConfig, model_path: Path | str, device: torch.device
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    quantization = None
    if config.quantization == "nf4":
        quantization = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=config.double_quantization,
            bnb_4bit_compute_dtype=getattr(torch, config.dtype),
        )
    try:
        hf_config = AutoConfig.from_pretrained(model_path, revision=config.revision)
        tokenizer = AutoTokenizer.from_pretrained(model_path, revision=config.revision)
        model = AutoModelForCausalLM.from_pretrained(
            model_path,
            config=hf_config,
            revision=config.revision,
            dtype=getattr(torch, config.dtype),
            attn_implementation=grouped_attention.NAME,
            quantization_config=quantization,
            device_map={"": device},
        )
    except (OSError, ValueError, ImportError) as error:
        raise RlvrError(f"model.name: cannot load {config.name!r}: {' '.join(str(error).split())[:400]}") from None
    model.requires_grad_(False)
    if quantization is not None:
        _keep_4bit_differentiable(model)
    if model.generation_config is None:
        model.generation_config = GenerationConfig.from_model_config(hf_config)
    return model, tokenizer


def _keep_4bit_differentiable(model: nn.Module) -> None:
    """Switches off bitsandbytes' repacking of 4-bit weights on CPU.

    The first forward pass without gradient repacks them for a kernel that has no backward: from then on gradients through
    every layer below are silently zero.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


def _with_lora(base: PreTrainedModel, config: AdapterConfig, dtype: torch.dtype) -> PeftModel:
    targets = config.target_modules if isinstance(config.target_modules, str) else list(config.target_modules)
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type] - peft accepts any number
        target_modules=targets,
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )
    try:
        model = get_peft_model(base, lora, adapter_name=ADAPTER, autocast_adapter_dtype=False)
    except ValueError as error:
        raise RlvrError(f"adapter.target_modules: {' '.join(str(error).split())[:300]}") from None
    for parameter in model.parameters():
        if parameter.requires_grad:  # the number format the engine samples in; the learner keeps the float32 master
            parameter.data = parameter.data.to(dtype)
    return model  # type: ignore[return-value]


def _without_dropout(model: nn.Module) -> None:
    """A log-prob is a fact about the policy; dropout would make it a random number."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0  # type: ignore[assignment]


def _choose_layout(policy: Policy, config: Config) -> Literal["grouped", "padded"]:
    """`grouped` where it is proven to give the model's own log-probs, else `padded`, which is checked as well."""
    window = _sliding_window(policy.causal_lm.config)
    fits = window is None or window >= config.engine.max_model_len
    wanted = config.model.layout
    if wanted == "grouped" and not fits:
        raise RlvrError(
            f"model.layout=grouped: {config.model.name} attends over a window of {window} tokens, less than "
            f"engine.max_model_len={config.engine.max_model_len}; use model.layout=padded"
        )
    tolerance = 1e-3 if config.model.dtype == "float32" else 0.3
    for layout in ("grouped", "padded") if wanted == "auto" else (wanted,):
        if layout == "grouped" and not fits:
            continue
        if _gap_to_own_logits(policy, layout) <= tolerance:
            return layout
    raise RlvrError(
        f"{config.model.name}: log-probs from its hidden states and LM head differ from its own logits (a scaled or capped "
        "head, or attention that is not causal self-attention); this architecture is not supported"
    )


@torch.no_grad()
def _gap_to_own_logits(policy: Policy, layout: Literal["grouped", "padded"]) -> float:
    """Largest difference in nats between a layout and the model's plain forward pass on a small made-up group."""
    vocabulary = policy.head_weight.shape[0]
    ids = torch.randint(vocabulary, (19,), generator=torch.Generator().manual_seed(0)).tolist()
    group = TokenGroup(
        prompt_ids=tuple(ids[:8]),
        completion_ids=(tuple(ids[8:13]), tuple(ids[13:19])),
        loss_masks=((True,) * 5, (True, False, True, True, True, True)),
    )
    own: list[torch.Tensor] = []
    for tokens, mask in zip(group.completion_ids, group.loss_masks, strict=True):
        row = torch.tensor([group.prompt_ids + tokens], device=policy.device)
        logprobs = policy.model(input_ids=row, use_cache=False).logits[0].float().log_softmax(-1)
        own += [logprobs[len(group.prompt_ids) + j - 1, t] for j, t in enumerate(tokens) if mask[j]]
    before, policy.layout = policy.layout, layout
    try:
        ours = token_logprobs(policy, [group]).logprobs
    except (TypeError, RuntimeError, IndexError, ValueError):
        return float("inf")  # an architecture whose forward does not take the grouped row
    finally:
        policy.layout = before
    return float((ours - torch.stack(own)).abs().max())


def _sliding_window(config: Any) -> int | None:
    text = config.get_text_config()
    window = getattr(text, "sliding_window", None)
    return window if isinstance(window, int) and getattr(text, "use_sliding_window", True) else None


def read_adapter(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of a PEFT adapter folder."""
    file = folder / "adapter_model.safetensors"
    if not file.is_file() or not (folder / "adapter_config.json").is_file():
        raise RlvrError(f"{folder}: not an adapter folder (adapter_config.json and adapter_model.safetensors are expected)")
    return _read_safetensors(file)


def lora_strength(model: PeftModel, adapter: str) -> float:
    """What B A is multiplied by; the same in every layer, as `_with_lora` makes it."""
    config = model.peft_config[adapter]
    assert isinstance(config, LoraConfig)
    return config.lora_alpha / config.r


def check_adapter_fits(
    tensors: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], folder: Path, strength: float
) -> None:
    """Raises `RlvrError` where the adapter was made for another base, rank, set of layers or `strength` of B A."""
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    made_for = f"it was made for {config.get('base_model_name_or_path')}, rank {config.get('r')}"
    wrong = [
        f"{name} is {list(tensors[name].shape)}, needed {list(expected[name].shape)}"
        for name in sorted(tensors.keys() & expected.keys())
        if tensors[name].shape != expected[name].shape
    ]
    strangers = sorted(tensors.keys() ^ expected.keys())
    if wrong or strangers:
        first = wrong[0] if wrong else f"{strangers[0]} is only on one side"
        raise RlvrError(
            f"{folder}: this adapter does not fit the model ({len(wrong) + len(strangers)} tensors differ, first: {first}); "
            f"{made_for}; check model.name, adapter.rank and adapter.target_modules"
        )
    if by_layer := [name for name in ("rank_pattern", "alpha_pattern") if config.get(name)]:
        raise RlvrError(
            f"{folder}: this adapter has a {by_layer[0]}, but here every layer has the same rank and alpha; it would be another policy"
        )
    rank = config["r"]
    own = config["lora_alpha"] / (math.sqrt(rank) if config.get("use_rslora") else rank)
    if not math.isclose(own, strength, rel_tol=1e-9):
        raise RlvrError(
            f"{folder}: this adapter was trained at a strength (alpha / rank) of {own:g} and would run at {strength:g}, as another "
            f"policy; set adapter.alpha={own * rank:.12g}"
        )


@contextlib.contextmanager
def failing_as_oserror() -> Iterator[None]:
    """safetensors reports what the system said in an exception of its own, and tokenizers in a bare one: neither is an OSError."""
    try:
        yield
    except Exception as error:
        number = re.search(r"os error (\d+)", str(error))
        if not isinstance(error, SafetensorError) and (type(error) is not Exception or number is None):
            raise
        code = int(number[1]) if number else errno.EIO
        raise OSError(code, f"{os.strerror(code)} ({error})") from error


def _read_safetensors(file: Path) -> dict[str, torch.Tensor]:
    """Raises `RlvrError` where the file is damaged or cannot be read."""
    try:
        with warnings.catch_warnings(), safe_open(file, framework="pt") as tensors:
            return {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise RlvrError(f"{file} cannot be read: {error}; copy it again, or go on from another checkpoint") from None
