"""sft and a reward model in one run on a tiny real model: it resumes exactly, and makes pairs, rewards and files that others load."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.loop.tiny_runs import finish, rlvr, source, trail, wait_for, write_pairs, write_parity_tasks, write_recipe

LAST = "checkpoints/reward_model-000004/adapter"


@pytest.fixture(scope="module")
def recipe(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reward-model")
    write_parity_tasks(folder, 6)
    write_pairs(folder)
    tasks, pairs, held_out = (source(folder / name) for name in ("tasks.jsonl", "pairs.jsonl", "held_out.jsonl"))
    return write_recipe(
        folder,
        tiny_model_dir,
        stages=["sft", "reward_model"],
        continue_if={"sft": "eval.pass@1 >= 0"},
        sft={"tasks": tasks, "steps": 2, "batch_size": 4, "optimizer": {"learning_rate": 1e-2}},
        reward_model={
            "tasks": pairs,
            "held_out": held_out,
            "steps": 4,
            "batch_size": 3,
            "evaluate_every": 2,
            "center_coef": 0.01,
            "optimizer": {"learning_rate": 1e-2, "schedule": "cosine"},
        },
        rl={"tasks": tasks, "steps": 1, "prompts_per_step": 2, "group_size": 4, "max_completion_tokens": 40},
        eval={"tasks": tasks, "max_completion_tokens": 6},
    )


def test_it_is_trained_and_measured(straight: Path) -> None:
    records = trail(straight)
    steps = [(r["stage"], r["step"]) for r in records if "loss" in r]
    assert steps == [("sft", 1), ("sft", 2), *(("reward_model", n) for n in (1, 2, 3, 4))]
    measured = [r for r in records if "pairs/accuracy" in r]
    assert [r["step"] for r in measured] == [0, 2, 4]
    assert (measured[0]["pairs/accuracy"], measured[0]["pairs/margin"]) == (0.5, 0.0)
    assert measured[-1]["pairs/accuracy"] > 0.5
    assert -1 <= measured[-1]["pairs/length_correlation"] <= 1
    assert [e["label"] for e in json.loads((straight / "summary.json").read_text())["evaluations"]] == ["base", "sft"]
    assert {"reward_model", "reward_model_held_out"} <= json.loads((straight / "manifest.json").read_text())["hashes"].keys()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_cut_off_run_ends_like_the_straight_one(recipe: Path, straight: Path, how: signal.Signals) -> None:
    name = f"cut-{how.name}"
    run = recipe.parent / "runs" / name
    process = rlvr("train", str(recipe), f"run_name={name}")
    wait_for(run / "checkpoints" / "reward_model-000002", process)
    process.send_signal(how)
    process.communicate(timeout=120)
    finish(rlvr("train", str(recipe), f"run_name={name}", "--resume"))
    assert trail(run) == trail(straight)
    assert (run / LAST / "adapter_model.safetensors").read_bytes() == (
        straight / LAST / "adapter_model.safetensors"
    ).read_bytes()


def test_it_makes_pairs_and_rewards_and_is_exported(recipe: Path, straight: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    folder = recipe.parent
    verifier = "rlvr.reward_verifier:RewardModelVerifier"
    arguments = {"model": str(straight / LAST)}
    command = ["pairs", str(recipe), "--samples", "16", "--verifier", verifier, "--verifier-args", json.dumps(arguments)]
    output = finish(
        rlvr(*command, "rl.max_completion_tokens=200", "engine.max_model_len=256", "-o", str(folder / "made.jsonl"))
    )
    rows = [json.loads(line) for line in (folder / "made.jsonl").read_text().splitlines()]
    assert rows, output
    assert all(1 > row["score_chosen"] > row["score_rejected"] > 0 for row in rows)
    assert json.loads(rows[0]["info"])["provenance"]["verifiable"] is False
    tasks = [json.loads(line) for line in (folder / "tasks.jsonl").read_text().splitlines()]
    scored = [{**task, "verifier": verifier, "verifier_args": json.dumps(arguments)} for task in tasks]
    (folder / "scored.jsonl").write_text("".join(json.dumps(row) + "\n" for row in scored))
    source = f"rl.tasks=[{{source: jsonl, args: {{path: {folder / 'scored.jsonl'}}}}}]"
    finish(rlvr("train", str(recipe), "run_name=rl", "stages=[rl]", "continue_if={}", "eval=null", source))
    (step,) = [r for r in trail(folder / "runs" / "rl") if "reward/mean" in r]
    assert 0 < step["reward/mean"] < 1
    finish(rlvr("export", str(straight), "--merge", "-o", str(folder / "merged")))
    model = AutoModelForSequenceClassification.from_pretrained(folder / "merged")
    assert model.config.num_labels == 1
    assert model.score.weight.abs().max() > 0


def test_nothing_can_follow_it(recipe: Path) -> None:
    said = finish(rlvr("train", str(recipe), "stages=[reward_model, rl]", "continue_if={}"), code=1)
    assert "after `reward_model` there is no policy" in said
    assert "samples nothing" in finish(rlvr("train", str(recipe), "stages=[reward_model]", "continue_if={}"), code=1)
