"""The ifeval verifier: every labelled reply of `verifiers/cases/ifeval`, rows that cannot be judged, hostile texts, its task source."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from rlvr_tasks.errors import TaskError
from rlvr_tasks.sources.ifeval import ifeval
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.ifeval.constraints import CONSTRAINTS
from rlvr_verifiers.ifeval.text import sentences
from rlvr_verifiers.ifeval.verifier import read_instructions
from rlvr_verifiers.registry import check_task
from rlvr_verifiers.scoring import score_now
from rlvr_verifiers.types import Completion, Score, Task

CASES = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "verifiers/cases/ifeval/cases.jsonl").read_text(encoding="utf-8").splitlines()
]
PROMPT = "Write a haiku. First repeat the request."


def task(*instructions: tuple[str, dict[str, Any]], **arguments: Any) -> Task:
    answer = {"instruction_id_list": [name for name, _ in instructions], "kwargs": [kwargs for _, kwargs in instructions]}
    prompt = ({"role": "user", "content": PROMPT},)
    return Task(id="i", prompt=prompt, verifier="ifeval", answer=json.dumps(answer), verifier_args=arguments)


def judge(case: dict[str, Any]) -> Score:
    return score_now(task((case["instruction"], case["kwargs"])), Completion(text=case["text"]))


def test_labelled_replies() -> None:
    wrong = [(case, score.reason) for case in CASES if (score := judge(case)).passed != case["follows"]]
    assert not wrong, wrong


def test_every_instruction_has_replies_that_follow_it_and_that_do_not() -> None:
    assert len(CONSTRAINTS) == 25
    for name in CONSTRAINTS:
        assert {case["follows"] for case in CASES if case["instruction"] == name} == {True, False}, name
    assert {case["kind"] for case in CASES} == {"right", "near_miss", "hostile"}


def test_all_instructions_have_to_be_followed() -> None:
    two = [("punctuation:no_comma", {}), ("keywords:existence", {"keywords": ["frog"]})]
    assert score_now(task(*two), Completion(text="A frog leaps")).value == 1.0
    assert score_now(task(*two), Completion(text="A toad leaps")).value == 0.0
    half = score_now(task(*two, partial=True), Completion(text="A toad leaps"))
    assert (half.value, half.passed, half.reason) == (0.5, False, "not_followed")
    assert "keywords:existence" in half.explanation


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        (Completion(text=" \n"), "no_answer"),
        (Completion(text="<think>no commas"), "no_answer"),
        (Completion(text="No commas", finish_reason="length"), "truncated"),
        (Completion(text=f" {PROMPT.upper()}"), "echo"),
        (Completion(text="a" * 200_000), "too_large"),
    ],
)
def test_what_is_no_reply_follows_nothing(completion: Completion, reason: str) -> None:
    score = score_now(task(("punctuation:no_comma", {}), partial=True), completion)
    assert (score.value, score.reason) == (0.0, reason)


def test_reasoning_is_not_looked_at() -> None:
    assert score_now(task(("punctuation:no_comma", {})), Completion(text="<think>one, two</think>None")).passed


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("", "JSON"),
        ("[]", "two lists"),
        ('{"instruction_id_list": [], "kwargs": []}', "one at least"),
        ('{"instruction_id_list": ["punctuation:no_comma"], "kwargs": []}', "as many are needed"),
        ('{"instruction_id_list": ["punctuation:no_commas"], "kwargs": [{}]}', "no instruction"),
        ('{"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{"n": 1}]}', "takes no arguments"),
        ('{"instruction_id_list": ["length_constraints:number_words"], "kwargs": [{}]}', "required"),
        (
            '{"instruction_id_list": ["length_constraints:number_words"], "kwargs": [{"num_words": 5, "relation": "about"}]}',
            "about",
        ),
        ('{"instruction_id_list": ["language:response_language"], "kwargs": [{"language": "tlh"}]}', "tlh"),
    ],
)
def test_rows_that_cannot_be_judged_are_refused(answer: str, words: str) -> None:
    problem = check_task(Task(id="i", prompt=(), verifier="ifeval", answer=answer))
    assert problem is not None
    assert words in problem
    assert "\n" not in problem


@pytest.mark.parametrize("piece", [".", "<<a", "p.s.", "a. ", "*a", "[", ' "', "\n", "1.\n", "é", "\ud800"])
def test_no_text_takes_long(piece: str) -> None:
    """An instruction that costs the square of the text would take minutes here."""
    text = piece * (90_000 // len(piece)) + "a"
    judge({"instruction": "change_case:english_lowercase", "kwargs": {}, "text": "the model is loaded"})
    for case in {case["instruction"]: case for case in CASES}.values():
        begin = time.thread_time()
        judge({**case, "text": text})
        assert time.thread_time() - begin < 0.5, case["instruction"]


def test_no_global_state_is_touched() -> None:
    random.seed(3)
    before = random.getstate()
    first = [judge(case).value for case in CASES]
    assert random.getstate() == before
    assert [judge(case).value for case in CASES] == first


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("Hello", 1),
        ("Hello!? Really...", 2),
        ("Mr. and Mrs. Smith, i.e. they, left at 5 p.m. yesterday.", 1),
        ("We met at 5 p.m. Then we left.", 2),
        ("1. Wash it.\n2. Dry it.", 2),
        ("(He left.) She stayed.", 2),
        ("नमस्ते। कैसे हैं?", 2),
    ],
)
def test_sentences(text: str, count: int) -> None:
    assert sentences(text) == count


ROW = {"key": 7, "prompt": "Write. No commas.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}


def written(folder: Path, *rows: dict[str, Any]) -> str:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


def test_source_reads_rows_as_published_and_as_arrow_leaves_them(tmp_path: Path) -> None:
    words = {"key": 8, "prompt": "?", "instruction_id_list": ["length_constraints:number_words"]}
    filled = [{"num_words": 3, "relation": "at least", "keywords": None, "first_word": None}]
    first, second = ifeval(path=written(tmp_path, {**ROW, "demonstration": "A"}, {**words, "kwargs": filled}), partial=True)
    assert first.info["demonstration"] == "A"
    assert (first.id, first.verifier, dict(first.verifier_args)) == ("ifeval/7", "ifeval", {"partial": True})
    assert json.loads(second.answer)["kwargs"] == [{"num_words": 3, "relation": "at least"}]
    assert check_task(second) is None


def test_source_refuses_or_drops_unknown_instructions(tmp_path: Path) -> None:
    path = written(tmp_path, ROW, {**ROW, "key": 9, "instruction_id_list": ["punctuation:no_dash"]})
    assert [each.id for each in ifeval(path=path, unreadable="drop")] == ["ifeval/7"]
    with pytest.raises(TaskError, match=r"rows.jsonl.*instruction_id_list is int"):
        ifeval(path=written(tmp_path, {**ROW, "instruction_id_list": 4}))
    with pytest.raises(TaskError, match="no file"):
        ifeval(path=str(tmp_path / "none.jsonl"))


def test_a_missing_argument_is_never_drawn_at_random() -> None:
    with pytest.raises(VerifierError, match="required"):
        read_instructions(json.dumps({"instruction_id_list": ["keywords:letter_frequency"], "kwargs": [{"letter": "a"}]}))
