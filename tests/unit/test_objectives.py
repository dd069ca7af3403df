"""Objectives against the papers, written out slowly: one Python loop per sequence and token, nothing shared with the product.

Gradients are compared with central differences of that slow loss in float64. A stop-gradient is a second copy of the policy that
the differences leave alone.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr.config.schema import AlgorithmConfig
from rlvr.errors import RlvrError
from rlvr.objectives import OBJECTIVES
from rlvr.objectives.contract import LossOutput, TokenBatch
from rlvr.token_weights import step_totals, token_weights

LIMIT = 12
POLICY_GRADIENTS = ["clipped", "sequence_clipped", "clipped_weight", "reinforce"]


@dataclasses.dataclass
class Sequence:
    """One completion's numbers, [len] each."""

    policy: list[float]
    old: list[float]
    sampled: list[float]
    ref: list[float]
    advantage: float


def make_sequences(seed: int, lengths: list[int], nonfinite: bool = False) -> list[Sequence]:
    rng = np.random.default_rng(seed)
    made = []
    for n in lengths:
        old = -rng.exponential(1.0, n)
        sampled = old + rng.normal(0, 0.4, n)
        if nonfinite and n > 1:
            sampled[rng.integers(n)] = rng.choice([math.nan, -math.inf, math.inf])
        policy, ref = old + rng.normal(0, 0.4, n), old + rng.normal(0, 0.6, n)
        made.append(Sequence(policy.tolist(), old.tolist(), sampled.tolist(), ref.tolist(), float(rng.normal())))
    return made


def slow_weight(learner: list[float], sampled: list[float], t: int, config: AlgorithmConfig) -> float:
    """The importance weight of token t of a sequence."""
    if config.importance_correction == "none":
        return 1.0
    if config.importance_level == "token":
        weight = math.exp(learner[t] - sampled[t])
    else:
        pairs = zip(learner, sampled, strict=True)
        weight = math.prod(math.exp(a - b) for a, b in pairs if math.isfinite(b))
    if config.importance_correction == "truncate":
        return min(weight, config.importance_cap)
    return weight if config.importance_floor <= weight <= config.importance_cap else 0.0


def slow_surrogate(policy: list[float], frozen: list[float], s: Sequence, t: int, config: AlgorithmConfig) -> float:
    """What is maximised for token t, before importance weight and KL."""
    low, high = 1 - config.clip_low, 1 + config.clip_high
    if config.objective == "reinforce":
        return s.advantage * policy[t]
    if config.objective == "clipped_weight":
        return float(np.clip(math.exp(frozen[t] - s.old[t]), low, high)) * s.advantage * policy[t]
    if config.objective == "clipped":
        ratio = math.exp(policy[t] - s.old[t])
    else:
        usable = [i for i, x in enumerate(s.sampled) if math.isfinite(x)]
        ratio = math.exp(sum(policy[i] - s.old[i] for i in usable) / len(usable))
    if s.advantage > 0:
        return min(ratio, high) * s.advantage
    return max(ratio, low) * s.advantage


def slow_kl(policy: float, ref: float, estimator: str) -> float:
    return {
        "k1": policy - ref,
        "k2": 0.5 * (policy - ref) ** 2,
        "k3": math.exp(ref) / math.exp(policy) - math.log(math.exp(ref) / math.exp(policy)) - 1,
    }[estimator]


def slow_loss(sequences: list[Sequence], config: AlgorithmConfig, policies: list[list[float]]) -> float:
    """The step's loss at `policies`; stop-gradients see each sequence's own `policy`."""
    total = 0.0
    tokens = sum(len(s.policy) for s in sequences)
    for s, policy in zip(sequences, policies, strict=True):
        learner = s.policy if config.objective == "reinforce" else s.old
        for t in range(len(policy)):
            if not math.isfinite(s.sampled[t]):
                continue
            gain = slow_weight(learner, s.sampled, t, config) * slow_surrogate(policy, s.policy, s, t, config)
            if config.kl_placement == "loss":
                gain -= config.kl_coef * slow_kl(policy[t], s.ref[t], config.kl_estimator)
            denominator = {
                "sequence_mean": len(sequences) * len(policy),
                "token_mean": tokens,
                "sequence_sum": len(sequences),
                "fixed_length": len(sequences) * LIMIT,
            }[config.token_weights]
            total -= gain / denominator
    return total


