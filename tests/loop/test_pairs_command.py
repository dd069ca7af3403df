"""`rlvr pairs` on a tiny real model: a dataset with its provenance, which the preference and the sft stage then learn from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.loop.tiny_runs import finish, rlvr, source, trail, write_parity_tasks, write_recipe


@pytest.fixture(scope="module")
def recipe(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    write_parity_tasks(folder, 12)
    return write_recipe(
        folder,
        tiny_model_dir,
        engine={"kind": "hf", "max_model_len": 256},
        rl={"tasks": source(folder / "tasks.jsonl"), "max_completion_tokens": 200},
        preference={"tasks": source(folder / "pairs.jsonl"), "steps": 2, "batch_size": 2, "unusable": "drop"},
        sft={"tasks": source(folder / "sft.jsonl"), "steps": 1, "batch_size": 2},
        micro_batch_tokens=512,
    )


def test_pairs_and_demonstrations_are_made_and_learnt(recipe: Path) -> None:
    folder = recipe.parent
    for name, option in (("pairs", []), ("sft", ["--sft", "--per-prompt", "2"])):
        output = finish(
            rlvr("pairs", str(recipe), "--samples", "8", "--limit", "10", *option, "-o", str(folder / f"{name}.jsonl"))
        )
        assert "rows written to" in output
    rows = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
    assert rows
    assert all(row["score_chosen"] > row["score_rejected"] and row["chosen"] != row["rejected"] for row in rows)
    run = json.loads((folder / "pairs.jsonl.provenance.json").read_text())
    assert run["counts"]["completions"] == 80
    assert run["counts"]["rows"] == len(rows)
    assert run["hashes"]["model"].startswith("sha256:")
    assert run["config"]["eval"]["samples"] == 8
    assert run["versions"]["torch"]
    origin = json.loads(rows[0]["info"])["provenance"]
    assert origin["verifiable"] is True
    assert origin["samples"] == 8
    for stage in ("preference", "sft"):
        finish(rlvr("train", str(recipe), f"run_name={stage}", f"stages=[{stage}]"))
        assert [r["step"] for r in trail(folder / "runs" / stage) if "loss" in r]


def test_mistakes_are_one_line(recipe: Path) -> None:
    taken = recipe.parent / "tasks.jsonl"
    assert "exists already" in finish(rlvr("pairs", str(recipe), "-o", str(taken)), code=1)
    assert "at least two" in finish(rlvr("pairs", str(recipe), "--samples", "1", "-o", "x.jsonl"), code=1)
    assert "give a CONFIG, or --model and --tasks" in finish(rlvr("pairs", "-o", "x.jsonl"), code=1)
