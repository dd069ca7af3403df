"""Preference objectives against a slow NumPy reading of the papers: values, gradients, invariances, and what must never happen."""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rlvr.config.load import parse_config
from rlvr.config.schema import PreferenceAlgorithmConfig
from rlvr.errors import RlvrError
from rlvr.objectives.contract import LossOutput
from rlvr.preference import presets
from rlvr.preference.bradley_terry import bradley_terry
from rlvr.preference.contract import PreferenceBatch
from rlvr.preference.objectives import OBJECTIVES


class Side(NamedTuple):
    policy: float
    ref: float
    length: int
    good: bool


KL = 0.7
CONFIGS = [
    PreferenceAlgorithmConfig(objective=objective, beta=beta, **pieces)
    for objective, beta, pieces in [
        ("dpo", 0.1, {}),
        ("dpo", 0.5, {"label_smoothing": 0.2}),
        ("dpo", 0.5, {"label_smoothing": 0.2, "smoothing": "robust"}),
        ("dpo", 2.0, {"length_normalization": True, "sft_weight": 0.3}),
        ("ipo", 0.3, {}),
        ("ipo", 0.3, {"length_normalization": True, "sft_weight": 1.0}),
        ("hinge", 0.4, {}),
        ("hinge", 3.0, {"length_normalization": True, "sft_weight": 0.1}),
        ("kto", 0.3, {}),
        ("kto", 0.3, {"desirable_weight": 1.3, "undesirable_weight": 0.4}),
        ("simpo", 2.0, {"target_margin": 1.0}),
        ("simpo", 2.0, {"target_margin": 0.5, "label_smoothing": 0.1, "sft_weight": 0.2}),
        ("orpo", 0.2, {"sft_weight": 1.0}),
        ("orpo", 0.2, {}),
    ]
]
PAIRED = [config for config in CONFIGS if presets.OBJECTIVES[config.objective].pairs]


def name_of(config: PreferenceAlgorithmConfig) -> str:
    changed = [f"{k}={v}" for k, v in config.model_dump().items() if v != PreferenceAlgorithmConfig.model_fields[k].default]
    return "-".join([config.objective, *changed])


def make_sides(seed: int, pairs: int, scale: float = 1.0) -> list[Side]:
    """Chosen, rejected, chosen, ...; log-probs of about -1 a token."""
    rng = np.random.default_rng(seed)
    sides = []
    for i in range(2 * pairs):
        length = int(rng.integers(1, 9))
        policy = -float(rng.uniform(0.1, 2.0, length).sum()) * scale
        sides.append(Side(policy, policy + float(rng.normal(0, 1.5)), length, i % 2 == 0))
    return sides


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def slow_pair(chosen: Side, rejected: Side, c: PreferenceAlgorithmConfig) -> float:
    """One pair's loss, term by term as the papers write it."""

    def logistic(x: float) -> float:
        right, wrong, e = -math.log(sigmoid(x)), -math.log(sigmoid(-x)), c.label_smoothing
        if c.smoothing == "robust":
            return ((1 - e) * right - e * wrong) / (1 - 2 * e)
        return (1 - e) * right + e * wrong

    def ratio(side: Side) -> float:
        return (side.policy - side.ref) / (side.length if c.length_normalization else 1)

    if c.objective == "simpo":
        lead = c.beta / chosen.length * chosen.policy - c.beta / rejected.length * rejected.policy
        return logistic(lead - c.target_margin)
    if c.objective == "orpo":
        p, q = math.exp(chosen.policy / chosen.length), math.exp(rejected.policy / rejected.length)
        return -c.beta * math.log(sigmoid(math.log((p / (1 - p)) / (q / (1 - q)))))
    h = ratio(chosen) - ratio(rejected)
    return {
        "dpo": lambda: logistic(c.beta * h),
        "ipo": lambda: (h - 1 / (2 * c.beta)) ** 2,
        "hinge": lambda: max(0.0, 1 - c.beta * h),
    }[c.objective]()


def slow_loss(sides: list[Side], c: PreferenceAlgorithmConfig) -> float:
    if c.objective == "kto":
        values = []
        for side in sides:
            r = side.policy - side.ref
            good, bad = 1 - sigmoid(c.beta * (r - KL)), 1 - sigmoid(c.beta * (KL - r))
            values.append(c.desirable_weight * good if side.good else c.undesirable_weight * bad)
        return sum(values) / len(values)
    pairs = list(zip(sides[0::2], sides[1::2], strict=True))
    nll = -sum(chosen.policy for chosen, _ in pairs) / sum(chosen.length for chosen, _ in pairs)
    return sum(slow_pair(chosen, rejected, c) for chosen, rejected in pairs) / len(pairs) + c.sft_weight * nll


