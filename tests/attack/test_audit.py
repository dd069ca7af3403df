"""The audit finds what is wrong with a verifier, accuses an honest one of nothing, and holds back one that runs model text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rlvr.cli import app
from rlvr_verifiers.audit import attacks_on, audit
from rlvr_verifiers.audit.gold import equivalents, near_misses, number_of
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.types import Task

TARGETS = """
import os, re, time
from pathlib import Path

def contains(task, completion):
    return task.answer in completion.content

def evaluates(task, completion):
    found = re.findall(r"boxed\\{(.*)\\}", completion.content)
    try:
        return bool(found) and eval(found[-1]) == eval(task.answer)
    except Exception:
        return False

def leaves_files(task, completion):
    try:
        Path(task.info["outside"]).write_text("x")
    except OSError:
        pass
    return completion.content.strip() == task.answer

def stalls(task, completion):
    if len(completion.content) > 40_000:
        time.sleep(60)
    return completion.content.strip() == task.answer

def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    return float(solution_str.strip() == ground_truth)

def computes_with_pi(task, completion):
    answer = completion.content.rpartition("boxed{")[2].rpartition("}")[0]
    if "\\\\pi" in answer and "_" not in answer:
        eval(answer.replace("\\\\pi", "3.14"))
    return answer == task.answer

def nothing(task, completion):
    return False
"""


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("targets") / "targets.py"
    path.write_text(TARGETS)
    return path


def tasks(*golds: str, **info: str) -> list[Task]:
    prompt = ({"role": "user", "content": "Which number?"},)
    return [Task(id=f"t{n}", prompt=prompt, verifier="math", answer=gold, info=info) for n, gold in enumerate(golds)]


def test_our_math_is_neither_cheated_nor_unjust() -> None:
    report = audit("math", tasks("42", r"\frac{3}{4}", "1250", "-7", "0.5"))
    assert report.form == "boxed"
    wrong = [(each.kind, each.text) for each in report.judged if each.wrong]
    assert (wrong, report.failures, report.effects, report.canary) == ([], [], (), False)


def test_containment_is_cheated_in_many_ways(targets: Path) -> None:
    report = audit(f"{targets}:contains", tasks("42"))
    kinds = {each.kind for each in report.false_accepts}
    assert {"refusal", "hedge", "many answers", "hidden in reasoning", "corrected away"} <= kinds
    found = report.to_json()
    assert found["false_accepts"] == len(report.false_accepts) > 5
    assert any(row["examples"] for row in found["kinds"])
    assert "false accepts:" in report.text()


def test_a_scorer_that_runs_model_text_is_found_out(targets: Path) -> None:
    report = audit(f"{targets}:evaluates", tasks("42"))
    assert report.canary
    assert {"code", "processes"} <= {effect["kind"] for effect in report.effects}
    assert "EXECUTED" in report.text()


def test_side_effects_are_told_and_held_back(targets: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    report = audit(f"{targets}:leaves_files", tasks("42", outside=str(outside)))
    assert {effect["kind"] for effect in report.effects} == {"files"}
    assert outside.exists() == ("not confined" in report.confinement)


def test_a_stall_is_stopped_and_told(targets: Path) -> None:
    report = audit(f"{targets}:stalls", tasks("42"), deadline_s=0.3)
    assert {each.reason for each in report.failures} == {"timeout"}
    assert report.to_json()["slowest"]["kind"] == "giant"


def test_what_is_slow_on_every_task_is_tried_on_two_and_the_rest_is_counted(targets: Path) -> None:
    report = audit(f"{targets}:stalls", tasks("42", "43", "44", "45"), deadline_s=0.3)
    found = report.to_json()
    assert found["failures"] == {"timeout": 4}  # both giant inputs, on two tasks each
    assert found["left_out"] == 4
    assert [kind["tried"] for kind in found["kinds"] if kind["kind"] in ("giant", "slow")] == [4, 20]
    assert "4 more like them left out" in report.text()


def test_a_payload_gets_to_a_grader_that_computes_only_what_has_a_pi_in_it(targets: Path) -> None:
    report = audit(f"{targets}:computes_with_pi", tasks("42"))
    assert (report.form, report.canary) == ("boxed", True)


def test_the_command_audits_a_foreign_scorer(targets: Path, tmp_path: Path) -> None:
    records = tmp_path / "tasks.jsonl"
    records.write_text(json.dumps({"id": "a", "prompt": "Which?", "verifier": "math", "answer": "42"}) + "\n")
    arguments = [
        "verifiers",
        "audit",
        f"verl:{targets}:compute_score",
        "--tasks",
        str(records),
        "-o",
        str(tmp_path / "out.json"),
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["form"], found["false_accepts"]) == ("alone", 0)


def test_a_target_that_accepts_nothing_is_no_result(targets: Path) -> None:
    with pytest.raises(VerifierError, match="accepts none"):
        audit(f"{targets}:nothing", tasks("42"))
    with pytest.raises(VerifierError, match="gold"):
        audit("math", tasks(" "))


@pytest.mark.parametrize("gold", ["42", "-7", "0", "1250", "0.5", r"\frac{3}{4}", "-1/3", "Paris"])
def test_equivalents_mean_the_same_and_near_misses_do_not(gold: str) -> None:
    value = number_of(gold)
    plain = [spelling.strip(" $").replace(",", "").replace("{}", "") for spelling in equivalents(gold)]
    assert all(number_of(spelling) == value for spelling in plain)
    assert all(number_of(wrong) != value or value is None for wrong in near_misses(gold))
    assert gold not in near_misses(gold)
    assert len({attack.text for attack in attacks_on(tasks(gold)[0], "boxed")}) > 30
