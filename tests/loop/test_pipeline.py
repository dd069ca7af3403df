"""sft, preference and rl in one run on a tiny real model: each stage starts where the last one ended, resumes exactly, and gates decide."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.loop.tiny_runs import finish, rlvr, source, trail, wait_for, write_pairs, write_parity_tasks, write_recipe


@pytest.fixture(scope="module")
def recipe(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipeline")
    write_parity_tasks(folder, 10)
    write_pairs(folder)
    tasks, pairs, held_out = (source(folder / name) for name in ("tasks.jsonl", "pairs.jsonl", "held_out.jsonl"))
    return write_recipe(
        folder,
        tiny_model_dir,
        stages=["sft", "preference", "rl"],
        continue_if={"sft": "eval.pass@1 >= 0", "preference": "pairs.accuracy >= 0"},
        sft={"tasks": tasks, "steps": 2, "batch_size": 4, "optimizer": {"learning_rate": 1e-2}},
        preference={
            "algorithm": "kto",
            "tasks": pairs,
            "held_out": held_out,
            "steps": 4,
            "batch_size": 3,
            "evaluate_every": 2,
            "optimizer": {"learning_rate": 1e-2, "schedule": "cosine"},
        },
        rl={
            "algorithm": "grpo",
            "tasks": tasks,
            "steps": 2,
            "prompts_per_step": 2,
            "group_size": 4,
            "max_completion_tokens": 6,
            "max_prompt_tokens": 64,
            "optimizer": {"learning_rate": 1e-2},
        },
        eval={"tasks": tasks, "retention": tasks, "max_completion_tokens": 6},
    )


def test_every_stage_runs_and_is_evaluated(straight: Path) -> None:
    records = trail(straight)
    steps = [(r["stage"], r["step"]) for r in records if "loss" in r]
    assert steps == [*(("sft", n) for n in (1, 2)), *(("preference", n) for n in (1, 2, 3, 4)), ("rl", 1), ("rl", 2)]
    assert [r["step"] for r in records if "pairs/accuracy" in r] == [0, 2, 4]
    summary = json.loads((straight / "summary.json").read_text())
    for which in ("evaluations", "retention"):
        assert [e["label"] for e in summary[which]] == ["base", "sft", "preference", "rl 2"]
    assert list(summary["retention_changes"]) == ["base", "sft", "preference"]
    hashes = json.loads((straight / "manifest.json").read_text())["hashes"]
    assert {"sft", "preference", "preference_held_out"} <= hashes.keys()


def test_the_preference_stage_starts_from_what_sft_taught(straight: Path) -> None:
    """At step 0 its margins are those of the reference itself; the reference is the SFT adapter, not the base."""
    first = next(r for r in trail(straight) if "pairs/margin" in r)
    assert first["step"] == 0
    assert first["pairs/margin"] == pytest.approx(0, abs=1e-5)
    after_sft = load_file(straight / "checkpoints/sft-000002/adapter/adapter_model.safetensors")
    after_one = load_file(straight / "checkpoints/preference-000001/adapter/adapter_model.safetensors")
    assert after_sft.keys() == after_one.keys()
    # One step of AdamW at this learning rate moves no number by more than a little over 0.01.
    assert 0 < max(float((after_one[k] - after_sft[k]).abs().max()) for k in after_sft) < 0.02


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("at", ["preference-000001", "preference-000003"])
def test_a_cut_off_run_ends_like_the_straight_one(recipe: Path, straight: Path, how: signal.Signals, at: str) -> None:
    name = f"cut-{how.name}-{at}"
    run = recipe.parent / "runs" / name
    process = rlvr("train", str(recipe), f"run_name={name}")
    wait_for(run / "checkpoints" / at, process)
    process.send_signal(how)
    process.communicate(timeout=120)
    # What other runs keep must not be needed: the run's own copy decides.
    shutil.rmtree(recipe.parent / "runs" / "reference-cache")
    finish(rlvr("train", str(recipe), f"run_name={name}", "--resume"))
    assert trail(run) == trail(straight)
    last = "checkpoints/rl-000002/adapter/adapter_model.safetensors"
    assert (run / last).read_bytes() == (straight / last).read_bytes()


def test_a_closed_gate_ends_the_run_with_a_reason(recipe: Path) -> None:
    output = finish(rlvr("train", str(recipe), "run_name=gated", "continue_if.sft=eval.pass@1 > 1", "checkpoint.every=9"))
    said = "stopped after sft, without preference, rl: continue_if eval.pass@1 > 1: no"
    assert said in output
    run = recipe.parent / "runs" / "gated"
    assert {r["stage"] for r in trail(run)} == {"base", "sft"}
    assert said in json.loads((run / "summary.json").read_text())["stopped"]


def test_preferences_alone_need_no_engine_and_a_lost_reference_is_one_clear_line(recipe: Path) -> None:
    alone = ["stages=[preference]", "rl=null", "sft=null", "eval=null", "continue_if={}", "preference.algorithm=orpo"]
    finish(rlvr("train", str(recipe), "run_name=alone", *alone))
    assert [r["step"] for r in trail(recipe.parent / "runs" / "alone") if "loss" in r] == [1, 2, 3, 4]
    name = "run_name=lost"
    finish(rlvr("train", str(recipe), name, *alone[:-1]))
    (recipe.parent / "runs/lost/preference-reference.safetensors").unlink()
    output = finish(rlvr("train", str(recipe), name, *alone[:-1], "--resume"), code=1)
    assert "the reference's log-probs cannot be read" in output
    assert "Traceback" not in output
