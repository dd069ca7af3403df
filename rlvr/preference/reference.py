"""Log-probs of the frozen reference: computed once, before anything is trained, and kept on disk.

The reference is the policy as the stage finds it, or the bare base, so no second model or adapter is held in memory. The file's name
is a hash of everything that decides the numbers: model, reference weights, number formats, layout, chat template and token ids. What is
read back is bit for bit what was computed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from peft import PeftModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from rlvr import ranks
from rlvr.config.schema import Config
from rlvr.logprobs import frozen_logprobs
from rlvr.policy import ADAPTER, Policy, lora_strength
from rlvr.run_folder import write_atomically
from rlvr.token_groups import TokenGroup

Weights = Literal["start", "base"]
TENSOR = "logprobs"


def sequence_logprobs(policy: Policy, groups: Sequence[TokenGroup], max_tokens: int) -> torch.Tensor:
    """log p of each whole completion, [S] float32 on the CPU, in sequence order; without gradient.

    Summed in float64 by one thread, so that equal log-probs give equal sums on any device.
    """
    logprobs = frozen_logprobs(policy, groups, max_tokens=max_tokens).to("cpu", torch.float64)
    lengths = torch.tensor([n for group in groups for n in group.loss_tokens], dtype=torch.long)
    sequence = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    return torch.zeros(len(lengths), dtype=torch.float64).index_add(0, sequence, logprobs).to(torch.float32)


def reference_logprobs(
    policy: Policy, groups: Sequence[TokenGroup], config: Config, *, weights: Weights, model_hash: str, folder: Path
) -> tuple[torch.Tensor, str]:
    """The reference's log-prob of each completion [S], from `folder` where it was computed before, and a sentence about that.

    Call it before the first update: `start` means the policy as it is now. Raises `RlvrError` for the base under full fine-tuning.
    """
    parts = identity(policy, groups, config, weights=weights, model_hash=model_hash)
    file = folder / f"{_digest(json.dumps(parts, sort_keys=True))}.safetensors"
    known = read_logprobs(file, parts)
    if known is not None:
        return known, f"reference log-probs of {len(known)} completions read from {file}"
    if parts["weights"] == "base" and policy.kind == "lora":
        with policy.using("base"):
            found = sequence_logprobs(policy, groups, config.micro_batch_tokens)
    else:
        found = sequence_logprobs(policy, groups, config.micro_batch_tokens)
    if ranks.rank() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(file, save({TENSOR: found}, metadata=parts))
    return found, f"reference log-probs of {len(found)} completions computed and kept in {file}"


def read_logprobs(file: Path, parts: Mapping[str, str]) -> torch.Tensor | None:
    """What was kept; None where there is nothing, or not a whole file of that identity."""
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as tensors:
            return tensors.get_tensor(TENSOR) if tensors.metadata() == dict(parts) else None
    except (SafetensorError, OSError):
        return None  # a damaged file is computed again and replaced


def identity(
    policy: Policy, groups: Sequence[TokenGroup], config: Config, *, weights: Weights, model_hash: str
) -> dict[str, str]:
    """Everything that decides the numbers, by name."""
    if weights == "base":
        with policy.using("base"):  # raises where there is no base to go back to
            pass
    own = "base" if weights == "base" or _is_untouched(policy) else _weights_digest(policy)
    return {
        "model": model_hash,
        "weights": own,
        "template": _digest(str(policy.chat.tokenizer.chat_template)),
        "data": _digest(*(json.dumps([g.prompt_ids, g.completion_ids, g.loss_masks]) for g in groups)),
        "format": f"{config.model.dtype} {config.model.quantization} {config.model.double_quantization}",
        "forward": f"{policy.layout} {config.micro_batch_tokens} {config.head_chunk_tokens} {policy.device.type}",
        "torch": torch.__version__,
    }


def _is_untouched(policy: Policy) -> bool:
    """A LoRA adapter that still does nothing (B = 0): the policy is the base, to the last bit."""
    return policy.kind == "lora" and not any(w.any() for name, w in policy.trainable().items() if ".lora_B." in name)


def _weights_digest(policy: Policy) -> str:
    digest = hashlib.sha256()
    if isinstance(policy.model, PeftModel):
        digest.update(f"strength {lora_strength(policy.model, ADAPTER)!r}\n".encode())
    for name, weight in policy.trainable().items():
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]


def _digest(*texts: str) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()[:32]
