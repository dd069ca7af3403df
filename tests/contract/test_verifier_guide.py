"""The code blocks of verifiers/README.md run, from the top to the bottom, in one folder; and the SQL of its example keeps its walls."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from rlvr_verifiers import Completion, Task, check_task, score_now
from rlvr_verifiers.conformance import read_cases

PAGE = Path(__file__).resolve().parents[2] / "verifiers" / "README.md"
BLOCK = re.compile(r"^```(python|jsonl)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str | None, str]]:
    """File that a block is to be written to, or None for one that runs as it stands."""
    found: list[tuple[str | None, str]] = []
    for _, text in BLOCK.findall(PAGE.read_text()):
        named = re.match(r"# file: (\S+)\n", text)
        found.append((named[1], text[named.end() :]) if named else (None, text))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guide")
    for name, text in blocks():
        if name is not None:
            (folder / name).write_text(text)
    return folder


def test_every_block_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    running = [text for name, text in blocks() if name is None and "import" in text and "await" not in text]
    waiting = [text for name, text in blocks() if name is None and "await" in text]
    assert len(running) >= 4
    for text in running:
        exec(compile(text, "README.md", "exec"), {"__name__": "guide"})
    for text in waiting:
        compile(text, "README.md", "exec", flags=0x2000)  # top-level await


def test_the_functions_score(folder: Path) -> None:
    def score(file: str, answer: str, text: str, **arguments: Any) -> float | None:
        task = Task(id="t", prompt=(), verifier=f"{folder / file}:score", answer=answer, verifier_args=arguments)
        assert check_task(task) is None
        return score_now(task, Completion(text=text)).value

    assert (score("grader.py", "4", " 4 "), score("grader.py", "4", "5")) == (1.0, 0.0)
    assert (score("close.py", "4", "4.5", tolerance=0.5), score("close.py", "4", "4.5"), score("close.py", "4", "x")) == (
        1.0,
        0.0,
        0.0,
    )


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n", "error"),
        ("ATTACH '/tmp/stolen.db' AS x", "error"),
        ("PRAGMA database_list", "error"),
        ("SELECT hex(zeroblob(100000000))", "error"),
        ("SELECT load_extension('x')", "error"),
        ("SELECT 'Ann' UNION SELECT 'Cy'; DROP TABLE people", "error"),
        ("SELECT \x00", "error"),
        ("", "mismatch"),
    ],
)
def test_hostile_queries_are_stopped(folder: Path, query: str, reason: str) -> None:
    name = f"{folder / 'sql.py'}:Query"
    task = dataclasses.replace(read_cases(folder / "sql_cases.jsonl", name)[0].task)
    score = score_now(task, Completion(text=f"```sql\n{query}\n```"))
    assert (score.value, score.reason) == (0.0, reason), score
