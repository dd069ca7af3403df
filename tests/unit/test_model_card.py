"""The model card says what the run folder says, in a form that hubs read."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from rlvr.config.load import parse_config, resolved
from rlvr.model_card import model_card
from rlvr.redaction import Redactor
from rlvr.run_folder import RunFolder
from rlvr.run_record import RunRecord, read_run
from tests.made_runs import made_config, made_run

ESTIMATE = {"value": 0.69, "low": 0.598, "high": 0.772, "n": 100}
SUMMARY = {
    "evaluations": [
        {
            "label": label,
            "tasks": 100,
            "pass@1": ESTIMATE,
            "per_source": {"sums": ESTIMATE, "<script>|x": ESTIMATE},
            "reasons": {"ok": 0.69, "mismatch": 0.31},
        }
        for label in ("base", "rl 20")
    ],
    "gains": {"base": {"difference": {"value": 0.5, "low": 0.4, "high": 0.6}, "p_value": 0.0001}},
}


def test_it_names_base_data_algorithm_scores_verifiers_and_command(tmp_path: Path) -> None:
    run = read_run(made_run(tmp_path, steps=3, config=made_config(seed=3, algorithm="dapo")))
    card = model_card(dataclasses.replace(run, summary=SUMMARY), weights="checkpoint rl-000003", merged=False)
    _, metadata, body = card.split("---\n", 2)
    assert yaml.safe_load(metadata)["base_model"] == "no/such-model"
    assert yaml.safe_load(metadata)["library_name"] == "peft"
    for part in (
        "LoRA adapter for `no/such-model`",
        "| rl 20 | 100 | 69.0 % [59.8, 77.2] | ok 69 %, mismatch 31 % |",
        "rl 20 against base, task by task: +50.0 points [+40.0, +60.0], p = 0.0001.",
        "algorithm: dapo (clip 0.2 / 0.28",
        "seed 3",
        "rl: `arithmetic`",
        "verifier `math`: rlvr 0.1.0",
        "1,920 tokens sampled",
        "vllm serve no/such-model --enable-lora --max-lora-rank 16 --lora-modules rlvr=FOLDER",
    ):
        assert part in body, part
    assert "<script>" not in card
    merged = model_card(run, weights="w", merged=True)
    assert "`vllm serve FOLDER`" in merged
    assert "No held-out evaluation was made" in merged


SOURCE = {"source": "jsonl", "args": {"path": "pairs.jsonl"}}


def run_of(folder: Path, *stages: str, **pairs: float) -> RunRecord:
    """A run of these stages, with two steps and a measurement of each."""
    sections = {
        "sft": {"tasks": [{"source": "arithmetic"}], "steps": 2},
        "preference": {"tasks": [SOURCE], "held_out": [SOURCE], "steps": 2, "algorithm": "simpo"},
        "reward_model": {"tasks": [SOURCE], "steps": 2},
        "rl": {"tasks": [{"source": "calculations"}]},
    }
    config = resolved(parse_config({"model": {"name": "no/such-model"}, "stages": list(stages), **sections}))
    made = RunFolder.create(folder, "run", Redactor({}))
    made.describe(config, hashes={}, verifiers={})
    for stage in stages:
        for step in (1, 2):
            made.log_metrics(stage, step, {"loss": 0.5, "time/step_s": 1.0})
        if pairs and stage in ("preference", "reward_model"):
            made.log_metrics(stage, 2, {name.replace("__", "/"): value for name, value in pairs.items()})
    return read_run(made.path)


PAIRS = {"pairs__accuracy": 0.75, "pairs__accuracy_low": 0.6, "pairs__accuracy_high": 0.85}


def test_a_reward_model_is_called_one(tmp_path: Path) -> None:
    run = run_of(tmp_path, "sft", "reward_model", **PAIRS)
    card = model_card(run, weights="checkpoint reward_model-000002", merged=False)
    _, metadata, body = card.split("---\n", 2)
    assert yaml.safe_load(metadata)["pipeline_tag"] == "text-classification"
    assert yaml.safe_load(metadata)["tags"] == ["sft", "reward-model", "rlvr", "lora"]
    for part in (
        "Reward model: LoRA adapter for `no/such-model`, trained by supervised fine-tuning, then learning from preference "
        "pairs to score completions;",
        "the higher reward in 75.0 % [60.0, 85.0]",
        "- stages: sft, reward_model;",
        "- reward_model: 2 steps of 32 examples, learning rate 0.0001",
        "- reward_model: `jsonl` (path=pairs.jsonl)",
        "AutoPeftModelForSequenceClassification.from_pretrained('FOLDER', num_labels=1)",
        "`reward_model`, with `verifier_args`",
    ):
        assert part in body, part
    for wrong in ("reinforcement", "verifiable", "CausalLM", "vllm serve", "calculations"):
        assert wrong not in card, wrong
    merged = model_card(run, weights="w", merged=True)
    assert "AutoModelForSequenceClassification.from_pretrained('FOLDER', num_labels=1)" in merged


@pytest.mark.parametrize(
    ("stages", "last", "told"),
    [
        (("sft",), None, "trained by supervised fine-tuning; w."),
        (("preference",), None, "trained by preference optimization; w."),
        (("sft", "preference"), "sft", "trained by supervised fine-tuning; w."),
        (("sft", "rl"), None, "trained by supervised fine-tuning, then reinforcement learning from verifiable rewards; w."),
        (("rl", "reward_model"), "rl", "trained by reinforcement learning from verifiable rewards; w."),
    ],
)
def test_it_tells_what_the_weights_were_trained_by(
    tmp_path: Path, stages: tuple[str, ...], last: str | None, told: str
) -> None:
    card = model_card(run_of(tmp_path, *stages, **PAIRS), weights="w", merged=False, stage=last)
    assert told in card
    assert "AutoModelForCausalLM" in card
    assert ("simpo" in card) == ("- preference, held-out: `jsonl`" in card) == (stages[-1] == "preference" and last is None)
