"""KL estimators: their values, what they are unbiased for, and what their gradients really do."""

from __future__ import annotations

import math

import pytest
import torch

from rlvr.kl import KlEstimator, kl_estimate, sequence_kl

KINDS: list[KlEstimator] = ["k1", "k2", "k3"]
FORMULAS = {
    "k1": lambda p, r: p - r,
    "k2": lambda p, r: (p - r) ** 2 / 2,
    "k3": lambda p, r: math.exp(r - p) - 1 - (r - p),
}


@pytest.fixture
def distributions() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a policy (with gradient) and log-probs of a reference, over 7 tokens."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, generator=generator, dtype=torch.float64).requires_grad_()
    reference = torch.randn(7, generator=generator, dtype=torch.float64).log_softmax(0)
    return logits, reference


@pytest.mark.parametrize("kind", KINDS)
def test_estimates_are_schulmans_formulas(kind: KlEstimator) -> None:
    policy, ref = [-0.1, -3.0, -1.0, -7.0], [-2.0, -0.5, -1.0, -0.01]
    expected = [FORMULAS[kind](p, r) for p, r in zip(policy, ref, strict=True)]
    ours = kl_estimate(torch.tensor(policy, dtype=torch.float64), torch.tensor(ref, dtype=torch.float64), kind)
    assert ours.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", ["k1", "k3"])
def test_k1_and_k3_are_unbiased(kind: KlEstimator, distributions: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, reference = distributions
    policy = logits.detach().log_softmax(0)
    exact = (policy.exp() * (policy - reference)).sum()
    torch.testing.assert_close((policy.exp() * kl_estimate(policy, reference, kind)).sum(), exact)


def expected_loss_gradient(kind: KlEstimator, logits: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Gradient of the estimate as a loss, in expectation over tokens sampled from the policy."""
    probabilities = logits.detach().softmax(0)
    (gradient,) = torch.autograd.grad((probabilities * kl_estimate(logits.log_softmax(0), reference, kind)).sum(), logits)
    return gradient


def test_gradients_are_as_documented(distributions: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, reference = distributions
    policy = logits.log_softmax(0)
    (exact,) = torch.autograd.grad((policy.exp() * (policy - reference)).sum(), logits)
    torch.testing.assert_close(expected_loss_gradient("k1", logits, reference), torch.zeros_like(exact), atol=1e-12, rtol=0)
    torch.testing.assert_close(expected_loss_gradient("k2", logits, reference), exact)
    biased = expected_loss_gradient("k3", logits, reference)
    assert not torch.allclose(biased, exact, rtol=0.05)
    assert torch.nn.functional.cosine_similarity(biased, exact, dim=0) > 0.5


def test_k3_keeps_the_digits_of_small_differences_in_float32() -> None:
    delta = 1e-4
    policy = torch.zeros(1)
    ours = float(kl_estimate(policy + delta, policy, "k3"))
    assert ours == pytest.approx(math.expm1(-delta) + delta, rel=1e-2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("difference", [-500.0, -50.0, 50.0, 500.0])
def test_extreme_differences_stay_finite_and_pull_the_right_way(kind: KlEstimator, difference: float) -> None:
    policy = torch.tensor([difference], requires_grad=True)
    estimate = kl_estimate(policy, torch.zeros(1), kind).sum()
    estimate.backward()
    assert estimate.isfinite()
    assert policy.grad is not None
    assert policy.grad.isfinite().all()
    if kind != "k1":
        assert math.copysign(1, float(policy.grad)) == math.copysign(1, difference)


def test_sequence_kl_sums_each_sequence_without_gradient() -> None:
    old = torch.tensor([-1.0, -2.0, -3.0, -4.0], requires_grad=True)
    ref = torch.tensor([-1.5, -2.5, -1.0, -4.0])
    sums = sequence_kl(old, ref, torch.tensor([0, 0, 2, 2]), 3, "k1")
    assert sums.tolist() == [1.0, 0.0, -2.0]
    assert not sums.requires_grad
