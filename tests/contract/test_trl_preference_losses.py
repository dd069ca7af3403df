"""Our preference and reward-model losses and their gradients against TRL 1.16's own code, on the same log-probs.

TRL's `_compute_loss` (DPO, KTO), `cpo_loss` (SimPO) and `odds_ratio_loss` (ORPO) run as they are; only the model that they call is a
stand-in, which hands out our log-probs. Both sides work in float32 on numbers of size 1; agreement is asked to 1e-5 relative.

ORPO's cross-entropy is compared with TRL's formula on the completion's tokens: TRL itself takes prompt and completion.
"""

from __future__ import annotations

import importlib
import warnings
from collections import defaultdict
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rlvr.config.schema import PreferenceAlgorithmConfig
from rlvr.preference import presets
from rlvr.preference.bradley_terry import bradley_terry
from rlvr.preference.contract import PreferenceBatch
from rlvr.preference.objectives import OBJECTIVES

PAIRS = 5
LENGTHS = [5, 9, 1, 7, 3, 9, 8, 2, 4, 6]  # chosen, rejected, chosen, ...
LONGEST = max(LENGTHS)
TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}
MASK = torch.arange(LONGEST) < torch.tensor(LENGTHS)[:, None]  # [S, T]
CHOSEN, REJECTED = slice(0, None, 2), slice(1, None, 2)


@pytest.fixture(scope="module")
def trl() -> Iterator[Any]:
    """TRL's trainers, imported as on a machine without vLLM, which would take long."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        patch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
        patch.setattr(importlib.import_module("trl.import_utils"), "is_vllm_available", lambda min_version=None: False)
        from trl.experimental.cpo.cpo_trainer import CPOTrainer
        from trl.experimental.orpo.orpo_trainer import ORPOTrainer
        from trl.trainer.dpo_trainer import DPOTrainer
        from trl.trainer.kto_trainer import KTOTrainer
        from trl.trainer.reward_trainer import RewardTrainer

        yield SimpleNamespace(dpo=DPOTrainer, kto=KTOTrainer, cpo=CPOTrainer, orpo=ORPOTrainer, reward=RewardTrainer)


class Numbers:
    """Log-probs per token [S, T] under policy and reference, zero behind the end."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(2, len(LENGTHS), LONGEST, generator=generator)
        self.policy = (-noise[0].abs() - 0.1) * MASK
        self.ref = (self.policy + 0.4 * noise[1]) * MASK


ACCELERATOR = SimpleNamespace(device="cpu", gather=lambda x: x, gather_for_metrics=lambda x: x)


class Model:
    """Stands in for the language model: log-probs as TRL's fused head gives them."""

    def __init__(self, logprobs: torch.Tensor) -> None:
        self.logprobs = logprobs

    def __call__(self, **_: Any) -> Any:
        zeros = torch.zeros_like(self.logprobs).detach()
        return SimpleNamespace(log_probs=self.logprobs, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())


def inputs_of(order: list[int]) -> dict[str, torch.Tensor]:
    """TRL's batch with these sequences: one prompt token, then the completion."""
    mask = torch.cat([torch.zeros(len(order), 1), MASK[order].float()], dim=1).long()
    return {"input_ids": torch.ones_like(mask), "attention_mask": torch.ones_like(mask), "completion_mask": mask}


def trainer(**settings: Any) -> Any:
    return SimpleNamespace(
        accelerator=ACCELERATOR,
        model=SimpleNamespace(training=False),
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        use_weighting=False,
        _metrics={"eval": defaultdict(list)},
        _total_train_tokens=0,
        label_smoothing=0.0,
        **settings,
    )


def dpo_of_trl(trl: Any, numbers: Numbers, loss_types: list[str], weights: list[float], **settings: Any) -> tuple[Any, Any]:
    leaf = numbers.policy.clone().requires_grad_()
    order = [*range(len(LENGTHS))[CHOSEN], *range(len(LENGTHS))[REJECTED]]
    made = trainer(loss_types=loss_types, loss_weights=weights)
    vars(made).update(settings)
    inputs = {
        **inputs_of(order),
        "ref_chosen_logps": numbers.ref[CHOSEN].sum(1),
        "ref_rejected_logps": numbers.ref[REJECTED].sum(1),
    }
    loss = trl.dpo._compute_loss(made, Model(leaf[order]), inputs, False)
    loss.backward()
    return loss.detach(), leaf.grad


