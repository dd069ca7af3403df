"""`rlvr compare` trains what is missing, with the same seeds, and trains nothing twice."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from tests.loop.test_commands import rlvr
from tests.loop.test_failures import Write, write

__all__ = ["write"]  # a fixture


def test_two_variants_are_trained_resumed_and_compared(write: Write, tmp_path: Path) -> None:
    tasks = [{"source": "jsonl", "args": {"path": str(tmp_path / "tasks.jsonl")}}]
    first = write(eval={"tasks": tasks, "max_completion_tokens": 5, "samples": 2, "base": False})
    second = first.with_name("wider.yaml")
    second.write_text(first.read_text().replace("algorithm: grpo", "algorithm: {preset: grpo, clip_high: 0.28}"))
    out = tmp_path / "out"
    words = [str(first), str(second), "rl.steps=1", "--seeds", "1", "-o", str(out)]
    printed = rlvr("compare", *words)
    assert "rl.algorithm.clip_high" in printed
    result = json.loads((out / "comparison.json").read_text())
    assert [(variant["name"], variant["seeds"]) for variant in result["variants"]] == [("recipe", [0]), ("wider", [0])]
    assert "One seed cannot tell recipe from wider" in result["pairs"][0]["verdict"]
    seeds = [yaml.safe_load((out / name / "config.yaml").read_text())["seed"] for name in ("recipe-0", "wider-0")]
    assert seeds == [0, 0]
    assert (out / "report.html").stat().st_size > 1e6
    before = {file: file.stat().st_mtime_ns for file in out.glob("*/*.jsonl")}
    rlvr("compare", *words)
    assert {file: file.stat().st_mtime_ns for file in out.glob("*/*.jsonl")} == before
    (out / "wider-0" / "summary.json").unlink()  # as if it had been cut off
    rlvr("compare", *words)
    assert (out / "wider-0" / "summary.json").is_file()
    assert "differs from that of" in rlvr("compare", *words, "rl.group_size=2", code=1)
    assert "differ in more than" in rlvr("compare", *words, "--comparing", "rl.optimizer", code=1)


def test_variants_of_one_config_are_trained_and_tested_against_the_baseline(write: Write, tmp_path: Path) -> None:
    tasks = [{"source": "jsonl", "args": {"path": str(tmp_path / "tasks.jsonl")}}]
    recipe = write(eval={"tasks": tasks, "max_completion_tokens": 5, "samples": 2, "base": False})
    out = tmp_path / "out"
    variants = [
        "plain",
        "wider rl.algorithm.clip_high=0.28",
        "dapo 'rl.algorithm={preset: dapo, overlong_buffer_tokens: 1}'",
    ]
    flags = [word for variant in variants for word in ("--variant", variant)]
    rlvr("compare", str(recipe), "rl.steps=1", "--seeds", "1", "-o", str(out), "--baseline", "plain", *flags)
    result = json.loads((out / "comparison.json").read_text())
    assert [(pair["baseline"], pair["candidate"]) for pair in result["pairs"]] == [("plain", "wider"), ("plain", "dapo")]
    algorithms = {
        name: yaml.safe_load((out / f"{name}-0/config.yaml").read_text())["rl"]["algorithm"] for name in ("wider", "dapo")
    }
    assert (algorithms["wider"]["clip_high"], algorithms["dapo"]["token_weights"]) == (0.28, "token_mean")
    page = (out / "comparison.md").read_text()
    assert "rlvr compare" in page
    assert "--variant" in page