def slow_gradient(sequences: list[Sequence], config: AlgorithmConfig) -> list[float]:
    """Central differences, one token at a time."""
    step = 1e-6
    gradient = []
    for i, s in enumerate(sequences):
        for t in range(len(s.policy)):
            values = []
            for sign in (1, -1):
                policies = [list(other.policy) for other in sequences]
                policies[i][t] += sign * step
                values.append(slow_loss(sequences, config, policies))
            gradient.append((values[0] - values[1]) / (2 * step))
    return gradient


def flat(lists: list[list[float]], dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor(list(itertools.chain.from_iterable(lists)), dtype=dtype)


def run(sequences: list[Sequence], config: AlgorithmConfig, totals: Any = None) -> tuple[LossOutput, torch.Tensor]:
    """Our loss for these sequences as one micro-batch, and its gradient [N]."""
    lengths = [len(s.policy) for s in sequences]
    sequence_id = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths, dtype=torch.int64))
    policy = flat([s.policy for s in sequences]).requires_grad_()
    batch = TokenBatch(
        sampled_logprobs=flat([s.sampled for s in sequences]),
        old_logprobs=flat([s.old for s in sequences]),
        ref_logprobs=flat([s.ref for s in sequences]),
        advantages=flat([[s.advantage] * n for s, n in zip(sequences, lengths, strict=True)]),
        sequence_id=sequence_id,
        lengths=torch.tensor(lengths, dtype=torch.int64),
        weights=token_weights(config.token_weights, lengths, totals or step_totals(lengths), LIMIT).double(),
    )
    out = OBJECTIVES[config.objective](policy, batch, config)
    out.loss.backward()
    assert policy.grad is not None
    return out, policy.grad


CONFIGS = [
    AlgorithmConfig(clip_low=0.2, clip_high=0.28, token_weights=weights, objective=objective, **pieces)
    for objective in POLICY_GRADIENTS
    for weights, pieces in [
        ("sequence_mean", {}),
        ("token_mean", {"kl_coef": 0.3, "kl_estimator": "k1"}),
        ("sequence_sum", {"kl_coef": 0.3, "kl_estimator": "k2", "importance_correction": "none"}),
        ("fixed_length", {"kl_coef": 0.3, "kl_estimator": "k3", "importance_cap": 1.1}),
        ("sequence_mean", {"importance_level": "sequence", "importance_cap": 1.3}),
        ("token_mean", {"importance_correction": "mask", "importance_cap": 1.4, "importance_floor": 0.7}),
        (
            "token_mean",
            {"importance_correction": "mask", "importance_level": "sequence", "importance_floor": 0.5, "kl_coef": 0.1},
        ),
        ("token_mean", {"kl_coef": 0.3, "kl_placement": "reward"}),
    ]
]


def name_of(config: AlgorithmConfig) -> str:
    return f"{config.objective}-{config.token_weights}-{config.importance_correction}-{config.importance_level}-kl{config.kl_coef}"


@pytest.mark.parametrize("nonfinite", [False, True])
@pytest.mark.parametrize("config", CONFIGS, ids=name_of)
def test_loss_and_gradient_are_the_papers(config: AlgorithmConfig, nonfinite: bool) -> None:
    sequences = make_sequences(seed=7, lengths=[3, 8, 1, 5, 12, 2], nonfinite=nonfinite)
    out, gradient = run(sequences, config)
    # The weights are made in float32, hence 1e-6 and not 1e-12.
    assert float(out.loss.detach()) == pytest.approx(
        slow_loss(sequences, config, [s.policy for s in sequences]), rel=1e-6, abs=1e-7
    )
    expected = np.array(slow_gradient(sequences, config))
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("config", CONFIGS, ids=name_of)
@settings(max_examples=5, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    lengths=st.lists(st.integers(1, LIMIT), min_size=1, max_size=7),
    data=st.data(),
    nonfinite=st.booleans(),
)
def test_micro_batches_add_up_to_the_same_loss_gradient_and_metrics(
    config: AlgorithmConfig, seed: int, lengths: list[int], data: st.DataObject, nonfinite: bool
) -> None:
    sequences = make_sequences(seed, lengths, nonfinite)
    order = data.draw(st.permutations(range(len(lengths))))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(lengths)))) | {0, len(lengths)})
    whole, gradient = run(sequences, config)

    starts = np.cumsum([0, *lengths])
    loss, collected, sums = 0.0, torch.zeros_like(gradient), dict.fromkeys(whole.metrics, 0.0)
    for first, last in itertools.pairwise(cuts):
        members = order[first:last]
        out, part = run([sequences[i] for i in members], config, totals=step_totals(lengths))
        loss += float(out.loss.detach())
        index = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in members])
        collected[index] = part
        for name, value in out.metrics.items():
            sums[name] += float(value)
    assert loss == pytest.approx(float(whole.loss.detach()), rel=1e-9, abs=1e-12)
    torch.testing.assert_close(collected, gradient, rtol=1e-9, atol=1e-14)
    assert sums == pytest.approx({name: float(value) for name, value in whole.metrics.items()}, rel=1e-9, abs=1e-12)


