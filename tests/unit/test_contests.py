"""Contest problems of every published shape become tasks with hidden cases, or are left out with their id and the reason."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest

from rlvr_tasks.code_probes import idle_programs
from rlvr_tasks.errors import TaskError, UnreadableGoldError
from rlvr_tasks.registry import load_tasks
from rlvr_tasks.sources.contest_rows import Case, problem_of, unpacked
from rlvr_tasks.sources.statements import interactive, several_answers, tolerance
from rlvr_verifiers.types import Task

STATEMENT = "Print the sum of two numbers.\n\nInput\n\n1 2\n\nOutput\n\n3\n"
SOLUTION = "print(sum(map(int, input().split())))"
PYTHON_2 = "print sum(map(int, raw_input().split()))"
SHOWN, HIDDEN, MORE = ({"input": "1 2\n", "output": "3\n"}, {"input": "4 5", "output": "9"}, {"input": "0 1", "output": "1"})


def columns(*cases: dict[str, str]) -> dict[str, list[str]]:
    return {"input": [case["input"] for case in cases], "output": [case["output"] for case in cases]}


CODE_CONTESTS: dict[str, Any] = {
    "name": "1_A. Sum",
    "description": STATEMENT,
    "public_tests": columns(SHOWN),
    "private_tests": columns(HIDDEN),
    "generated_tests": columns(MORE),
    "solutions": {"language": [2, 1, 3], "solution": ["int main() {}", PYTHON_2, SOLUTION]},
    "input_file": "",
}
APPS: dict[str, Any] = {
    "problem_id": 7,
    "question": STATEMENT,
    "input_output": json.dumps({"inputs": ["1 2\n", "4 5", ["0", "1"]], "outputs": ["3\n", "9", "1"]}),
    "solutions": json.dumps([PYTHON_2, SOLUTION]),
}
LIVE_CODE_BENCH: dict[str, Any] = {
    "question_id": "abc_a",
    "question_content": STATEMENT,
    "public_test_cases": json.dumps([{**SHOWN, "testtype": "stdin"}]),
    "private_test_cases": json.dumps([{**HIDDEN, "testtype": "stdin"}, {**MORE, "testtype": "stdin"}]),
}
PLAIN: dict[str, Any] = {
    "id": 3,
    "content": STATEMENT,
    "test": json.dumps(
        [{"input": {"stdin": case["input"]}, "output": {"stdout": case["output"]}} for case in (SHOWN, HIDDEN, MORE)]
    ),
    "canonical_solution": SOLUTION,
}


def load(tmp_path: Path, *rows: dict[str, Any], **arguments: Any) -> list[Task]:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return list(load_tasks({"source": "contests", "args": {"path": str(path), **arguments}}))


@pytest.mark.parametrize(
    ("row", "name", "proved"),
    [(CODE_CONTESTS, "1_A. Sum", True), (APPS, "7", True), (LIVE_CODE_BENCH, "abc_a", False), (PLAIN, "3", True)],
)
def test_every_shape_becomes_a_task_that_judges_hidden_cases_first(
    tmp_path: Path, row: dict[str, Any], name: str, proved: bool
) -> None:
    [task] = load(tmp_path, row)
    cases = json.loads(task.answer)["cases"]
    assert (task.id, task.verifier, task.info["hidden_cases"], task.info["cases_given"]) == (name, "code", 2, 3)
    assert [case["stdout"].strip() for case in cases] == ["9", "1", "3"]
    assert STATEMENT.strip() in task.prompt[0]["content"]
    assert "4 5" not in task.prompt[0]["content"]
    assert task.info.get("demonstration") == (f"```python\n{SOLUTION}\n```" if proved else None)


def plain(tests: list[dict[str, str]], statement: str = STATEMENT, **more: Any) -> dict[str, Any]:
    return {"id": "x", "statement": statement, "tests": tests, **more}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (plain([SHOWN]), "can be read in the statement"),
        (plain([HIDDEN], examples=[HIDDEN]), "can be read in the statement"),
        (plain([HIDDEN, {"input": "5 5", "output": " 9\n"}]), "same output"),
        (plain([HIDDEN, {"input": "4  5\n", "output": "8"}]), "two outputs"),
        (plain([HIDDEN, MORE], STATEMENT + "If there are several answers, print any of them."), "several outputs"),
        (plain([HIDDEN, MORE], "Ask the interactor. " + STATEMENT), "talk with its judge"),
        (plain([HIDDEN, MORE], "The relative error may be small. " + STATEMENT), "how large"),
        (plain([HIDDEN, MORE], checker="int main() {}"), "judge of its own"),
        (plain([HIDDEN, MORE], "x" * 100_001), "statement has"),
        (plain([{"input": "x" * 70_000, "output": "1"}]), "over 65536 bytes"),
        (plain([HIDDEN, {"input": "[1]", "output": "2", "testtype": "functional"}]), "functional"),  # type: ignore[list-item]
        ({**CODE_CONTESTS, "input_file": "sum.in"}, "file instead"),
        ({**APPS, "input_output": json.dumps({"inputs": [[1]], "outputs": [2], "fn_name": "add"})}, "calls? the function"),
        ({**APPS, "input_output": ""}, "no cases"),
        ({**LIVE_CODE_BENCH, "private_test_cases": "x"}, "neither JSON nor zlib"),
    ],
)
def test_a_row_that_cannot_be_judged_fairly_is_named_with_its_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, row: dict[str, Any], reason: str
) -> None:
    name = str(row.get("id") or row.get("name") or row.get("problem_id") or row.get("question_id"))
    with pytest.raises(TaskError, match=rf"(?s){reason}.*unusable: drop") as caught:
        load(tmp_path, row)
    assert f"can be used: {name}: " in str(caught.value)
    report = tmp_path / "left_out.jsonl"
    kept = load(tmp_path, row, {**PLAIN, "id": "good"}, unusable="drop", report=str(report))
    assert [task.id for task in kept] == ["good"]
    [line] = map(json.loads, report.read_text().splitlines())
    assert (line["row"].endswith("rows.jsonl:1"), line["id"]) == (True, name)
    assert line["reason"] in caplog.text


@pytest.mark.parametrize(
    "row",
    [
        {"id": 1},
        {**PLAIN, "test": "{"},
        {**PLAIN, "test": {"a": 1}},
        {**CODE_CONTESTS, "private_tests": {"input": ["1"], "output": []}},
        {**APPS, "input_output": "[]"},
        {**PLAIN, "test": [{"input": 1, "output": "2"}]},
    ],
)
def test_a_row_of_no_known_shape_is_never_dropped(tmp_path: Path, row: dict[str, Any]) -> None:
    with pytest.raises(TaskError) as caught:
        load(tmp_path, row, PLAIN, unusable="drop")
    assert "rows.jsonl:1" in str(caught.value)


def test_sizes_are_capped_and_visible_cases_take_a_quarter_at_most(tmp_path: Path) -> None:
    shown = [{"input": f"{n} {n}", "output": str(2 * n)} for n in range(10)]
    hidden = [{"input": f"{n} 0", "output": str(n)} for n in range(100, 200)]
    [task] = load(tmp_path, plain(hidden, examples=shown), max_cases=8)
    cases = json.loads(task.answer)["cases"]
    assert [case["stdin"] for case in cases] == [*(f"{n} 0" for n in range(100, 106)), "0 0", "1 1"]
    [task] = load(tmp_path, plain(hidden), max_bytes=64)
    assert sum(len(case["stdin"] + case["stdout"]) for case in json.loads(task.answer)["cases"]) <= 64


def test_a_tolerance_and_limits_reach_the_verifier(tmp_path: Path) -> None:
    words = "The absolute or relative error must not exceed 10^{-6}. " + STATEMENT
    [task] = load(tmp_path, plain([HIDDEN, MORE], words), limits={"wall_s": 8})
    answer = json.loads(task.answer)
    assert (answer["float_tol"], answer["limits"]) == (1e-6, {"wall_s": 8})


def test_known_ids_can_be_excluded(tmp_path: Path) -> None:
    assert [task.id for task in load(tmp_path, PLAIN, {**PLAIN, "id": "other"}, exclude=["3"])] == ["other"]


TESTS = json.dumps([{"input": "1", "output": "2", "testtype": "stdin"}])


def test_packed_tests_are_read_and_never_unpickled(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("unpickled")

    def packed(data: bytes) -> str:
        return base64.b64encode(zlib.compress(data)).decode()

    class Evil:
        def __reduce__(self) -> Any:
            return print, ("executed",)

    evil, good = pickle.dumps(Evil()), pickle.dumps(TESTS)
    for name in ("loads", "load", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    assert unpacked(packed(good)) == TESTS
    assert unpacked(packed(TESTS.encode())) == TESTS
    row = {**LIVE_CODE_BENCH, "private_test_cases": packed(good)}
    assert problem_of(row).hidden == (Case("1", "2"),)
    for bad in (evil, b"\x80\x04" + b"garbage", pickle.dumps(["a", "b"])):
        with pytest.raises(UnreadableGoldError):
            unpacked(packed(bad))
    with pytest.raises(UnreadableGoldError, match="cut short"):
        unpacked(base64.b64encode(zlib.compress(b"x" * 1000)[:10]).decode())


@pytest.mark.parametrize(
    ("words", "several"),
    [
        ("If there are multiple answers, print any of them.", True),
        ("You may output the edges in any order.", True),
        ("Other valid answers will also be accepted.", True),
        ("If several solutions exist, print one.", True),
        ("Print any suitable string.", True),
        ("In the first sample one of the possible sequences is 1 2.", True),
        ("If there are multiple answers, print the lexicographically smallest one.", False),
        ("Print the number of multiple-of-3 elements. Do not print any extra spaces.", False),
        ("Is any of the numbers prime? Print YES or NO.", False),
        ("Count the possible strings modulo 7.", False),
    ],
)
def test_several_answers_are_read_from_the_statement(words: str, several: bool) -> None:
    assert (several_answers(words) is not None) is several


@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        ("absolute or relative error does not exceed 10^{-4}.", 1e-4),
        ("with an absolute error of at most 10 - 6", 1e-6),
        ("Your answer is accepted if the relative error is below 1e-9", 1e-9),
        ("error (absolute or relative) should be less than 0.000001", 1e-6),
        ("the absolute difference is an integer", None),
        ("Print an integer.", 0.0),
        ("The absolute error must be at most 10^-1", None),
    ],
)
def test_the_tolerance_is_read_from_the_statement(words: str, allowed: float | None) -> None:
    assert tolerance(words) == (pytest.approx(allowed) if allowed is not None else None)


def test_programs_that_talk_with_their_judge_are_known() -> None:
    assert interactive("Do not forget to flush the output.") == "flush"
    assert interactive("Read a, print b.") is None


def test_statements_are_searched_in_linear_time() -> None:
    for part in ("any of ", "if several ", "absolute ", "error ", "print ", "10 ^ - "):
        text = part * (100_000 // len(part))
        several_answers(text), tolerance(text), interactive(text)


def test_idle_programs_do_nothing_or_hand_back_what_they_got() -> None:
    stdio = idle_programs(json.dumps({"style": "stdio", "cases": [{"stdin": "1", "stdout": "2\n"}]}))
    assert stdio[0] == "```python\npass\n```"
    assert "print('2')" in stdio[2]
    function = idle_programs(
        json.dumps({"style": "function", "entry_point": "f", "cases": [{"args": [1], "expected": [2]}]})
    )
    assert any("return [2]" in program for program in function)
    assert all(program.startswith("```python\n") for program in (*stdio, *function))