def run(
    sides: list[Side], config: PreferenceAlgorithmConfig, step: list[Side] | None = None
) -> tuple[LossOutput, torch.Tensor]:
    """Our loss and gradient for these sides as one micro-batch of `step`."""
    step = sides if step is None else step
    units = len(step) / 2 if presets.OBJECTIVES[config.objective].pairs else len(step)
    label_counts = {good: sum(s.good == good for s in step) for good in (True, False)}
    policy = torch.tensor([s.policy for s in sides], dtype=torch.float64, requires_grad=True)
    batch = PreferenceBatch(
        ref_logprobs=torch.tensor([s.ref for s in sides], dtype=torch.float64),
        lengths=torch.tensor([float(s.length) for s in sides], dtype=torch.float64),
        desirable=torch.tensor([s.good for s in sides]),
        weights=torch.full((len(sides),), 1 / units, dtype=torch.float64),
        mean_weights=torch.tensor([1 / label_counts[s.good] for s in sides], dtype=torch.float64),
        chosen_tokens=float(sum(s.length for s in step if s.good)),
        kl=torch.tensor(KL, dtype=torch.float64),
    )
    out = OBJECTIVES[config.objective](policy, batch, config)
    out.loss.backward()
    assert policy.grad is not None
    return out, policy.grad


@pytest.mark.parametrize("config", CONFIGS, ids=name_of)
def test_loss_and_gradient_are_the_papers(config: PreferenceAlgorithmConfig) -> None:
    sides = make_sides(3, 5)
    out, gradient = run(sides, config)
    assert float(out.loss.detach()) == pytest.approx(slow_loss(sides, config), rel=1e-9)
    for i, side in enumerate(sides):
        moved = [[*sides[:i], side._replace(policy=side.policy + d), *sides[i + 1 :]] for d in (1e-5, -1e-5)]
        slope = (slow_loss(moved[0], config) - slow_loss(moved[1], config)) / 2e-5
        assert float(gradient[i]) == pytest.approx(slope, rel=1e-4, abs=1e-9)
    assert gradient.abs().max() > 1e-4


