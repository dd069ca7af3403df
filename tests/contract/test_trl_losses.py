"""Our advantages, importance weights and losses against TRL 1.16's own code, on the same numbers.

A real `GRPOTrainer` (and `RLOOTrainer`) computes: its rollout post-processing turns rewards and log-probs into advantages and
importance ratios, its `compute_loss` turns those into a loss. Only two things are put in its hands: the completions, and the
log-probs, so that ratios, gaps and KLs are as large as we like. Both sides work in float32 on numbers of size 1; agreement is
asked to 1e-5 relative.

Deliberate differences, each with its test: the advantage epsilon (TRL 1e-4, ours 1e-6), tokens without a usable sampled log-prob
(TRL weight 1, ours out of the loss), and completions out of the loss (TRL still divides by them).
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rlvr.advantages import AdvantageKind, compute_advantages
from rlvr.config.schema import AlgorithmConfig
from rlvr.kl import sequence_kl
from rlvr.objectives import OBJECTIVES
from rlvr.objectives.contract import TokenBatch
from rlvr.rewards import overlong_penalty, shape_rewards
from rlvr.token_weights import step_totals, token_weights

GROUPS, GROUP_SIZE, LIMIT = 2, 4, 9
LENGTHS = [5, 9, 1, 7, 3, 9, 8, 2]
REWARDS = [1.0, 0.0, 0.25, 1.0, 0.0, 0.0, 0.5, 0.0]
EOS, WORD = 2, 7
TOLERANCE = {"rtol": 1e-5, "atol": 1e-7}

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated:DeprecationWarning")


@pytest.fixture(scope="module")
def trl() -> Iterator[Any]:
    """TRL's trainers, imported as on a machine without vLLM: that import takes far longer than all tests here together."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.script.* is deprecated", category=DeprecationWarning)
        patch.setattr(importlib.import_module("trl.import_utils"), "is_vllm_available", lambda min_version=None: False)
        from trl.rewards import get_soft_overlong_punishment
        from trl.trainer.grpo_config import GRPOConfig
        from trl.trainer.grpo_trainer import GRPOTrainer
        from trl.trainer.rloo_config import RLOOConfig
        from trl.trainer.rloo_trainer import RLOOTrainer

        yield SimpleNamespace(
            grpo=GRPOTrainer,
            grpo_config=GRPOConfig,
            rloo=RLOOTrainer,
            rloo_config=RLOOConfig,
            overlong=get_soft_overlong_punishment,
        )


def rewards_in_order(completions: list[str], **_: Any) -> list[float]:
    return REWARDS


def build(trainer: Any, config: Any, model_dir: Path, out: Path, **settings: Any) -> Any:
    """A real trainer on the tiny model, one generation batch per optimizer step, with a reference model."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    args = config(
        output_dir=str(out),
        per_device_train_batch_size=GROUPS * GROUP_SIZE,
        num_generations=GROUP_SIZE,
        max_completion_length=LIMIT,
        beta=0.1,
        bf16=False,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        **settings,
    )
    made = trainer(
        model=AutoModelForCausalLM.from_pretrained(model_dir),
        args=args,
        reward_funcs=rewards_in_order,
        train_dataset=Dataset.from_dict({"prompt": ["What is 13 + 29?"] * GROUPS}),
        processing_class=AutoTokenizer.from_pretrained(model_dir),
    )
    made.model.train()
    made.current_gradient_accumulation_steps = 1
    return made


@pytest.fixture(scope="module")
def grpo_trainer(trl: Any, tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("grpo")
    return build(trl.grpo, trl.grpo_config, tiny_model_dir, out, use_bias_correction_kl=False)


@pytest.fixture(scope="module")
def rloo_trainer(trl: Any, tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return build(trl.rloo, trl.rloo_config, tiny_model_dir, tmp_path_factory.mktemp("rloo"))


class Numbers:
    """Log-probs of every token under policy, old policy, engine and reference: padded [B, T] for TRL, flat [N] for us."""

    def __init__(self, seed: int, drift: float, gap: float) -> None:
        generator = torch.Generator().manual_seed(seed)

        def noise(scale: float) -> torch.Tensor:
            return scale * torch.randn(len(LENGTHS), max(LENGTHS), generator=generator)

        self.old = -noise(1.0).abs() - 0.1
        self.policy = self.old + noise(drift)
        self.sampled = self.old + noise(gap)
        self.ref = self.old + noise(0.5)
        self.mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]

    def flat(self, padded: torch.Tensor) -> torch.Tensor:
        return padded[self.mask]


def completions(ended: list[bool]) -> list[list[int]]:
    return [[WORD] * (n - 1) + [EOS if end else WORD] for n, end in zip(LENGTHS, ended, strict=True)]


def install(patch: pytest.MonkeyPatch, trainer: Any, numbers: Numbers, leaf: torch.Tensor, ended: list[bool]) -> None:
    """Puts our completions and log-probs into TRL's hands."""
    ids = completions(ended)
    rows = [
        [None if math.isnan(x) else x for x in row[:n].tolist()] for row, n in zip(numbers.sampled, LENGTHS, strict=True)
    ]
    prompts, texts = [[WORD]] * len(ids), ["text"] * len(ids)
    is_rloo = "RLOO" in type(trainer).__name__
    generated = (prompts, ids, texts) if is_rloo else (prompts, ids, None, texts, rows, {}, None, None)

    def logps(model: Any, *_: Any, compute_entropy: bool = False, **__: Any) -> tuple[torch.Tensor, Any, None]:
        if compute_entropy:  # only compute_loss asks for the entropy
            return leaf, torch.zeros_like(leaf), None
        return (numbers.ref if model is trainer.ref_model else numbers.old), None, None

    patch.setattr(trainer, "_get_per_token_logps_and_entropies", logps)
    patch.setattr(trainer, "_generate", lambda _: generated)


