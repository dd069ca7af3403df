"""`token_logprobs`: the one forward pass that everything is trained through.

In: groups of token ids. Out: log p of every loss token, flat, in order, no padding in sight. How rows are laid out is private
to this file: `grouped` (each prompt once, one flat row, see rlvr/grouped_attention.py) or `padded` (a plain batch, for
architectures where a token's computation is not local to attention, and as the reference in tests).

N = loss tokens, B = sequences, T = longest prompt plus completion.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from rlvr.grouped_attention import lay_out
from rlvr.lm_head import HeadOutput, head_logprobs
from rlvr.token_groups import TokenGroup, split_into_micro_batches

if TYPE_CHECKING:
    from rlvr.policy import Policy


def token_logprobs(
    policy: Policy, groups: Sequence[TokenGroup], *, temperature: float = 1.0, entropy_gradient: bool = False
) -> HeadOutput:
    """Log-probabilities and entropies of all loss tokens of `groups`, [N] each, at `temperature`.

    Differentiable with respect to the policy's trainable weights. Tokens come in the order group, completion, position.
    """
    hidden, targets = _hidden(policy, groups)
    return head_logprobs(
        hidden,
        policy.head_weight,
        targets,
        temperature=temperature,
        chunk_tokens=policy.head_chunk_tokens,
        entropy_gradient=entropy_gradient,
    )


@torch.no_grad()
def frozen_logprobs(
    policy: Policy, groups: Sequence[TokenGroup], *, max_tokens: int, temperature: float = 1.0
) -> torch.Tensor:
    """`token_logprobs` without gradient over any number of groups, in micro-batches; [N] in sequence order."""
    by_sequence: dict[int, torch.Tensor] = {}
    for micro in split_into_micro_batches(groups, max_tokens):
        lengths = [n for group in micro.groups for n in group.loss_tokens]
        logprobs = token_logprobs(policy, micro.groups, temperature=temperature).logprobs
        by_sequence.update(zip(micro.sequences, logprobs.split(lengths), strict=True))
    if not by_sequence:
        return torch.zeros(0, device=policy.device)
    return torch.cat([by_sequence[s] for s in sorted(by_sequence)])


def final_hidden(policy: Policy, groups: Sequence[TokenGroup]) -> torch.Tensor:
    """Hidden states [S, H] at the last token of every completion, in sequence order."""
    # One more token behind each completion, the only one that counts: what predicts it stands at the last token.
    followed = [
        TokenGroup(
            prompt_ids=group.prompt_ids,
            completion_ids=tuple((*ids, ids[-1]) for ids in group.completion_ids),
            loss_masks=tuple((False,) * len(ids) + (True,) for ids in group.completion_ids),
        )
        for group in groups
    ]
    return _hidden(policy, followed)[0]


def _hidden(policy: Policy, groups: Sequence[TokenGroup]) -> tuple[torch.Tensor, torch.Tensor]:
    return (grouped_hidden if policy.layout == "grouped" else padded_hidden)(policy, groups)


def grouped_hidden(policy: Policy, groups: Sequence[TokenGroup]) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states [N, H] that predict the loss tokens, and the loss tokens [N]; one flat row."""
    row = lay_out(groups, policy.device)
    hidden = policy.decoder(
        input_ids=row.input_ids,
        position_ids=row.position_ids,
        # Any 4-D mask stops transformers from building one; grouped attention brings its own.
        attention_mask=torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=policy.device),
        group_spans=row.spans,
        use_cache=False,
    ).last_hidden_state
    return hidden[0].index_select(0, row.predictors), row.targets


def padded_hidden(policy: Policy, groups: Sequence[TokenGroup]) -> tuple[torch.Tensor, torch.Tensor]:
    """The same from a right-padded batch [B, T] with the prompt repeated for every completion."""
    rows = [
        (group.prompt_ids + ids, len(group.prompt_ids), mask)
        for group in groups
        for ids, mask in zip(group.completion_ids, group.loss_masks, strict=True)
    ]
    longest = max((len(tokens) for tokens, _, _ in rows), default=1)
    input_ids = torch.zeros(len(rows), longest, dtype=torch.long)
    attention_mask = torch.zeros_like(input_ids)
    predictors: list[int] = []
    targets: list[int] = []
    for b, (tokens, prompt_length, mask) in enumerate(rows):
        input_ids[b, : len(tokens)] = torch.tensor(tokens)
        attention_mask[b, : len(tokens)] = 1
        for j, counts in enumerate(mask):
            if counts:
                predictors.append(b * longest + prompt_length + j - 1)
                targets.append(tokens[prompt_length + j])
    hidden = policy.decoder(
        input_ids=input_ids.to(policy.device), attention_mask=attention_mask.to(policy.device), use_cache=False
    ).last_hidden_state
    index = torch.tensor(predictors, dtype=torch.long, device=policy.device)
    return hidden.flatten(0, 1).index_select(0, index), torch.tensor(targets, dtype=torch.long, device=policy.device)
