"""The pages that lead a newcomer through the code: every file they name exists, and their examples run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from rlvr_tasks.registry import load_tasks
from rlvr_verifiers.registry import resolve
from rlvr_verifiers.scoring import score_now
from rlvr_verifiers.types import Completion, Task

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["CONTRIBUTING.md", "docs/architecture.md"]
FOLDERS = "rlvr|verifiers|sandbox|tasks|tests|configs|docs|benchmarks|\\.ci"


@pytest.mark.parametrize("page", PAGES)
def test_every_file_a_page_names_exists(page: str) -> None:
    named = re.findall(rf"`((?:{FOLDERS})/[\w./-]*)`", (ROOT / page).read_text())
    assert len(named) > 5
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_a_page_names_exists(page: str) -> None:
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", (ROOT / page).read_text(), re.M))
    known = re.search(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), re.M)
    assert known
    assert named <= set(known[1].split())


def example(heading: str) -> str:
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", (ROOT / "CONTRIBUTING.md").read_text(), re.M | re.S)
    assert section, heading
    block = re.search(r"```python\n(.*?)```", section[1], re.S)
    assert block, heading
    assert block[1].count("\n") < 10
    return block[1]


def test_the_verifier_of_the_guide_scores(tmp_path: Path) -> None:
    (tmp_path / "my_verifier.py").write_text(example("Add a verifier"))
    verifier = f"{tmp_path}/my_verifier.py:shortest"
    assert resolve(verifier).name == verifier

    def score(text: str) -> Any:
        task = Task(id="t", prompt=({"role": "user", "content": "Be brief."},), verifier=verifier, answer="5")
        return score_now(task, Completion(text=text)).value

    assert (score("short"), score("not short")) == (1.0, 0.0)


def test_the_task_source_of_the_guide_gives_tasks_whose_golds_are_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_tasks.py").write_text(example("Add a task source"))
    monkeypatch.syspath_prepend(tmp_path)
    tasks = load_tasks({"source": "my_tasks:doubles", "args": {"size": 3}})
    assert [task.answer for task in tasks] == ["0", "2", "4"]
    assert tasks[2].prompt[0]["content"] == r"What is twice 2? End with \boxed{}."
    assert score_now(tasks[2], Completion(text=r"It is \boxed{4}.")).passed
