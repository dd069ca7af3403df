"""`rlvr score`: order, columns, streaming, and that nothing scored is lost when a later line is unusable."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rlvr.errors import RlvrError
from rlvr.score_records import ScoreSummary, _show, score_records
from rlvr_verifiers.types import Score, Task

ROW: dict[str, Any] = {"id": "a", "prompt": "1 + 1?", "verifier": "math", "answer": "2", "note": "kept"}
SCORE = [sys.executable, "-m", "rlvr.cli", "score"]


def score(tmp_path: Path, rows: list[Any], **options: Any) -> tuple[list[dict[str, Any]], ScoreSummary, str]:
    source, out, said = tmp_path / "in.jsonl", tmp_path / "out.jsonl", io.StringIO()
    source.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8")
    try:
        summary = score_records(source, out=out, console=Console(file=said, width=200), **{"workers": 2, **options})
    finally:
        written = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
        score.written = written  # type: ignore[attr-defined]
    return written, summary, said.getvalue()


def test_rows_come_out_in_order_with_everything_they_had(tmp_path: Path) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text("import time\ndef score(task, completion):\n    time.sleep(0.2)\n    return 0.5\n", encoding="utf-8")
    first = {**ROW, "verifier": f"{slow}:score", "completion": "late"}
    rows = [first, *({**ROW, "id": str(n), "completion": f"Answer: {n}"} for n in range(100))]
    written, summary, said = score(tmp_path, rows)
    assert [row["completion"] for row in written] == [row["completion"] for row in rows]
    assert [row["score"] for row in written[:4]] == [0.5, 0.0, 0.0, 1.0]
    assert written[3] == {**rows[3], **{name: written[3][name] for name in ("explanation", "seconds")}} | {
        "score": 1.0, "passed": True, "reason": "ok", "parsed": "2"
    }  # fmt: skip
    assert (summary.rows, summary.passed, summary.failures) == (101, 1, 0)
    assert summary.mean == pytest.approx(1.5 / 101)
    assert "101 completions, mean score 0.0149, pass rate 0.99%, 0 verifier failures" in said
    assert "mismatch" in said


def test_a_verifier_of_groups_gets_the_completions_of_one_problem_together(tmp_path: Path) -> None:
    ranked = tmp_path / "ranked.py"
    ranked.write_text(
        "def longest(task, completions):\n    sizes = [len(each.text) for each in completions]\n"
        "    return [float(size == max(sizes)) / len(sizes) for size in sizes]\n"
    )
    row = {**ROW, "verifier": f"{ranked}:longest"}
    rows = [{**row, "completion": ["a", "bbb"]}, {**row, "completion": "cc"}, {**row, "id": "b", "completion": "d"}]
    written, _, _ = score(tmp_path, rows)
    assert [(line["completion"], line["score"]) for line in written] == [("a", 0), ("bbb", 1 / 3), ("cc", 0), ("d", 1)]


def test_a_list_of_completions_gives_a_row_each(tmp_path: Path) -> None:
    written, summary, _ = score(tmp_path, [{**ROW, "completion": ["Answer: 2", "Answer: 3"]}])
    assert [(row["sample"], row["completion"], row["passed"]) for row in written] == [
        (0, "Answer: 2", True),
        (1, "Answer: 3", False),
    ]
    assert summary.pass_rate == 0.5


def test_reasons_are_shown_as_they_are() -> None:
    summary = ScoreSummary()
    task = Task(id="1", prompt=({"role": "user", "content": "x"},), verifier="exact", answer="1")
    for reason in ("[/b]", "[red]odd"):
        summary.add(task, Score(value=0.0, passed=False, reason=reason))
    said = io.StringIO()
    _show(summary, Console(file=said, width=200), (), 10)
    assert "[/b]" in said.getvalue()
    assert "[red]odd" in said.getvalue()


def test_completions_of_one_problem_make_pass_at_k_by_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {**ROW, "data_source": "sums", "completion": ["Answer: 2", "Answer: 3"]},
        {**ROW, "data_source": "sums", "id": "b", "answer": "7", "completion": ["Answer: 3", "Answer: 4"]},
    ]
    _, summary, said = score(tmp_path, rows)
    assert summary.rates.sources()[0].pass_at[2].value == 0.5
    assert "25.0 %" in said
    assert "b (sums): 0 of 2 passed; mismatch 2" in said
    capsys.readouterr()
    score(tmp_path, rows, as_json=True, ks=[2])
    data = json.loads(capsys.readouterr().out)
    assert (data["completions"], data["sources"][0]["pass@2"]["value"], data["failures"][0]["id"]) == (4, 0.5, "b")
    with pytest.raises(RlvrError, match="-o"):
        score_records(tmp_path / "in.jsonl", as_json=True)


def test_a_broken_verifier_is_a_failure_and_no_zero(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("def score(task, completion):\n    raise KeyError('gold')\n", encoding="utf-8")
    rows = [{**ROW, "verifier": f"{broken}:score", "completion": "x"}, {**ROW, "id": "b", "completion": "Answer: 2"}]
    written, summary, _ = score(tmp_path, rows)
    assert [row["score"] for row in written] == [None, 1.0]
    assert (summary.rows, summary.failures, summary.mean, summary.pass_rate) == (2, 1, 1.0, 1.0)
    assert summary.reasons["verifier_error"] == 1


def test_a_hanging_verifier_is_ended_at_its_deadline(tmp_path: Path) -> None:
    hang = tmp_path / "hang.py"
    hang.write_text("def score(task, completion):\n    while True:\n        pass\n", encoding="utf-8")
    written, _, _ = score(tmp_path, [{**ROW, "verifier": f"{hang}:score", "completion": "x"}], deadline_s=0.3)
    assert (written[0]["score"], written[0]["reason"]) == (0.0, "timeout")


def test_another_verifier_takes_the_place_of_the_rows_own(tmp_path: Path) -> None:
    rows = [
        {**ROW, "verifier_args": {"tolerance": 0.1}, "completion": "2"},
        {**ROW, "verifier": "exact", "verifier_args": {"ignore_case": True}, "answer": "Yes", "completion": "yes"},
    ]
    written, _, _ = score(tmp_path, rows, verifier="exact")
    assert [row["passed"] for row in written] == [True, True]


def test_a_cut_completion_is_judged_as_cut(tmp_path: Path) -> None:
    rows = [{**ROW, "completion": "Answer: 2", "finish_reason": reason} for reason in ("stop", "length")]
    written, _, _ = score(tmp_path, rows)
    assert [row["passed"] for row in written] == [True, False]


def test_scores_of_an_earlier_run_are_replaced(tmp_path: Path) -> None:
    first, _, _ = score(tmp_path, [{**ROW, "completion": "Answer: 2", "score": 0.25, "reason": "old"}])
    again, _, _ = score(tmp_path, first)
    assert (first[0]["score"], first[0]["reason"]) == (1.0, "ok")
    assert [{**row, "seconds": 0} for row in again] == [{**row, "seconds": 0} for row in first]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("{broken", ":3: not valid JSON"),
        ("[]", ":3: expected a JSON object"),
        ({**ROW, "completion": None}, ":3: completion: found nothing"),
        ({**ROW, "completion": []}, ":3: completion: found []"),
        ({**ROW, "completion": ["x", 1]}, ":3: completion: found"),
        ({"prompt": "x", "answer": "1", "completion": "x", "verifier": None}, ":3: verifier: missing"),
        ({**ROW, "completion": "x", "answer": None}, ":3: answer: missing"),
        ({**ROW, "completion": "x", "verifier": "mth"}, ":3: no verifier 'mth'; did you mean 'math'?"),
        ({**ROW, "completion": "x", "finish_reason": "eos"}, ":3: finish_reason: found 'eos'"),
    ],
)
def test_an_unusable_line_is_named_and_what_was_before_it_is_written(tmp_path: Path, bad: Any, words: str) -> None:
    good = {**ROW, "completion": "Answer: 2"}
    with pytest.raises(RlvrError) as caught:
        score(tmp_path, [good, good, bad, good])
    assert words in str(caught.value)
    assert "(2 rows before it are scored and written)" in str(caught.value)
    assert [row["passed"] for row in score.written] == [True, True]  # type: ignore[attr-defined]


def test_paths_that_cannot_work_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps({**ROW, "completion": "x"}), encoding="utf-8")
    with pytest.raises(RlvrError, match="no file"):
        score_records(tmp_path / "gone.jsonl")
    with pytest.raises(RlvrError, match="is also the input"):
        score_records(path, out=path)
    with pytest.raises(RlvrError, match="cannot write"):
        score_records(path, out=tmp_path / "no" / "out.jsonl")
    assert json.loads(path.read_text(encoding="utf-8"))["completion"] == "x"


def test_a_pipe_is_answered_line_by_line() -> None:
    line = json.dumps({**ROW, "completion": "Answer: 2"}) + "\n"
    with subprocess.Popen(
        [*SCORE, "-", "--workers", "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(3):  # each answer must come before the next line is sent
            process.stdin.write(line)
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["passed"] is True
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "3 completions" in said


def test_the_command_exits_with_1_and_one_line_on_a_bad_line() -> None:
    line = json.dumps({**ROW, "completion": "Answer: 2"})
    done = subprocess.run(
        [*SCORE, "-", "--workers", "1"], input=f"{line}\nnonsense\n", capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["passed"] is True
    assert "error: standard input:2: not valid JSON" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_it_at_once_while_it_waits_for_a_line() -> None:
    with subprocess.Popen(
        [*SCORE, "-", "--workers", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Tests started by a script with `&` are deaf to Ctrl-C, and would pass that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({**ROW, "completion": "Answer: 2"}) + "\n")
        process.stdin.flush()
        process.stdout.readline()
        begin = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(timeout=30) == 130
        assert time.monotonic() - begin < 20
        assert "Traceback" not in process.stderr.read() if process.stderr else True


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    lines = (json.dumps({**ROW, "completion": "Answer: 2"}) + "\n") * 2000
    with subprocess.Popen(
        [*SCORE, "-", "--workers", "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(lines[:100_000])
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        try:
            process.stdin.write(lines[100_000:])
            process.stdin.close()
        except BrokenPipeError:
            pass
        said = process.stderr.read()
        process.wait(timeout=60)
    assert "Traceback" not in said
