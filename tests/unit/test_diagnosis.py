"""Every cause of an empty step is named, with its number, and the one to fix first wins."""

from __future__ import annotations

import re
from typing import Any

import pytest

from rlvr.config.schema import Config
from rlvr.diagnosis import RULES, diagnose, diagnose_learning_rate, reward_histogram

HEALTHY = {
    "groups/sampled": 8.0,
    "groups/kept": 8.0,
    "groups/all_right": 0.25,
    "groups/all_wrong": 0.25,
    "groups/zero_variance": 0.5,
    "rollouts/infra_failures": 0.0,
    "completion/truncated_fraction": 0.1,
    "reasons/ok": 0.5,
    "reasons/mismatch": 0.4,
    "reasons/no_answer": 0.1,
    "engine_gap": 0.045,
    "grad_norm": 0.3,
    "loss": 0.0004,
    "clip_low_fraction": 0.001,
    "clip_high_fraction": 0.002,
}


def config(learning_rate: float = 1e-4, **rl: Any) -> Config:
    task = {"source": "arithmetic"}
    section = {"tasks": [task], "optimizer": {"learning_rate": learning_rate}, **rl}
    return Config.model_validate({"model": {"name": "m"}, "stages": ["rl"], "rl": section})


CASES = [
    ({"rollouts/infra_failures": 6.0}, r"6 of 64 rollouts \(9 %\) were dropped because the verifier itself failed"),
    ({"grad_norm": float("nan"), "skipped_updates": 2.0}, r"gradient norm is nan \(2 skipped so far\).*on CUDA engine\.kind=hf"),
    ({"engine_gap": 0.31}, r"disagree by 0\.31 nats a token.*on CUDA engine\.kind=hf, too"),
    ({"importance_masked_fraction": 0.4}, r"40 % of the tokens left the loss"),
    ({"reasons/timeout": 0.2, "reasons/crash": 0.1}, r"30 % .* stalled or crashed .*raise verification\.deadline_s \(5 s\)"),
    ({"completion/truncated_fraction": 0.78}, r"78 % of the completions were cut at 512 tokens"),
    ({"reasons/no_answer": 0.4, "reasons/unparsed": 0.21}, r"61 % of the completions hold no answer .* \(mostly `no_answer`\)"),
    ({"groups/all_wrong": 0.875, "groups/zero_variance": 0.875}, r"7 of 8 groups are all wrong"),
    ({"groups/all_right": 1.0, "groups/zero_variance": 1.0}, r"8 of 8 groups are all right"),
    ({"groups/all_wrong": 0.5, "groups/all_right": 0.5, "groups/zero_variance": 1.0}, r"8 of 8 groups have equal rewards .* 50 % all"),
    ({"grad_norm": 0.0}, r"gradient is exactly 0 although rewards differ"),
    ({"clip_low_fraction": 0.2, "clip_high_fraction": 0.2}, r"40 % of the tokens are clipped .* \(1 now\)"),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "sentence"), CASES)
def test_each_cause_is_named_with_its_number(changed: dict[str, float], sentence: str) -> None:
    said = diagnose({**HEALTHY, **changed}, config())
    assert said is not None
    assert re.search(sentence, said), said
    assert "\n" not in said


def test_a_healthy_step_needs_no_words() -> None:
    assert diagnose(HEALTHY, config()) is None


def test_a_full_fine_tuning_rate_on_lora_is_pointed_out() -> None:
    said = diagnose(HEALTHY, config(learning_rate=1e-6))
    assert said is not None
    assert said.startswith(
        "rl.optimizer.learning_rate=1e-06 is a rate for full fine-tuning; LoRA wants about ten times more"
    )
    full = config(learning_rate=1e-6).model_copy(update={"adapter": config().adapter.model_copy(update={"kind": "full"})})
    assert diagnose(HEALTHY, full) is None
    assert full.rl is not None
    assert diagnose_learning_rate(full.rl.optimizer, full, "x") is None


def test_a_zero_loss_is_explained_once_and_only_where_it_is_by_construction() -> None:
    said = diagnose(HEALTHY, config(), step=1)
    assert said is not None
    assert said.startswith("loss 0.0004 is right: on-policy")
    assert diagnose(HEALTHY, config(), step=2) is None
    assert diagnose(HEALTHY, config(updates_per_batch=2), step=1) is None
    assert diagnose({**HEALTHY, "loss": 0.7}, config(), step=1) is None


def test_what_is_broken_comes_before_what_is_hard() -> None:
    everything = {name: value for changed, _ in reversed(CASES) for name, value in changed.items()} | {
        "rollouts/infra_failures": 9.0
    }
    said = diagnose({**HEALTHY, **everything}, config(learning_rate=1e-6))
    assert said is not None
    assert "verifier itself failed" in said


def test_unreadable_answers_come_before_all_wrong_which_they_cause() -> None:
    said = diagnose({**HEALTHY, "reasons/unparsed": 0.9, "groups/all_wrong": 1.0, "groups/zero_variance": 1.0}, config())
    assert said is not None
    assert "no answer that the verifier can read" in said


def test_an_empty_step_and_a_stage_without_rl_are_no_error() -> None:
    assert diagnose({}, config()) is None
    sft = {"model": {"name": "m"}, "stages": ["sft"], "sft": {"tasks": [{"source": "arithmetic"}], "steps": 1}}
    assert diagnose({"grad_norm": 0.0}, Config.model_validate(sft)) is None


def test_every_rule_is_ranked_once() -> None:
    assert len(set(RULES)) == len(RULES) == len(CASES) + 2


@pytest.mark.parametrize(
    ("counts", "shown"),
    [
        ({0.0: 60, 1.0: 4}, "0: 60 ████████  1: 4 ▌  (64 rewards, mean 0.06)"),
        ({1.0: 8}, "1: 8 ████████  (8 rewards, mean 1.00)"),
        ({}, "no rewards"),
    ],
)
def test_reward_histogram(counts: dict[float, int], shown: str) -> None:
    assert reward_histogram(counts) == shown


def test_many_values_are_binned_and_all_counted() -> None:
    shown = reward_histogram({i / 100: 1 for i in range(101)})
    assert shown.startswith("0..0.12: 13 ")
    assert shown.endswith("(101 rewards, mean 0.50)")
    assert sum(int(part.split(": ")[1].split()[0]) for part in shown.split("  ") if ": " in part) == 101
