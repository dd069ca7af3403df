"""Log-probabilities of given tokens from hidden states, without ever holding a [B, T, V] tensor.

The head runs only on loss tokens and in chunks of rows. Where its weight is frozen (LoRA, QLoRA) the gradient of a token's
log-probability with respect to its hidden state does not depend on the loss, so it is computed in the forward pass, while
the chunk's probabilities are at hand, and merely scaled in the backward pass: two matrix products instead of three and
nothing of size V is kept. A trainable head (full fine-tuning) or a differentiable entropy recomputes each chunk instead.

N = loss tokens, H = hidden size, V = vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.utils.checkpoint import checkpoint


class HeadOutput(NamedTuple):
    logprobs: torch.Tensor  # [N] float32
    entropy: torch.Tensor  # [N] float32, nats; without gradient unless it was asked for


def head_logprobs(
    hidden: torch.Tensor,  # [N, H]
    weight: torch.Tensor,  # [V, H]
    targets: torch.Tensor,  # [N] int64
    *,
    temperature: float,
    chunk_tokens: int,
    entropy_gradient: bool = False,
) -> HeadOutput:
    """log softmax(hidden @ weight.T / temperature)[targets] and the entropy of each row, in float32."""
    if weight.requires_grad or entropy_gradient:
        pieces = [
            checkpoint(_chunk_logprobs, rows, weight, ids, temperature, use_reentrant=False)
            for rows, ids in zip(hidden.split(chunk_tokens), targets.split(chunk_tokens), strict=True)
        ]
        logprobs = torch.cat([piece[0] for piece in pieces]) if pieces else hidden.new_zeros(0, dtype=torch.float32)
        entropy = torch.cat([piece[1] for piece in pieces]) if pieces else hidden.new_zeros(0, dtype=torch.float32)
        return HeadOutput(logprobs, entropy if entropy_gradient else entropy.detach())
    logprobs, entropy = _FrozenHead.apply(hidden, weight, targets, temperature, chunk_tokens)  # type: ignore[misc]
    return HeadOutput(logprobs, entropy)


def _chunk_logprobs(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    logits = (hidden @ weight.T).float() / temperature  # [C, V]
    log_normaliser = logits.logsumexp(-1)  # [C]
    logprobs = logits.gather(-1, targets[:, None])[:, 0] - log_normaliser
    expected_logit = (torch.softmax(logits, -1) * logits).sum(-1)
    return logprobs, log_normaliser - expected_logit


class _FrozenHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        targets: torch.Tensor,
        temperature: float,
        chunk_tokens: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        wants_gradient = ctx.needs_input_grad[0]  # type: ignore[attr-defined]
        rows = hidden.shape[0]
        logprobs = torch.empty(rows, dtype=torch.float32, device=hidden.device)
        entropy = torch.empty_like(logprobs)
        unit_gradient = torch.empty_like(hidden) if wants_gradient else None  # [N, H] d logprob / d hidden
        # Three buffers for all chunks: memory of this size that comes and goes is paid for page by page each time.
        rounded = hidden.new_empty(min(chunk_tokens, rows), weight.shape[0])  # [C, V] in the weights' number format
        exact = rounded.new_empty(rounded.shape, dtype=torch.float32)
        masses = torch.empty_like(exact)
        for start in range(0, rows, chunk_tokens):
            span = slice(start, min(start + chunk_tokens, rows))
            ids = targets[span, None]
            size = len(ids)
            torch.mm(hidden[span], weight.T, out=rounded[:size])
            logits = exact[:size].copy_(rounded[:size]).div_(temperature)
            logits.sub_(logits.amax(-1, keepdim=True))
            mass = torch.exp(logits, out=masses[:size])  # p times `total`
            total = mass.sum(-1, keepdim=True)
            log_normaliser = total.log()
            logprobs[span] = (logits.gather(-1, ids) - log_normaliser)[:, 0]
            entropy[span] = (log_normaliser - torch.linalg.vecdot(mass, logits)[:, None] / total)[:, 0]
            if unit_gradient is not None:
                # onehot - p in float32 before rounding: for a confident token 1 - p is all that is left.
                slope = mass.div_(total.neg_())
                slope.scatter_add_(-1, ids, torch.ones_like(total))
                torch.mm(rounded[:size].copy_(slope), weight, out=unit_gradient[span])
                unit_gradient[span].div_(temperature)
        if unit_gradient is not None:
            ctx.save_for_backward(unit_gradient)
        ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: torch.autograd.function.FunctionCtx, grad_logprobs: torch.Tensor, _grad_entropy: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        (unit_gradient,) = ctx.saved_tensors  # type: ignore[attr-defined]
        grad_hidden = unit_gradient * grad_logprobs[:, None].to(unit_gradient.dtype)
        return grad_hidden, None, None, None, None
