"""Attention over one flat row that holds whole groups: each prompt once, then its completions, no padding.

Everything but attention in a decoder is token-wise, so a row [1, T] with explicit positions is enough; attention alone must
know that a completion sees its prompt and itself, and nothing else. It is registered with transformers under `NAME`; a call
without a layout (generation, padded rows) is ordinary SDPA.

T = tokens of the row, H = query heads, D = head size, P = prompt tokens, G = completions, L = longest completion.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from rlvr.token_groups import TokenGroup

NAME = "rlvr_grouped"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GroupSpan:
    """Where one group lies in the row, as index tensors ready for the attention call."""

    prompt: slice
    completions: torch.Tensor  # [G, L] row position of each completion token; padding repeats position 0 of the group
    mask: torch.Tensor  # [1, 1, L, P + L] bool: the whole prompt, and causal within the completion
    kept: torch.Tensor  # [sum L_g] positions in the flattened [G * L] that are real tokens, in row order


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GroupedRow:
    """A micro-batch as one row, and where its loss tokens are."""

    input_ids: torch.Tensor  # [1, T]
    position_ids: torch.Tensor  # [1, T]
    spans: tuple[GroupSpan, ...]
    predictors: torch.Tensor  # [N] row position whose hidden state predicts each loss token
    targets: torch.Tensor  # [N] the loss tokens


def lay_out(groups: Sequence[TokenGroup], device: torch.device) -> GroupedRow:
    """Flattens groups into one row. The last prompt token predicts the first token of every completion."""
    ids: list[int] = []
    positions: list[int] = []
    predictors: list[int] = []
    targets: list[int] = []
    spans: list[GroupSpan] = []
    for group in groups:
        start, prompt_length = len(ids), len(group.prompt_ids)
        ids += group.prompt_ids
        positions += range(prompt_length)
        longest = max(map(len, group.completion_ids), default=0)
        index = torch.full((len(group.completion_ids), longest), start)
        kept: list[int] = []
        for g, (tokens, mask) in enumerate(zip(group.completion_ids, group.loss_masks, strict=True)):
            first = len(ids)
            ids += tokens
            positions += range(prompt_length, prompt_length + len(tokens))
            index[g, : len(tokens)] = torch.arange(first, first + len(tokens))
            kept += range(g * longest, g * longest + len(tokens))
            for j, (token, counts) in enumerate(zip(tokens, mask, strict=True)):
                if counts:
                    predictors.append(first + j - 1 if j else start + prompt_length - 1)
                    targets.append(token)
        causal = torch.ones(longest, longest, dtype=torch.bool).tril()
        visible = torch.cat([torch.ones(longest, prompt_length, dtype=torch.bool), causal], dim=1)
        spans.append(
            GroupSpan(
                prompt=slice(start, start + prompt_length),
                completions=index.to(device),
                mask=visible[None, None].to(device),
                kept=torch.tensor(kept, dtype=torch.long, device=device),
            )
        )
    return GroupedRow(
        input_ids=torch.tensor([ids], device=device),
        position_ids=torch.tensor([positions], device=device),
        spans=tuple(spans),
        predictors=torch.tensor(predictors, dtype=torch.long, device=device),
        targets=torch.tensor(targets, dtype=torch.long, device=device),
    )


def grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,  # [1, H, T, D]
    key: torch.Tensor,  # [1, H_kv, T, D]
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    group_spans: Sequence[GroupSpan] | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """An attention function in the sense of transformers' AttentionInterface; returns [1, T, H, D]."""
    if group_spans is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs)
    repeats = query.shape[1] // key.shape[1]
    if repeats > 1:
        key, value = key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)
    outputs: list[torch.Tensor] = []
    for span in group_spans:
        prompt_key, prompt_value = key[:, :, span.prompt], value[:, :, span.prompt]
        outputs.append(
            F.scaled_dot_product_attention(query[:, :, span.prompt], prompt_key, prompt_value, is_causal=True, scale=scaling)
        )
        completions, longest = span.completions.shape
        if not longest:
            continue
        own_query, own_key, own_value = (x[0][:, span.completions].transpose(0, 1) for x in (query, key, value))
        attended = F.scaled_dot_product_attention(  # [G, H, L, D]
            own_query,
            torch.cat([prompt_key.expand(completions, -1, -1, -1), own_key], dim=2),
            torch.cat([prompt_value.expand(completions, -1, -1, -1), own_value], dim=2),
            attn_mask=span.mask,
            scale=scaling,
        )
        flat = attended.transpose(0, 1).reshape(1, query.shape[1], completions * longest, -1)
        outputs.append(flat[:, :, span.kept])
    return torch.cat(outputs, dim=2).transpose(1, 2), None


AttentionInterface.register(NAME, grouped_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
