"""`rlvr tasks`: what data is named, what is printed, and with which exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rlvr.commands.tasks import app
from rlvr.errors import RlvrError

CONFIG = """
model: {name: none}
stages: [rl]
rl:
  tasks:
    - {source: arithmetic, args: {kinds: add, size: 20}}
eval:
  tasks:
    - {source: arithmetic, args: {kinds: add, size: 20, split: eval}}
"""


def run(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    rows = [{"question": f"How many legs have {n} cats?", "answer": f"four each\n#### {4 * n}"} for n in range(1, 6)]
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def mapped(path: Path) -> list[str]:
    return [str(path), "columns.prompt=question", r"answer_pattern=####\s*(.+)$", "verifier=math"]


def test_list_names_every_source_and_its_arguments() -> None:
    text = run("list")
    assert all(name in text for name in ("arithmetic", "hf", "jsonl", "mix", "reasoning_gym", "answer_pattern", "required"))
    assert "jsonl" not in run("list", "arithmetic")
    with pytest.raises(RlvrError, match="no task source 'x'"):
        run("list", "x")


def test_show_prints_tasks_of_a_source_a_file_and_a_config(questions: Path, config: Path) -> None:
    assert "Answer: " in run("show", "--source", "arithmetic", "kinds=[add, sort]", "size=2")
    text = run("show", *mapped(questions), "-n", "1")
    assert "5 tasks" in text
    assert "How many legs have 1 cats?" in text
    assert "gold: 4  (math)" in text
    assert "2 cats" not in text
    assert {"rl.tasks[0] arithmetic: 20 tasks", "eval.tasks[0] arithmetic: 20 tasks"} <= set(
        run("show", str(config)).splitlines()
    )
    assert "5 tasks" in run("show", str(config), "rl.tasks.0.limit=5")


def test_show_as_json_gives_records_that_can_be_read_back(questions: Path, tmp_path: Path) -> None:
    records = tmp_path / "records.jsonl"
    records.write_text(run("show", *mapped(questions), "--json", "-n", "5"), encoding="utf-8")
    assert "5 golds pass" in run("check", str(records), "--workers", "1")


def test_show_spells_out_control_characters(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"prompt": "clear \x1b[2J", "verifier": "math", "answer": "1"}), encoding="utf-8")
    assert "\x1b[2J" not in run("show", str(path))


def test_check_compares_training_tasks_with_evaluation_tasks(config: Path, questions: Path) -> None:
    assert run("check", str(config), "--workers", "1").count("nothing found") == 2
    copy = questions.with_name("copy.jsonl")
    copy.write_text(questions.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(RlvrError, match="5 contaminated"):
        run("check", *mapped(questions), "--against", str(copy), "--workers", "1")


def test_check_as_json(questions: Path) -> None:
    report: dict[str, Any] = json.loads(run("check", *mapped(questions), "--json", "--limit", "2", "--workers", "1"))
    assert (report["source"], report["tasks"], report["golds_passed"], report["counts"]) == (str(questions), 2, 2, {})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show"], "name a config, a file"),
        (["show", "--source", "arithmetic", "size"], "'size': expected key=value"),
        (["show", "--source", "jsonl", "path=a", "path.b=c"], "path already has a plain value"),
        (["check", "gone.yaml"], "no such config file"),
    ],
)
def test_mistakes_are_named(words: list[str], said: str) -> None:
    with pytest.raises(RlvrError, match=said):
        run(*words)