def ours(
    numbers: Numbers, name: str, kl: torch.Tensor | None = None, desirable: list[bool] | None = None, **pieces: Any
) -> Any:
    """Our loss and its gradient, put back to [S, T]."""
    config = PreferenceAlgorithmConfig(objective=name, **pieces)
    leaf = numbers.policy.clone().requires_grad_()
    good = torch.tensor(desirable or [True, False] * PAIRS)
    units = PAIRS if presets.OBJECTIVES[name].pairs else len(LENGTHS)
    lengths = torch.tensor(LENGTHS, dtype=torch.float32)
    batch = PreferenceBatch(
        ref_logprobs=numbers.ref.sum(1),
        lengths=lengths,
        desirable=good,
        weights=torch.full((len(LENGTHS),), 1 / units),
        mean_weights=torch.where(good, 1 / good.sum(), 1 / (~good).sum()),
        chosen_tokens=float(lengths[good].sum()),
        kl=kl,
    )
    out = OBJECTIVES[name](leaf.sum(1), batch, config)
    out.loss.backward()
    assert leaf.grad is not None
    return out.loss.detach(), leaf.grad * MASK, out.metrics


def agree(theirs: tuple[Any, Any], mine: Any) -> None:
    assert theirs[1].abs().max() > 1e-4, "nothing was compared"
    torch.testing.assert_close(mine[0], theirs[0], **TOLERANCE)
    torch.testing.assert_close(mine[1], theirs[1] * MASK, **TOLERANCE)


@pytest.mark.parametrize("beta", [0.1, 0.7])
@pytest.mark.parametrize(
    ("loss_type", "settings", "name", "pieces"),
    [
        ("sigmoid", {}, "dpo", {}),
        ("robust", {"label_smoothing": 0.2}, "dpo", {"label_smoothing": 0.2, "smoothing": "robust"}),
        ("sigmoid_norm", {}, "dpo", {"length_normalization": True}),
        ("hinge", {}, "hinge", {}),
        ("ipo", {}, "ipo", {"length_normalization": True}),
    ],
)
def test_losses_with_a_reference_agree(
    trl: Any, beta: float, loss_type: str, settings: dict[str, Any], name: str, pieces: dict[str, Any]
) -> None:
    numbers = Numbers(1)
    theirs = dpo_of_trl(trl, numbers, [loss_type], [1.0], beta=beta, **settings)
    agree(theirs, ours(numbers, name, beta=beta, **pieces))


def test_conservative_smoothing_agrees_where_trl_has_it(trl: Any) -> None:
    """TRL's DPO has only the robust form; its `aot` loss of one pair is cDPO."""
    numbers = Numbers(2)
    for pair in range(PAIRS):
        keep = [2 * pair, 2 * pair + 1]
        leaf = numbers.policy.clone().requires_grad_()
        made = trainer(loss_types=["aot"], loss_weights=[1.0], beta=0.4)
        made.label_smoothing = 0.15
        inputs = {
            **inputs_of(keep),
            "ref_chosen_logps": numbers.ref[keep[:1]].sum(1),
            "ref_rejected_logps": numbers.ref[keep[1:]].sum(1),
        }
        loss = trl.dpo._compute_loss(made, Model(leaf[keep]), inputs, False)
        loss.backward()
        config = PreferenceAlgorithmConfig(beta=0.4, label_smoothing=0.15)
        mine = numbers.policy.clone().requires_grad_()
        batch = PreferenceBatch(
            ref_logprobs=numbers.ref[keep].sum(1),
            lengths=torch.tensor([float(LENGTHS[s]) for s in keep]),
            desirable=torch.tensor([True, False]),
            weights=torch.ones(2),
            mean_weights=torch.ones(2),
            chosen_tokens=float(LENGTHS[keep[0]]),
        )
        out = OBJECTIVES["dpo"](mine[keep].sum(1), batch, config)
        out.loss.backward()
        assert leaf.grad is not None
        agree((loss.detach(), leaf.grad), (out.loss.detach(), mine.grad * MASK))


def test_the_sft_term_agrees(trl: Any) -> None:
    numbers = Numbers(3)
    theirs = dpo_of_trl(trl, numbers, ["sigmoid", "sft"], [1.0, 0.3], beta=0.2)
    agree(theirs, ours(numbers, "dpo", beta=0.2, sft_weight=0.3))


def test_metrics_mean_the_same(trl: Any) -> None:
    numbers = Numbers(4)
    made = trainer(loss_types=["sigmoid"], loss_weights=[1.0], beta=0.2)
    order = [*range(len(LENGTHS))[CHOSEN], *range(len(LENGTHS))[REJECTED]]
    inputs = {
        **inputs_of(order),
        "ref_chosen_logps": numbers.ref[CHOSEN].sum(1),
        "ref_rejected_logps": numbers.ref[REJECTED].sum(1),
    }
    trl.dpo._compute_loss(made, Model(numbers.policy[order]), inputs, False)
    metrics = ours(numbers, "dpo", beta=0.2)[2]
    for mine, theirs in [("chosen", "chosen"), ("rejected", "rejected"), ("margin", "margins"), ("accuracy", "accuracies")]:
        assert float(metrics[f"reward/{mine}"]) == pytest.approx(made._metrics["eval"][f"rewards/{theirs}"][0], rel=1e-5)