@pytest.mark.parametrize("config", CONFIGS, ids=name_of)
@settings(max_examples=6)
@given(seed=st.integers(0, 1000), data=st.data())
def test_micro_batches_and_order_change_nothing(config: PreferenceAlgorithmConfig, seed: int, data: st.DataObject) -> None:
    sides = make_sides(seed, 4)
    order = data.draw(st.permutations(range(4)))
    cuts = sorted(data.draw(st.sets(st.integers(0, 4))) | {0, 4})
    whole, gradient = run(sides, config)
    loss, collected = 0.0, torch.zeros_like(gradient)
    sums = dict.fromkeys(whole.metrics, 0.0)
    for first, last in itertools.pairwise(cuts):
        members = [s for pair in order[first:last] for s in (2 * pair, 2 * pair + 1)]
        out, part = run([sides[s] for s in members], config, step=sides)
        loss += float(out.loss.detach())
        collected[members] = part
        for name, value in out.metrics.items():
            sums[name] += float(value)
    assert loss == pytest.approx(float(whole.loss.detach()), rel=1e-9, abs=1e-12)
    torch.testing.assert_close(collected, gradient, rtol=1e-9, atol=1e-14)
    assert sums == pytest.approx({name: float(value) for name, value in whole.metrics.items()}, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("config", PAIRED, ids=name_of)
def test_swapping_the_sides_turns_margins_and_accuracy_around(config: PreferenceAlgorithmConfig) -> None:
    sides = make_sides(11, 6)
    swapped = [s._replace(good=not s.good) for pair in zip(sides[1::2], sides[0::2], strict=True) for s in pair]
    one, other = run(sides, config)[0].metrics, run(swapped, config)[0].metrics
    assert float(other["reward/margin"]) == pytest.approx(-float(one["reward/margin"]), rel=1e-9)
    assert float(other["reward/accuracy"]) == pytest.approx(1 - float(one["reward/accuracy"]))
    assert float(one["reward/margin"]) == pytest.approx(float(one["reward/chosen"] - one["reward/rejected"]), rel=1e-9)
    assert float(other["reward/chosen"]) == pytest.approx(float(one["reward/rejected"]), rel=1e-9)


@pytest.mark.parametrize("config", PAIRED, ids=name_of)
def test_at_equal_scores_the_gradient_pushes_the_sides_apart(config: PreferenceAlgorithmConfig) -> None:
    """A side as likely as the other, of the same length: chosen goes up, rejected down, and by the same amount where no SFT term is."""
    pair = [Side(-4.0, -4.0, 4, True), Side(-4.0, -4.0, 4, False)]
    _, gradient = run(pair, config)
    assert gradient[0] < 0 < gradient[1]
    if config.sft_weight == 0:
        assert float(gradient[0]) == pytest.approx(-float(gradient[1]))


def test_a_reference_equal_to_the_policy_costs_ln_2() -> None:
    sides = [s._replace(ref=s.policy) for s in make_sides(0, 4)]
    out, _ = run(sides, CONFIGS[0])
    assert float(out.loss.detach()) == pytest.approx(math.log(2))
    assert float(out.metrics["reward/margin"]) == 0
    assert float(out.metrics["reward/accuracy"]) == 0  # a tie is no win


def test_robust_smoothing_is_unbiased_and_conservative_is_not() -> None:
    """The mean over the flips of the robust loss is the loss on true labels."""
    sides = make_sides(5, 1)
    flipped = [sides[1]._replace(good=True), sides[0]._replace(good=False)]
    plain = slow_loss(sides, PreferenceAlgorithmConfig(beta=0.5))
    mean = {}
    for smoothing in ("robust", "conservative"):
        config = PreferenceAlgorithmConfig(beta=0.5, label_smoothing=0.2, smoothing=smoothing)
        mean[smoothing] = 0.8 * float(run(sides, config)[0].loss.detach()) + 0.2 * float(
            run(flipped, config)[0].loss.detach()
        )
    assert mean["robust"] == pytest.approx(plain)
    assert abs(mean["conservative"] - plain) > 0.01


def test_kto_has_the_gradient_of_both_labels_and_none_through_the_kl() -> None:
    good, bad = Side(-4.0, -4.0, 4, True), Side(-4.0, -4.0, 4, False)
    config = PreferenceAlgorithmConfig(objective="kto", beta=0.5)
    assert run([good, good, bad], config)[1].sign().tolist() == [-1, -1, 1]
    assert set(run([good], config)[0].metrics) == set(run([bad], config)[0].metrics)
    with pytest.raises(RlvrError, match="kto needs"):
        OBJECTIVES["kto"](
            torch.zeros(1),
            PreferenceBatch(
                ref_logprobs=torch.zeros(1),
                lengths=torch.ones(1),
                desirable=torch.ones(1, dtype=torch.bool),
                weights=torch.ones(1),
                mean_weights=torch.ones(1),
                chosen_tokens=1.0,
            ),
            config,
        )


@pytest.mark.parametrize("config", [c for c in CONFIGS if presets.OBJECTIVES[c.objective].reference], ids=name_of)
def test_a_missing_reference_is_an_error(config: PreferenceAlgorithmConfig) -> None:
    batch = PreferenceBatch(
        ref_logprobs=None,
        lengths=torch.ones(2),
        desirable=torch.tensor([True, False]),
        weights=torch.ones(2),
        mean_weights=torch.ones(2),
        chosen_tokens=1.0,
        kl=torch.zeros(()),
    )
    with pytest.raises(RlvrError, match="ref_logprobs"):
        OBJECTIVES[config.objective](torch.zeros(2), batch, config)


@pytest.mark.parametrize("config", CONFIGS, ids=name_of)
@pytest.mark.parametrize("gap", [-5000.0, 5000.0])
def test_extreme_margins_stay_finite(config: PreferenceAlgorithmConfig, gap: float) -> None:
    sides = [Side(-6000.0 + max(gap, 0), -6000.0, 3, True), Side(-6000.0 - min(gap, 0), -6000.0, 3, False)]
    out, gradient = run(sides, config)
    assert math.isfinite(float(out.loss.detach()))
    assert gradient.isfinite().all()


def test_orpo_survives_certainty() -> None:
    out, gradient = run([Side(0.0, 0.0, 3, True), Side(-9.0, 0.0, 3, False)], PreferenceAlgorithmConfig(objective="orpo"))
    assert math.isfinite(float(out.loss.detach()))
    assert gradient.isfinite().all()


@pytest.mark.parametrize("config", CONFIGS, ids=name_of)
def test_a_broken_policy_reaches_the_loss(config: PreferenceAlgorithmConfig) -> None:
    """NaN is not filtered: the step is then skipped and counted by the learner."""
    sides = make_sides(1, 2)
    sides[0] = sides[0]._replace(policy=math.nan)
    assert math.isnan(float(run(sides, config)[0].loss.detach()))


def test_objectives_traits_presets_and_config_name_the_same_things() -> None:
    named = set(get_args(PreferenceAlgorithmConfig.model_fields["objective"].annotation))
    assert named == set(OBJECTIVES) == set(presets.OBJECTIVES)
    pieces = set(PreferenceAlgorithmConfig.model_fields)
    assert set().union(*(traits.reads for traits in presets.OBJECTIVES.values())) <= pieces
    for name, pieces_of in presets.PRESETS.items():
        assert PreferenceAlgorithmConfig(preset=name, **pieces_of).objective in OBJECTIVES


@pytest.mark.parametrize("name", presets.OBJECTIVES)
def test_an_objective_reads_exactly_what_its_traits_say(name: str) -> None:
    """Each piece either changes the loss and may be set, or does not and is refused."""
    sides = make_sides(2, 3)
    values: dict[str, dict[str, Any]] = {
        "label_smoothing": {"label_smoothing": 0.3},
        "length_normalization": {"length_normalization": True},
        "sft_weight": {"sft_weight": 0.7},
        "target_margin": {"target_margin": 0.8},
        "desirable_weight": {"desirable_weight": 1.7},
        "undesirable_weight": {"undesirable_weight": 1.7},
    }
    plain = float(run(sides, PreferenceAlgorithmConfig(objective=name, beta=0.6))[0].loss.detach())
    for piece, setting in values.items():
        if piece in presets.OBJECTIVES[name].reads:
            config = PreferenceAlgorithmConfig(objective=name, beta=0.6, **setting)
            assert float(run(sides, config)[0].loss.detach()) != pytest.approx(plain)
        else:
            with pytest.raises(ValidationError, match=f"{piece}: objective `{name}` does not read it"):
                PreferenceAlgorithmConfig(objective=name, **setting)


def test_presets_fill_in_and_the_users_pieces_win() -> None:
    def algorithm(value: Any) -> PreferenceAlgorithmConfig:
        config = parse_config(
            {"model": {"name": "m"}, "stages": ["preference"], "preference": {"tasks": [], "steps": 1, "algorithm": value}}
        )
        assert config.preference is not None
        return config.preference.algorithm

    assert (algorithm("simpo").beta, algorithm("simpo").target_margin) == (2.0, 1.0)
    assert algorithm({"preset": "simpo", "beta": 2.5}).beta == 2.5
    assert algorithm({"beta": 0.3}).objective == "dpo"
    with pytest.raises(RlvrError, match=r"preference\.algorithm: unknown preset 'simop', did you mean `simpo`"):
        algorithm("simop")


# -- the reward model's loss --------------------------------------------------------------------------------------


@pytest.mark.parametrize("center_coef", [0.0, 0.3])
def test_bradley_terry_is_the_slow_reading(center_coef: float) -> None:
    rewards = np.random.default_rng(1).normal(size=10) * 3
    expected = np.mean(
        [
            -math.log(math.exp(c) / (math.exp(c) + math.exp(r))) + center_coef * (c + r) ** 2
            for c, r in zip(rewards[0::2], rewards[1::2], strict=True)
        ]
    )
    leaf = torch.tensor(rewards, requires_grad=True)
    out = bradley_terry(leaf, 5, center_coef)
    assert out.loss.item() == pytest.approx(expected, rel=1e-9)
    (gradient,) = torch.autograd.grad(out.loss, leaf)
    for i, shift in itertools.product(range(10), [1e-6]):
        moved = torch.tensor(rewards)
        moved[i] += shift
        slope = (bradley_terry(moved, 5, center_coef).loss.item() - out.loss.item()) / shift
        assert slope == pytest.approx(gradient[i].item(), abs=1e-4)
    parts = [bradley_terry(leaf[2 * p : 2 * p + 2], 5, center_coef) for p in range(5)]
    assert sum(part.loss.item() for part in parts) == pytest.approx(expected, rel=1e-9)


def test_bradley_terry_knows_only_differences_and_swapping_flips_the_sign() -> None:
    rewards = torch.tensor([1.0, -0.5, 2.0, 2.5])
    plain, lifted = (bradley_terry(r, 2, 0.0) for r in (rewards, rewards + 7))
    swapped = bradley_terry(rewards[[1, 0, 3, 2]], 2, 0.0)
    assert lifted.loss.item() == pytest.approx(plain.loss.item(), rel=1e-5)
    assert swapped.metrics["reward/margin"].item() == pytest.approx(-plain.metrics["reward/margin"].item())
    assert bradley_terry(rewards + 7, 2, 0.1).loss > plain.loss