def trl_loss(trainer: Any, numbers: Numbers, ended: list[bool] | None = None, **settings: Any) -> SimpleNamespace:
    """TRL's loss, its gradient with respect to the policy's log-probs [B, T], and what its rollout stage handed over.

    With `num_iterations` 1 and no vLLM, TRL takes the policy itself as the old policy; 2 makes it use the old log-probs.
    """
    leaf = numbers.policy.clone().requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"num_iterations": 2, **settings}.items():
            patch.setattr(trainer, name, value)
        install(patch, trainer, numbers, leaf, ended or [True] * len(LENGTHS))
        inputs = trainer._generate_and_score_completions([{"prompt": "What is 13 + 29?"}] * len(LENGTHS))
        loss = trainer.compute_loss(trainer.model, inputs)
    loss.backward()
    return SimpleNamespace(loss=loss.detach(), gradient=leaf.grad, inputs=inputs)


def our_loss(
    numbers: Numbers,
    advantages: torch.Tensor,
    config: AlgorithmConfig,
    keep: list[bool] | None = None,
    first_update: bool = False,
) -> SimpleNamespace:
    """Our loss and its gradient, put back into [B, T]; sequences that are not kept have no loss tokens."""
    kept = [n if k else 0 for n, k in zip(LENGTHS, keep or [True] * len(LENGTHS), strict=True)]
    mask = torch.arange(max(LENGTHS)) < torch.tensor(kept)[:, None]
    leaf = numbers.policy[mask].clone().requires_grad_()
    sequence_id = torch.repeat_interleave(torch.arange(len(kept)), torch.tensor(kept))
    batch = TokenBatch(
        sampled_logprobs=numbers.sampled[mask],
        old_logprobs=None if first_update else numbers.old[mask],
        ref_logprobs=numbers.ref[mask],
        advantages=advantages[sequence_id],
        sequence_id=sequence_id,
        lengths=torch.tensor(kept),
        weights=token_weights(config.token_weights, kept, step_totals(kept), LIMIT),
    )
    out = OBJECTIVES[config.objective](leaf, batch, config)
    out.loss.backward()
    gradient = torch.zeros_like(numbers.policy)
    gradient[mask] = leaf.grad
    return SimpleNamespace(loss=out.loss.detach(), gradient=gradient, metrics=out.metrics)


def our_advantages(rewards: list[float], kind: AdvantageKind) -> torch.Tensor:
    groups = [rewards[:GROUP_SIZE], rewards[GROUP_SIZE:]]
    return torch.tensor(list(chain.from_iterable(compute_advantages(groups, kind))))


def agree(theirs: SimpleNamespace, ours: SimpleNamespace) -> None:
    assert theirs.gradient.abs().max() > 1e-3, "nothing was compared"
    torch.testing.assert_close(ours.loss, theirs.loss, **TOLERANCE)
    torch.testing.assert_close(ours.gradient, theirs.gradient, **TOLERANCE)


