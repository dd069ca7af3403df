"""The chunked head against plain log-softmax, its gradient against finite differences and autograd."""

from __future__ import annotations

import pytest
import torch

from rlvr.lm_head import head_logprobs

N, H, V = 7, 5, 11


def _inputs(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(N, H, generator=generator, dtype=dtype)
    weight = torch.randn(V, H, generator=generator, dtype=dtype)
    targets = torch.randint(V, (N,), generator=generator)
    return hidden, weight, targets


@pytest.mark.parametrize("chunk_tokens", [1, 3, 7, 100])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("trainable", [False, True])
def test_values_equal_plain_log_softmax(chunk_tokens: int, temperature: float, trainable: bool) -> None:
    hidden, weight, targets = _inputs(torch.float32)
    weight.requires_grad_(trainable)
    out = head_logprobs(hidden, weight, targets, temperature=temperature, chunk_tokens=chunk_tokens)
    expected = (hidden @ weight.detach().T / temperature).log_softmax(-1)
    torch.testing.assert_close(out.logprobs.detach(), expected[torch.arange(N), targets])
    torch.testing.assert_close(out.entropy.detach(), -(expected.exp() * expected).sum(-1))


@pytest.mark.parametrize("trainable", [False, True])
def test_gradient_of_hidden_equals_finite_differences(trainable: bool) -> None:
    hidden, weight, targets = _inputs()
    slopes = torch.linspace(-1, 2, N, dtype=torch.float64)

    def loss(at: torch.Tensor) -> torch.Tensor:
        logits = at @ weight.T / 0.8
        return (logits.log_softmax(-1)[torch.arange(N), targets] * slopes).sum()

    at = hidden.clone().requires_grad_()
    head = weight.clone().requires_grad_(trainable)
    out = head_logprobs(at, head, targets, temperature=0.8, chunk_tokens=3)
    (out.logprobs.double() * slopes).sum().backward()
    step = 1e-5
    numeric = torch.zeros_like(hidden)
    for i in range(N):
        for j in range(H):
            bump = torch.zeros_like(hidden)
            bump[i, j] = step
            numeric[i, j] = (loss(hidden + bump) - loss(hidden - bump)) / (2 * step)
    torch.testing.assert_close(at.grad, numeric, atol=1e-5, rtol=1e-5)


def test_a_trainable_head_gets_its_own_gradient() -> None:
    hidden, weight, targets = _inputs()
    ours, plain = weight.clone().requires_grad_(), weight.clone().requires_grad_()
    head_logprobs(hidden, ours, targets, temperature=1.0, chunk_tokens=2).logprobs.sum().backward()
    (hidden @ plain.T).log_softmax(-1)[torch.arange(N), targets].sum().backward()
    torch.testing.assert_close(ours.grad, plain.grad, atol=1e-5, rtol=1e-5)


def test_entropy_has_a_gradient_only_when_asked_for() -> None:
    hidden, weight, targets = _inputs(torch.float32)
    hidden.requires_grad_()
    assert not head_logprobs(hidden, weight, targets, temperature=1.0, chunk_tokens=2).entropy.requires_grad
    asked = head_logprobs(hidden, weight, targets, temperature=1.0, chunk_tokens=2, entropy_gradient=True)
    asked.entropy.sum().backward()
    logits = (hidden.detach() @ weight.T).requires_grad_()
    logprobs = logits.log_softmax(-1)
    (-(logprobs.exp() * logprobs).sum()).backward()
    assert logits.grad is not None
    torch.testing.assert_close(hidden.grad, logits.grad @ weight)


def test_a_confident_bfloat16_token_keeps_its_gradient() -> None:
    """1 - p is below bfloat16's resolution near 1; it must not be rounded away."""
    hidden = torch.zeros(1, 4, dtype=torch.bfloat16)
    hidden[0, 0] = 1
    weight = torch.zeros(3, 4, dtype=torch.bfloat16)
    weight[0, 0], weight[1, 1], weight[2, 2] = 8, 1, 1
    hidden.requires_grad_()
    head_logprobs(hidden, weight, torch.tensor([0]), temperature=1.0, chunk_tokens=8).logprobs.sum().backward()
    p = torch.tensor([8.0, 0.0, 0.0]).softmax(-1)
    assert hidden.grad is not None
    torch.testing.assert_close(hidden.grad[0, 0].float(), (1 - p[0]) * 8, rtol=0.02, atol=0)


def test_no_tokens_is_no_error() -> None:
    hidden, weight, targets = _inputs(torch.float32)
    for trainable in (False, True):
        out = head_logprobs(
            hidden[:0], weight.clone().requires_grad_(trainable), targets[:0], temperature=1.0, chunk_tokens=4
        )
        assert out.logprobs.shape == (0,)