def one_token(
    objective: str,
    *,
    policy: float = -1.0,
    old: float | None = -1.0,
    sampled: float = -1.0,
    ref: float | None = None,
    advantage: float = 1.0,
    **pieces: Any,
) -> tuple[dict[str, float], float, float]:
    """Metrics, loss and gradient of a batch of one token, in float32."""
    leaf = torch.tensor([policy], requires_grad=True)
    batch = TokenBatch(
        sampled_logprobs=torch.tensor([sampled]),
        old_logprobs=None if old is None else torch.tensor([old]),
        ref_logprobs=None if ref is None else torch.tensor([ref]),
        advantages=torch.tensor([advantage]),
        sequence_id=torch.tensor([0]),
        lengths=torch.tensor([1]),
        weights=torch.ones(1),
    )
    out = OBJECTIVES[objective](leaf, batch, AlgorithmConfig(**pieces))
    out.loss.backward()
    assert leaf.grad is not None
    return {name: float(value) for name, value in out.metrics.items()}, float(out.loss.detach()), float(leaf.grad)


@pytest.mark.parametrize("objective", POLICY_GRADIENTS)
def test_without_old_logprobs_the_ratio_is_one_and_the_gradient_is_minus_the_advantage(objective: str) -> None:
    metrics, _, gradient = one_token(objective, old=None, advantage=2.0)
    assert metrics["ratio"] == 1
    assert gradient == pytest.approx(-2)


@pytest.mark.parametrize("objective", ["clipped", "sequence_clipped"])
@pytest.mark.parametrize(
    ("log_ratio", "advantage", "low", "high"),
    [(0.3, 1.0, 0, 1), (0.3, -1.0, 0, 0), (-0.3, 1.0, 0, 0), (-0.3, -1.0, 1, 0), (0.1, 1.0, 0, 0)],
)
def test_a_clipped_token_has_no_gradient_and_is_counted(
    objective: str, log_ratio: float, advantage: float, low: int, high: int
) -> None:
    metrics, _, gradient = one_token(objective, policy=-1 + log_ratio, advantage=advantage, clip_low=0.2, clip_high=0.28)
    assert (metrics["clip_low_fraction"], metrics["clip_high_fraction"]) == (low, high)
    assert (gradient == 0) == bool(low or high)
    assert metrics["approx_kl"] == pytest.approx(math.exp(log_ratio) - 1 - log_ratio, rel=1e-4)


def test_a_clipped_weight_keeps_its_gradient() -> None:
    metrics, _, gradient = one_token("clipped_weight", policy=1.0, old=-1.0, clip_low=1.0, clip_high=4.0)
    assert gradient == pytest.approx(-5)
    assert metrics["clip_high_fraction"] == 1


def test_reinforce_takes_its_weight_from_the_present_policy() -> None:
    """After an update has moved the policy by 0.3, the weight covers the move and the engine gap of 0.1 together."""
    metrics, _, gradient = one_token("reinforce", policy=-0.7, old=-1.0, sampled=-1.1)
    assert metrics["importance_weight"] == pytest.approx(math.exp(0.4), rel=1e-5)
    assert gradient == pytest.approx(-math.exp(0.4), rel=1e-5)


def test_importance_metrics_say_what_was_capped_and_what_was_left_out() -> None:
    capped, _, _ = one_token("clipped", sampled=-3.0, importance_cap=2.0)
    assert (capped["importance_weight"], capped["importance_clipped_fraction"]) == (2.0, 1)
    assert capped["engine_gap"] == pytest.approx(2.0)
    masked, loss, gradient = one_token("clipped", sampled=-3.0, importance_correction="mask", importance_cap=2.0)
    assert (masked["importance_weight"], masked["importance_masked_fraction"], loss, gradient) == (0, 1, 0, 0)
    low, _, _ = one_token("clipped", sampled=-0.1, importance_correction="mask", importance_floor=0.5)
    assert low["importance_masked_fraction"] == 1