LOSSES = {
    "grpo": ({"loss_type": "grpo"}, {"token_weights": "sequence_mean"}),
    "dapo": ({"loss_type": "dapo"}, {"token_weights": "token_mean"}),
    "bnpo": ({"loss_type": "bnpo"}, {"token_weights": "token_mean"}),
    "dr_grpo": ({"loss_type": "dr_grpo"}, {"token_weights": "fixed_length"}),
    "gspo": (
        {"loss_type": "grpo", "importance_sampling_level": "sequence"},
        {"token_weights": "sequence_mean", "objective": "sequence_clipped"},
    ),
    # TRL's epsilon_high is CISPO's bound itself, ours its distance from 1; TRL has no lower bound.
    "cispo": (
        {"loss_type": "cispo", "epsilon_high": 1.5},
        {"token_weights": "token_mean", "objective": "clipped_weight", "clip_low": 1.0, "clip_high": 0.5},
    ),
}


@pytest.mark.parametrize("beta", [0.0, 0.3])
@pytest.mark.parametrize("clip", [(0.2, 0.2), (0.2, 0.28), (0.05, 0.1)])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_gradients_agree(grpo_trainer: Any, name: str, clip: tuple[float, float], beta: float) -> None:
    theirs, ours = LOSSES[name]
    numbers = Numbers(seed=1, drift=0.4, gap=0.0)
    settings = {"epsilon_low": clip[0], "epsilon_high": clip[1], "beta": beta, "use_vllm": False, **theirs}
    result = trl_loss(grpo_trainer, numbers, **settings)
    pieces = {"clip_low": clip[0], "clip_high": clip[1], "kl_coef": beta, "importance_correction": "none", **ours}
    agree(result, our_loss(numbers, result.inputs["advantages"], AlgorithmConfig(**pieces)))


@pytest.mark.parametrize("name", LOSSES)
def test_first_update_without_old_logprobs_agrees(grpo_trainer: Any, name: str) -> None:
    theirs, ours = LOSSES[name]
    numbers = Numbers(seed=1, drift=0.4, gap=0.0)
    settings = {"epsilon_low": 0.2, "epsilon_high": 0.2, "beta": 0.1, "use_vllm": False, "num_iterations": 1, **theirs}
    result = trl_loss(grpo_trainer, numbers, **settings)
    config = AlgorithmConfig(**{"kl_coef": 0.1, "importance_correction": "none", **ours})
    agree(result, our_loss(numbers, result.inputs["advantages"], config, first_update=True))


@pytest.mark.parametrize("bounds", [(0.0, 1.2), (0.5, 1.5), (0.8, 1.4)])
@pytest.mark.parametrize("mode", ["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"])
@pytest.mark.parametrize("name", LOSSES)
def test_importance_correction_agrees(grpo_trainer: Any, name: str, mode: str, bounds: tuple[float, float]) -> None:
    theirs, ours = LOSSES[name]
    numbers = Numbers(seed=2, drift=0.2, gap=0.3)
    level, correction = mode.split("_")
    floor, cap = bounds
    result = trl_loss(
        grpo_trainer,
        numbers,
        use_vllm=True,
        vllm_importance_sampling_mode=mode,
        vllm_importance_sampling_clip_min=floor if correction == "mask" else None,
        vllm_importance_sampling_clip_max=cap,
        **{"epsilon_low": 0.2, "epsilon_high": 0.28, "beta": 0.1, **theirs},
    )
    pieces = {
        "clip_low": 0.2,
        "clip_high": 0.28,
        "kl_coef": 0.1,
        "importance_correction": correction,
        "importance_level": level,
        "importance_cap": cap,
        "importance_floor": floor,
        **ours,
    }
    ratios = result.inputs["importance_sampling_ratio"]
    assert ((ratios == cap) if correction == "truncate" else (ratios == 0)).any(), "no weight reached a bound"
    agree(result, our_loss(numbers, result.inputs["advantages"], AlgorithmConfig(**pieces)))


def test_group_normalized_advantages_differ_by_the_epsilon_alone(grpo_trainer: Any) -> None:
    theirs = trl_loss(grpo_trainer, Numbers(seed=3, drift=0.1, gap=0.0), scale_rewards="group").inputs["advantages"]
    ours = our_advantages(REWARDS, "group_normalized")
    std = torch.tensor(REWARDS).view(GROUPS, GROUP_SIZE).std(dim=1).repeat_interleave(GROUP_SIZE)
    torch.testing.assert_close(ours * (std + 1e-6), theirs * (std + 1e-4), rtol=1e-5, atol=1e-7)


