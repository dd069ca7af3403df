"""`rlvr pairs` on a tiny real model: a dataset with its provenance, which the preference and the sft stage then learn from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.loop.test_resume import VERIFIER, finish, rlvr, trail


@pytest.fixture(scope="module")
def recipe(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "parity.py").write_text(VERIFIER)
    rows = [
        {"id": f"t{n}", "prompt": f"Say something about {n}.", "verifier": f"{folder}/parity.py:score", "answer": ""}
        for n in range(12)
    ]
    (folder / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "model": {"name": str(tiny_model_dir), "dtype": "float32"},
        "adapter": {"rank": 4, "alpha": 8},
        "engine": {"kind": "hf", "max_model_len": 256},
        "verification": {"workers": 1, "deadline_s": 20},
        "rl": {"tasks": [{"source": "jsonl", "args": {"path": str(folder / "tasks.jsonl")}}], "max_completion_tokens": 200},
        "preference": {
            "tasks": [{"source": "jsonl", "args": {"path": str(folder / "pairs.jsonl")}}],
            "steps": 2,
            "batch_size": 2,
            "unusable": "drop",
        },
        "sft": {"tasks": [{"source": "jsonl", "args": {"path": str(folder / "sft.jsonl")}}], "steps": 1, "batch_size": 2},
        "micro_batch_tokens": 512,
        "output_dir": str(folder / "runs"),
        "device": "cpu",
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


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