@pytest.mark.parametrize("correction", ["none", "truncate", "mask"])
@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("sampled", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("objective", POLICY_GRADIENTS)
def test_a_token_without_sampled_logprob_leaves_the_loss_and_is_counted(
    objective: str, sampled: float, level: str, correction: str
) -> None:
    metrics, loss, gradient = one_token(
        objective, sampled=sampled, ref=-2.0, kl_coef=0.1, importance_correction=correction, importance_level=level
    )
    assert metrics.pop("nonfinite_fraction") == 1
    assert (loss, gradient) == (0, 0)
    assert set(metrics.values()) == {0.0}


@pytest.mark.parametrize("objective", POLICY_GRADIENTS)
@pytest.mark.parametrize("advantage", [1.0, -1.0])
@pytest.mark.parametrize("log_ratio", [-800.0, -30.0, 30.0, 800.0])
def test_extreme_ratios_stay_finite_and_never_push_the_wrong_way(objective: str, advantage: float, log_ratio: float) -> None:
    metrics, loss, gradient = one_token(
        objective, policy=-1.0, old=-1.0 - log_ratio, ref=-1.0 - log_ratio, advantage=advantage
    )
    assert math.isfinite(loss)
    assert math.isfinite(gradient)
    assert all(map(math.isfinite, metrics.values()))
    assert gradient * advantage <= 0


@pytest.mark.parametrize("objective", ["clipped", "sequence_clipped"])
@pytest.mark.parametrize("log_ratio", [30.0, 800.0])
def test_a_runaway_token_with_negative_advantage_is_still_pulled_back(objective: str, log_ratio: float) -> None:
    _, _, gradient = one_token(objective, old=-1.0 - log_ratio, sampled=-1.0 - log_ratio, advantage=-1.0)
    assert 0 < gradient < math.inf


@pytest.mark.parametrize("objective", POLICY_GRADIENTS)
def test_a_broken_policy_is_not_filtered_out(objective: str) -> None:
    """NaN from the learner must reach the loss, where the step is skipped and counted."""
    _, loss, _ = one_token(objective, policy=math.nan)
    assert math.isnan(loss)


@pytest.mark.parametrize("objective", POLICY_GRADIENTS)
def test_kl_without_reference_logprobs_is_an_error(objective: str) -> None:
    with pytest.raises(RlvrError, match="no ref_logprobs"):
        one_token(objective, kl_coef=0.1)


def test_reference_logprobs_are_reported_even_when_the_kl_is_in_the_reward() -> None:
    metrics, loss, _ = one_token("clipped", ref=-2.0, kl_coef=0.5, kl_placement="reward")
    assert metrics["kl"] == pytest.approx(math.exp(-1) - 1 + 1, rel=1e-5)
    assert loss == pytest.approx(-1)


def test_likelihood_is_the_mean_cross_entropy_of_the_step() -> None:
    sequences = make_sequences(seed=3, lengths=[4, 2])
    config = AlgorithmConfig(token_weights="token_mean")
    lengths = [4, 2]
    policy = flat([s.policy for s in sequences]).requires_grad_()
    ignored = torch.full((6,), math.nan, dtype=torch.float64)
    batch = TokenBatch(
        sampled_logprobs=ignored,
        old_logprobs=None,
        ref_logprobs=None,
        advantages=ignored,
        sequence_id=torch.tensor([0, 0, 0, 0, 1, 1]),
        lengths=torch.tensor(lengths),
        weights=token_weights("token_mean", lengths, step_totals(lengths), LIMIT).double(),
    )
    out = OBJECTIVES["likelihood"](policy, batch, config)
    out.loss.backward()
    nll = -sum(sum(s.policy) for s in sequences)
    assert float(out.metrics["nll"]) == pytest.approx(nll)
    assert float(out.loss.detach()) == pytest.approx(nll / 6, rel=1e-6)
    assert policy.grad is not None
    assert policy.grad.tolist() == pytest.approx([-1 / 6] * 6, rel=1e-6)


def test_every_objective_a_config_may_name_exists() -> None:
    assert set(get_args(AlgorithmConfig.model_fields["objective"].annotation)) == set(POLICY_GRADIENTS)
    assert set(POLICY_GRADIENTS) <= set(OBJECTIVES)