@pytest.mark.parametrize("kl", [-3.0, 0.6])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.3, 0.5)])
@pytest.mark.parametrize("desirable", [[True, False] * PAIRS, [True] * 7 + [False] * 3])
def test_kto_agrees(trl: Any, kl: float, weights: tuple[float, float], desirable: list[bool]) -> None:
    """With its estimate of the KL: the mean over the batch, held at 0 from below (here by the step, rlvr/preference/update.py)."""
    numbers = Numbers(5)
    made = trainer(loss_type="kto", beta=0.3, desirable_weight=weights[0], undesirable_weight=weights[1], calculate_KL=True)
    mismatched = torch.full((len(LENGTHS),), kl)
    made._compute_kl_logps = lambda model, batch: mismatched
    leaf = numbers.policy.clone().requires_grad_()
    inputs = {
        **inputs_of([*range(len(LENGTHS))]),
        "label": torch.tensor(desirable),
        "ref_logps": numbers.ref.sum(1),
        "ref_KL_logps": torch.zeros(len(LENGTHS)),
    }
    loss = trl.kto._compute_loss(made, Model(leaf), inputs, False)
    loss.backward()
    mine = ours(
        numbers,
        "kto",
        kl=torch.tensor(max(kl, 0.0)),
        desirable=desirable,
        beta=0.3,
        desirable_weight=weights[0],
        undesirable_weight=weights[1],
    )
    agree((loss.detach(), leaf.grad), mine)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_simpo_agrees(trl: Any, smoothing: float) -> None:
    numbers = Numbers(6)
    leaf = numbers.policy.clone().requires_grad_()
    mean = leaf.sum(1) / torch.tensor(LENGTHS)
    made = SimpleNamespace(
        alpha=0.0, loss_type="simpo", beta=2.0, simpo_gamma=1.1, label_smoothing=smoothing, accelerator=ACCELERATOR
    )
    losses, _, _ = trl.cpo.cpo_loss(made, mean[CHOSEN], mean[REJECTED])
    losses.mean().backward()
    theirs = losses.mean().detach(), leaf.grad
    agree(theirs, ours(numbers, "simpo", beta=2.0, target_margin=1.1, label_smoothing=smoothing))


@pytest.mark.parametrize("sft_weight", [0.0, 1.0])
def test_orpo_agrees(trl: Any, sft_weight: float) -> None:
    numbers = Numbers(7)
    leaf = numbers.policy.clone().requires_grad_()
    mean = leaf.sum(1) / torch.tensor(LENGTHS)
    made = SimpleNamespace(beta=0.25, accelerator=ACCELERATOR)
    losses, *_ = trl.orpo.odds_ratio_loss(made, mean[CHOSEN], mean[REJECTED])
    nll = -leaf[CHOSEN].sum() / sum(LENGTHS[CHOSEN])
    loss = sft_weight * nll - losses.mean()
    loss.backward()
    agree((loss.detach(), leaf.grad), ours(numbers, "orpo", beta=0.25, sft_weight=sft_weight))


@pytest.mark.parametrize("center_coef", [0.0, 0.05])
def test_the_reward_models_loss_agrees(trl: Any, center_coef: float) -> None:
    """And its metrics; TRL's trainer gets our rewards in the place of a model's logits."""
    rewards = 2 * torch.randn(len(LENGTHS), generator=torch.Generator().manual_seed(8))
    theirs, mine = rewards.clone().requires_grad_(), rewards.clone().requires_grad_()
    made = trainer(args=SimpleNamespace(center_rewards_coefficient=center_coef or None), _tp_size=1)
    order = [*range(len(LENGTHS))[CHOSEN], *range(len(LENGTHS))[REJECTED]]
    loss = trl.reward.compute_loss(
        made, lambda **_: SimpleNamespace(logits=theirs[order, None]), {"attention_mask": MASK[order]}
    )
    loss.backward()
    out = bradley_terry(mine, PAIRS, center_coef)
    out.loss.backward()
    assert theirs.grad is not None
    assert mine.grad is not None
    agree((loss.detach(), theirs.grad[:, None] * MASK), (out.loss.detach(), mine.grad[:, None] * MASK))
    for name in ("accuracy", "margin"):
        assert float(out.metrics[f"reward/{name}"]) == pytest.approx(made._metrics["eval"][name][0], rel=1e-5)
