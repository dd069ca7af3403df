"""`rlvr compare` trains what is missing, with the same seeds, and trains nothing twice."""

from __future__ import annotations

import json
from pathlib import Path

from tests.loop.test_commands import rlvr
from tests.loop.test_failures import Write, write

__all__ = ["write"]  # a fixture


def test_two_variants_are_trained_resumed_and_compared(write: Write, tmp_path: Path) -> None:
    tasks = [{"source": "jsonl", "args": {"path": str(tmp_path / "tasks.jsonl")}}]
    first = write(eval={"tasks": tasks, "max_completion_tokens": 5, "samples": 2, "base": False})
    second = first.with_name("wider.yaml")
    second.write_text(first.read_text().replace("algorithm: grpo", "algorithm: {preset: grpo, clip_high: 0.28}"))
    out = tmp_path / "out"
    words = [str(first), str(second), "rl.steps=1", "--seeds", "2", "-o", str(out)]
    printed = rlvr("compare", *words)
    assert "rl.algorithm.clip_high" in printed
    result = json.loads((out / "comparison.json").read_text())
    assert [(variant["name"], variant["seeds"]) for variant in result["variants"]] == [("recipe", [0, 1]), ("wider", [0, 1])]
    configs = [(out / f"{name}-{seed}" / "config.yaml").read_text() for name in ("recipe", "wider") for seed in (0, 1)]
    assert len(set(configs)) == 4
    assert (out / "report.html").stat().st_size > 1e6
    before = {file: file.stat().st_mtime_ns for file in out.glob("*/*.jsonl")}
    rlvr("compare", *words)
    assert {file: file.stat().st_mtime_ns for file in out.glob("*/*.jsonl")} == before
    (out / "wider-1" / "summary.json").unlink()  # as if it had been cut off
    rlvr("compare", *words)
    assert (out / "wider-1" / "summary.json").is_file()
    assert "differs from that of" in rlvr("compare", *words, "rl.group_size=2", code=1)
    assert "differ in more than" in rlvr("compare", *words, "--comparing", "rl.optimizer", code=1)
