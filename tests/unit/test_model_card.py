"""The model card says what the run folder says, in a form that hubs read."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import yaml

from rlvr.model_card import model_card
from rlvr.run_record import read_run
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
