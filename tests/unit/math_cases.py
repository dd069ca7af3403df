"""The labelled pairs of `verifiers/cases`: what each line holds and how it is judged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlvr_verifiers.registry import resolve
from rlvr_verifiers.types import Completion, Score, Task

FOLDER = Path(__file__).parents[2] / "verifiers" / "cases"
HELD_BACK = ["held_back", *(f"held_back_{number}" for number in range(2, 7))]


def names() -> list[str]:
    """Of all files but those held back."""
    return sorted(path.stem for path in FOLDER.glob("*.jsonl") if path.stem not in HELD_BACK)


def cases(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def judge(case: Mapping[str, Any]) -> Score:
    r"""A case gives a whole `response`, or an `answer` that is put into `\boxed{}`."""
    task = Task(id="case", prompt=(), verifier="math", answer=case["gold"], verifier_args=case.get("args", {}))
    response = case.get("response", rf"So \boxed{{{case.get('answer')}}}.")
    score = resolve("math").function(task, Completion(text=response))
    assert isinstance(score, Score)
    return score