def test_group_centered_advantages_agree(grpo_trainer: Any) -> None:
    theirs = trl_loss(grpo_trainer, Numbers(seed=3, drift=0.1, gap=0.0), scale_rewards="none").inputs["advantages"]
    torch.testing.assert_close(our_advantages(REWARDS, "group_centered"), theirs, **TOLERANCE)


@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_rloo_advantages_with_kl_in_the_reward_and_gradient_agree(rloo_trainer: Any, beta: float) -> None:
    """Gradients only: on-policy TRL's loss is A times a ratio of 1, ours A times a log-prob, with the same derivative."""
    numbers = Numbers(seed=4, drift=0.0, gap=0.0)
    theirs = trl_loss(rloo_trainer, numbers, beta=beta, use_vllm=False, normalize_advantages=False)
    config = AlgorithmConfig(
        objective="reinforce",
        token_weights="sequence_sum",
        kl_coef=beta,
        kl_estimator="k1",
        kl_placement="reward",
        importance_correction="none",
    )
    sequence_id = torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS))
    old, ref = numbers.flat(numbers.old), numbers.flat(numbers.ref)
    kls = sequence_kl(old, ref, sequence_id, len(LENGTHS), "k1").tolist()
    rewards = shape_rewards(REWARDS, LENGTHS, config, LIMIT, kls)
    advantages = our_advantages(rewards, "leave_one_out")
    torch.testing.assert_close(advantages, theirs.inputs["advantages"], **TOLERANCE)
    torch.testing.assert_close(our_loss(numbers, advantages, config).gradient, theirs.gradient, **TOLERANCE)


def test_overlong_punishment_agrees(trl: Any) -> None:
    punish = trl.overlong(max_completion_len=20, soft_punish_cache=8)
    for length in range(30):
        theirs = punish(completion_ids=[[WORD] * length])[0]
        assert overlong_penalty(length, 20, 8, 1.0) == pytest.approx(theirs, abs=1e-12)


def test_a_token_without_sampled_logprob_has_weight_one_in_trl_and_leaves_our_loss(grpo_trainer: Any) -> None:
    numbers = Numbers(seed=5, drift=0.2, gap=0.3)
    numbers.sampled[1, 3] = math.nan
    settings = {"loss_type": "dapo", "epsilon_low": 0.2, "epsilon_high": 0.2, "beta": 0.0, "use_vllm": True}
    settings |= {"vllm_importance_sampling_mode": "token_truncate", "vllm_importance_sampling_clip_max": 2.0}
    theirs = trl_loss(grpo_trainer, numbers, vllm_importance_sampling_clip_min=None, **settings)
    advantages = theirs.inputs["advantages"]
    config = AlgorithmConfig(token_weights="token_mean")

    ours = our_loss(numbers, advantages, config)
    assert ours.metrics["nonfinite_fraction"] == 1
    assert ours.gradient[1, 3] == 0
    assert theirs.gradient[1, 3] != 0
    elsewhere = torch.ones_like(numbers.mask)
    elsewhere[1, 3] = False
    torch.testing.assert_close(ours.gradient[elsewhere], theirs.gradient[elsewhere], **TOLERANCE)

    numbers.sampled[1, 3] = numbers.old[1, 3]  # what TRL's weight of 1 amounts to
    agree(theirs, our_loss(numbers, advantages, config))


def test_trl_divides_by_completions_that_are_out_of_the_loss_and_we_do_not(grpo_trainer: Any) -> None:
    numbers = Numbers(seed=6, drift=0.2, gap=0.0)
    ended = [n < LIMIT for n in LENGTHS]
    settings = {"loss_type": "grpo", "epsilon_low": 0.2, "epsilon_high": 0.2, "beta": 0.0, "use_vllm": False}
    theirs = trl_loss(grpo_trainer, numbers, ended, mask_truncated_completions=True, **settings)
    config = AlgorithmConfig(importance_correction="none")
    ours = our_loss(numbers, theirs.inputs["advantages"], config, keep=ended)
    share = sum(ended) / len(ended)
    agree(theirs, SimpleNamespace(loss=ours.loss * share, gradient=ours.gradient * share))
