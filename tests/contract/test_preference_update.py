"""Preferences through the real forward pass on a tiny model: data, the frozen reference, the update, the measurement."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from rlvr.config.schema import Config, OptimizerConfig, PreferenceAlgorithmConfig, PreferenceConfig
from rlvr.errors import RlvrError
from rlvr.learner import Learner
from rlvr.policy import Policy, load_policy
from rlvr.preference import presets
from rlvr.preference.data import Example, mismatched, prepare, shared_prompts
from rlvr.preference.measure import measure_pairs
from rlvr.preference.reference import reference_logprobs, sequence_logprobs
from rlvr.preference.update import PreferenceStep, update
from rlvr.token_groups import split_into_micro_batches
from rlvr_verifiers.types import Task
from tests.contract.test_learner import flat
from tests.contract.test_logprobs import config_for

CPU = torch.device("cpu")
SECTION = PreferenceConfig(tasks=(), steps=1)


def pair(
    n: int, chosen: str = "It is {}.", rejected: str = "Well, let me think. The answer is {}, I think.", **info: Any
) -> Task:
    return Task(
        id=f"p{n}",
        prompt=({"role": "user", "content": f"What is {n} + {n}?"},),
        verifier="",
        answer="",
        info={"chosen": chosen.format(2 * n), "rejected": rejected.format(2 * n), **info},
    )


PAIRS = [pair(n, rejected="Well, " * (n % 4 + 1) + "it is {}.") for n in range(6)]


def single(n: int, *, good: bool) -> Task:
    return dataclasses.replace(pair(n), info={"completion": f"It is {n}.", "label": good})


def policy_of(folder: Path, *, stirred: bool = True, **model: Any) -> Policy:
    """A policy whose adapter does something, or is fresh."""
    policy = load_policy(config_for(folder, **model), folder, CPU)
    if stirred:
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for weight in policy.trainable().values():
                weight.add_(0.05 * torch.randn(weight.shape, generator=generator).to(weight.dtype))
    return policy


def config_of(folder: Path, micro_batch_tokens: int = 200, **model: Any) -> Config:
    return config_for(folder, **model).model_copy(update={"micro_batch_tokens": micro_batch_tokens})


def examples_of(policy: Policy, tasks: list[Task], *, pairs_only: bool = False, **section: Any) -> tuple[Example, ...]:
    config = SECTION.model_copy(update=section)
    return prepare(tasks, policy.chat, config, where="preference.tasks", pairs_only=pairs_only).examples


@pytest.fixture(scope="module")
def policy(tiny_model_dir: Path) -> Policy:
    return policy_of(tiny_model_dir)


def test_a_pair_is_the_turns_the_policy_would_write(policy: Policy) -> None:
    (example,) = examples_of(policy, [pair(21)])
    chat = policy.chat
    assert chat.raw_text(example.tokens.prompt_ids).endswith("What is 21 + 21?<|im_end|>\n<|im_start|>assistant\n")
    assert [chat.raw_text(ids) for ids in example.tokens.completion_ids] == [
        "It is 42.<|im_end|>",
        "Well, let me think. The answer is 42, I think.<|im_end|>",
    ]
    assert example.desirable == (True, False)
    assert all(all(mask) for mask in example.tokens.loss_masks)
    assert [e.desirable for e in examples_of(policy, [single(1, good=True), single(2, good=False)])] == [(True,), (False,)]


def test_unusable_rows_are_refused_with_counts_or_dropped_and_said(policy: Policy) -> None:
    tasks = [
        *PAIRS,
        pair(50, rejected="It is {}."),
        pair(51, chosen="<|im_end|>"),
        pair(52, score_chosen=1, score_rejected=2),
    ]
    said = r"preference\.tasks: 3 of 9 rows cannot teach a preference \(1 identical, 1 template mismatch, 1 swapped\): p50: identical"
    with pytest.raises(RlvrError, match=said):
        examples_of(policy, tasks)
    prepared = prepare(
        tasks, policy.chat, SECTION.model_copy(update={"unusable": "drop"}), where="preference.tasks", pairs_only=True
    )
    assert [example.id for example in prepared.examples] == [task.id for task in PAIRS]
    assert [example.index for example in prepared.examples] == list(range(6))
    assert len(prepared.notes) == 1
    assert prepared.notes[0].endswith("dropped")


def test_mostly_swapped_labels_get_the_remedy(policy: Policy) -> None:
    tasks = [pair(n, score_chosen=1, score_rejected=2) for n in range(3)]
    with pytest.raises(RlvrError, match=r"exchange the columns with columns: \{chosen: rejected, rejected: chosen\}"):
        examples_of(policy, tasks)


def test_long_pairs_are_dropped_or_cut_and_counted(policy: Policy) -> None:
    tasks = [pair(1), pair(2, rejected="no " * 200), pair(3, chosen="yes " * 200, rejected="yes " * 201)]
    room = max(len(ids) for ids in examples_of(policy, tasks[:1])[0].tokens.completion_ids)
    prompt = len(examples_of(policy, tasks[:1])[0].tokens.prompt_ids)
    section = SECTION.model_copy(update={"max_tokens": prompt + room})

    def prepared(too_long: str) -> Any:
        config = section.model_copy(update={"too_long": too_long})
        return prepare(tasks, policy.chat, config, where="preference.tasks", pairs_only=True)

    assert [e.id for e in prepared("drop").examples] == ["p1"]
    assert "2 of 3 exceed preference.max_tokens" in prepared("drop").notes[0]
    cut = prepared("truncate")
    assert [e.id for e in cut.examples] == ["p1", "p2"]  # the third's sides are the same once cut
    assert "1 truncated, 1 dropped" in cut.notes[0]
    assert max(map(len, cut.examples[1].tokens.completion_ids)) == room
    with pytest.raises(RlvrError, match="nothing is left of 3 preferences"):
        examples_of(policy, tasks, max_tokens=4)


def test_tasks_without_a_preference_are_refused(policy: Policy) -> None:
    with pytest.raises(RlvrError, match="task p1 says no preference; give rows"):
        examples_of(policy, [dataclasses.replace(pair(1), info={})])
    with pytest.raises(RlvrError, match=r"single ones are for preference\.algorithm=kto"):
        examples_of(policy, [single(1, good=True)], pairs_only=True)


def test_mismatches_pair_a_prompt_with_another_prompts_completions(policy: Policy) -> None:
    examples = examples_of(policy, [single(1, good=True), single(1, good=True), single(2, good=False), single(3, good=True)])
    groups = mismatched(examples)
    assert [group.prompt_ids for group in groups] == [example.tokens.prompt_ids for example in examples]
    taken = [examples[j].tokens.completion_ids for j in (2, 2, 3, 0)]
    assert [group.completion_ids for group in groups] == taken
    with pytest.raises(RlvrError, match="at least two different prompts"):
        mismatched(examples[:2])
    assert shared_prompts(examples, examples_of(policy, [pair(2), pair(9)])) == 1


def test_whole_groups_stay_together_and_in_order(policy: Policy) -> None:
    groups = [example.tokens for example in examples_of(policy, PAIRS)]
    for max_tokens in (1, 60, 10_000):
        micros = split_into_micro_batches(groups, max_tokens, whole_groups=True)
        assert sorted(s for micro in micros for s in micro.sequences) == list(range(12))
        for micro in micros:
            assert all(b == a + 1 and a % 2 == 0 for a, b in zip(micro.sequences[0::2], micro.sequences[1::2], strict=True))
            assert list(micro.groups) == [groups[s // 2] for s in micro.sequences[0::2]]


# -- the reference ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_cached_and_live_agree_bit_for_bit(tiny_model_dir: Path, tmp_path: Path, dtype: str) -> None:
    """Live: the frozen copy of the adapter, asked after the policy has been trained away from it."""
    policy = policy_of(tiny_model_dir, dtype=dtype)
    config = config_of(tiny_model_dir, 90, dtype=dtype)
    examples = examples_of(policy, PAIRS)
    groups = [example.tokens for example in examples]
    policy.freeze_reference()

    def ask() -> tuple[torch.Tensor, str]:
        return reference_logprobs(policy, groups, config, weights="start", model_hash="m", folder=tmp_path)

    computed, said = ask()
    assert "computed and kept" in said
    cached, said = ask()
    assert "read from" in said
    learner = Learner(policy, OptimizerConfig(learning_rate=1e-2), total_steps=3, micro_batch_tokens=90)
    for _ in range(3):
        update(learner, PreferenceStep(examples=examples, ref_logprobs=cached), PreferenceAlgorithmConfig())
    moved = sequence_logprobs(policy, groups, 90)
    with policy.using("reference"):
        live = sequence_logprobs(policy, groups, 90)
    assert torch.equal(cached, computed)
    assert torch.equal(cached, live)
    assert not torch.equal(cached, moved)


def test_the_base_and_an_untouched_adapter_are_the_same_reference(tiny_model_dir: Path, tmp_path: Path) -> None:
    fresh, used = policy_of(tiny_model_dir, stirred=False), policy_of(tiny_model_dir)
    groups = [example.tokens for example in examples_of(fresh, PAIRS)]
    config = config_of(tiny_model_dir)

    def ask(policy: Policy, weights: Any) -> tuple[torch.Tensor, str]:
        return reference_logprobs(policy, groups, config, weights=weights, model_hash="m", folder=tmp_path)

    base, said = ask(used, "base")
    assert "computed" in said
    start, said = ask(fresh, "start")
    assert "read from" in said
    assert torch.equal(base, start)
    assert torch.equal(base, sequence_logprobs(fresh, groups, config.micro_batch_tokens))
    other, said = ask(used, "start")
    assert "computed" in said
    assert not torch.equal(base, other)


def test_everything_that_decides_the_numbers_is_in_the_key(tiny_model_dir: Path, tmp_path: Path) -> None:
    policy = policy_of(tiny_model_dir)
    groups = [example.tokens for example in examples_of(policy, PAIRS)]
    config = config_of(tiny_model_dir)

    def files(**changed: Any) -> int:
        arguments: dict[str, Any] = {"policy": policy, "groups": groups, "config": config, "model_hash": "m", **changed}
        reference_logprobs(**arguments, weights=changed.get("weights", "start"), folder=tmp_path)
        return len(list(tmp_path.glob("*.safetensors")))

    assert files() == files() == 1
    assert files(model_hash="other") == 2
    assert files(groups=groups[:-1]) == 3
    assert files(config=config_of(tiny_model_dir, 77)) == 4
    with torch.no_grad():
        next(iter(policy.trainable().values())).add_(1e-3)
    assert files() == 5
    template = policy.chat.tokenizer.chat_template
    policy.chat.tokenizer.chat_template = str(template) + " "
    assert files() == 6
    policy.chat.tokenizer.chat_template = template


def test_a_damaged_cache_is_computed_again(tiny_model_dir: Path, tmp_path: Path) -> None:
    policy = policy_of(tiny_model_dir)
    groups = [example.tokens for example in examples_of(policy, PAIRS)]
    arguments: dict[str, Any] = {"weights": "start", "model_hash": "m", "folder": tmp_path}
    first, _ = reference_logprobs(policy, groups, config_of(tiny_model_dir), **arguments)
    (file,) = tmp_path.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-7])
    again, said = reference_logprobs(policy, groups, config_of(tiny_model_dir), **arguments)
    assert "computed" in said
    assert torch.equal(first, again)


def test_another_identitys_numbers_are_never_taken(tiny_model_dir: Path, tmp_path: Path) -> None:
    policy = policy_of(tiny_model_dir)
    groups = [example.tokens for example in examples_of(policy, PAIRS)]
    for model_hash in ("one", "two"):
        reference_logprobs(
            policy, groups, config_of(tiny_model_dir), weights="start", model_hash=model_hash, folder=tmp_path
        )
    first, second = sorted(tmp_path.glob("*.safetensors"))
    first.write_bytes(second.read_bytes())
    said = [
        reference_logprobs(policy, groups, config_of(tiny_model_dir), weights="start", model_hash=m, folder=tmp_path)[1]
        for m in ("one", "two")
    ]
    assert sorted("computed" in sentence for sentence in said) == [False, True]


# -- the update ---------------------------------------------------------------------------------------------------


def step_of(policy: Policy, reference: Policy, objective: str) -> PreferenceStep:
    examples = examples_of(policy, PAIRS)
    ref = sequence_logprobs(reference, [example.tokens for example in examples], 10_000)
    if objective != "kto":
        return PreferenceStep(examples=examples, ref_logprobs=ref if presets.OBJECTIVES[objective].reference else None)
    groups = mismatched(examples)
    return PreferenceStep(
        examples=examples, ref_logprobs=ref, mismatched=groups, ref_mismatched=sequence_logprobs(reference, groups, 10_000)
    )


def algorithm(preset: str) -> PreferenceAlgorithmConfig:
    return PreferenceAlgorithmConfig(preset=preset, **presets.PRESETS[preset])


@pytest.mark.parametrize("preset", presets.PRESETS)
def test_micro_batches_do_not_change_the_update(tiny_model_dir: Path, preset: str) -> None:
    reference = policy_of(tiny_model_dir, stirred=False)
    results, weights = [], []
    for max_tokens in (10_000, 100, 20):
        policy = policy_of(tiny_model_dir)
        learner = Learner(policy, OptimizerConfig(learning_rate=1e-3), total_steps=1, micro_batch_tokens=max_tokens)
        results.append(update(learner, step_of(policy, reference, algorithm(preset).objective), algorithm(preset)))
        weights.append(flat(policy))
    for metrics in results[1:]:
        assert metrics == pytest.approx(results[0], rel=2e-4, abs=1e-5)
    assert results[0]["grad_norm"] > 1e-4


@pytest.mark.parametrize("preset", presets.PRESETS)
def test_training_moves_held_out_pairs_apart(tiny_model_dir: Path, preset: str) -> None:
    policy, reference = policy_of(tiny_model_dir, stirred=False), policy_of(tiny_model_dir, stirred=False)
    config = algorithm(preset)
    held_out = examples_of(policy, [pair(n, rejected="Well, it is {}.") for n in range(70, 76)])
    traits = presets.OBJECTIVES[config.objective]
    ref = sequence_logprobs(reference, [e.tokens for e in held_out], 10_000) if traits.reference else None
    before = measure_pairs(policy, held_out, ref, config, 10_000)
    learner = Learner(policy, OptimizerConfig(learning_rate=2e-2), total_steps=12, micro_batch_tokens=10_000)
    losses = [update(learner, step_of(policy, reference, config.objective), config)["loss"] for _ in range(12)]
    after = measure_pairs(policy, held_out, ref, config, 10_000)
    assert losses[-1] < losses[0]
    assert after.margin > before.margin
    assert after.accuracy.value == 1.0
    assert after.metrics()["pairs/accuracy_low"] <= 1.0


def test_ktos_reference_point_is_never_below_zero(tiny_model_dir: Path) -> None:
    policy = policy_of(tiny_model_dir)
    step = step_of(policy, policy, "kto")
    assert step.ref_mismatched is not None
    for shift, kl in ((3.0, 0.0), (-3.0, 3.0)):  # mismatched completions less likely than under the reference, or more
        learner = Learner(policy, OptimizerConfig(learning_rate=1e-9), total_steps=1, micro_batch_tokens=10_000)
        moved = dataclasses.replace(step, ref_mismatched=step.ref_mismatched + shift)
        assert update(learner, moved, algorithm("kto"))["kl"] == pytest.approx(kl, abs=1e-4)


def test_the_report_knows_lengths(policy: Policy) -> None:
    tasks = [
        pair(1, chosen="a", rejected="a b c d e"),
        pair(2, chosen="a b c d e f", rejected="a"),
        pair(3, chosen="x", rejected="y"),
    ]
    examples = examples_of(policy, tasks)
    report = measure_pairs(policy, examples, torch.zeros(6), PreferenceAlgorithmConfig(), 10_000)
    assert report.chosen_longer == pytest.approx(1 / 3)
    # Against a reference of zeros the reward is the log-prob itself, so the shorter side wins.
    assert (report.accuracy_chosen_longer, report.accuracy_chosen_shorter) == (0.0, 1.0)
    assert report.tokens_chosen == pytest.approx(sum(e.tokens.loss_tokens[0] for e in examples) / 3)


def test_a_fresh_policy_on_its_own_reference_costs_ln_2(tiny_model_dir: Path) -> None:
    policy = policy_of(tiny_model_dir)
    learner = Learner(policy, OptimizerConfig(learning_rate=1e-9), total_steps=1, micro_batch_tokens=60)
    metrics = update(learner, step_of(policy, policy, "dpo"), PreferenceAlgorithmConfig())
    assert metrics["loss"] == pytest.approx(0.693147, abs=1e-5)
    assert metrics["reward/margin"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("kind", ["full", "nf4"])
def test_full_and_4_bit_policies_learn_preferences(tiny_model_dir: Path, kind: str) -> None:
    config = config_of(tiny_model_dir, **({"quantization": "nf4", "dtype": "bfloat16"} if kind == "nf4" else {}))
    if kind == "full":
        config = config.model_copy(update={"adapter": config.adapter.model_copy(update={"kind": "full"})})
    else:
        pytest.importorskip("bitsandbytes")
    policy = load_policy(config, tiny_model_dir, CPU)
    examples = examples_of(policy, PAIRS)
    ref = sequence_logprobs(policy, [example.tokens for example in examples], 500)
    learner = Learner(policy, OptimizerConfig(learning_rate=3e-3), total_steps=8, micro_batch_tokens=500)
    step = PreferenceStep(examples=examples, ref_logprobs=ref)
    losses = [update(learner, step, PreferenceAlgorithmConfig(beta=0.5))["loss"] for _ in range(8)]
    assert losses[-1] < losses[0] - 0.01
