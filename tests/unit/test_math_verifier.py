"""The math verifier on labelled pairs: what is equal, what is not, and why."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest

from rlvr_verifiers.math import UnreadableError, parse, verify
from rlvr_verifiers.math.tree import Binding, Collection, Number, Quantity, Sequence, Text
from rlvr_verifiers.registry import check_task
from rlvr_verifiers.types import Task

HELD_BACK_REFUSED = 5
"""Times of day, |x|, n!, repeating decimals and inequalities are outside the grammar so far (the gold 3:00 gives None)."""


def cases(file: str) -> list[tuple[str, str, str]]:
    lines = (Path(__file__).parent / file).read_text(encoding="utf-8").splitlines()
    return [
        (verdict, answer, gold)
        for verdict, answer, gold in (line.split("\t") for line in lines if line[:1] not in ("#", ""))
    ]


@pytest.mark.parametrize(("verdict", "answer", "gold"), cases("math_cases.tsv"))
def test_labelled_pairs(verdict: str, answer: str, gold: str) -> None:
    score = verify(rf"So \boxed{{{answer}}}.", gold)
    assert (score.value, score.reason) == (float(verdict == "ok"), verdict), score


def test_held_back_pairs_that_nobody_tuned_on() -> None:
    """No wrong answer may pass, and few right ones may be refused.

    The table was written after the grammar. Its first run judged 130 of 137 pairs as labelled, with one wrong answer
    accepted ("5 squared" for 5) and six right ones refused; two defects behind that were mended since (a power word as a
    unit, the exponent of `ab^2`). Do not mend single cases: write a new table to judge the next change.
    """
    judged = [
        (verdict, answer, gold, verify(rf"So \boxed{{{answer}}}.", gold))
        for verdict, answer, gold in cases("math_cases_held_back.tsv")
    ]
    assert not [case for case in judged if case[0] != "ok" and case[3].passed]
    refused = [case for case in judged if case[0] == "ok" and not case[3].passed]
    assert len(refused) <= HELD_BACK_REFUSED, refused


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "unparsed"),
        ("9" * 3000, "too_large"),
        ("(" * 100 + "1" + ")" * 100, "too_large"),
        ("+".join("1" * 900), "mismatch"),
        ("1,2," * 400 + "1", "type_mismatch"),
        (r"\frac" * 300, "too_large"),
        (r"1\frac{" * 12 + "1" + "}{2}" * 12, "mismatch"),
        ("(" * 30 + "1,2)" * 30, "unparsed"),
        ("-" * 1500 + "5", "ok"),
    ],
)
def test_degenerate_answers(answer: str, reason: str) -> None:
    assert verify(rf"\boxed{{{answer}}}", "5").reason == reason


EXTRACTION = [
    # the last complete box, brace-matched, behind the reasoning
    (r"\boxed{1} then \boxed{2}", "2", "ok"),
    (r"\boxed{1} then \boxed{2}", "1", "mismatch"),
    (r"\boxed{\frac{1}{2}}", "1/2", "ok"),
    (r"\boxed{\boxed{5}}", "5", "ok"),
    (r"\boxed{5} and then \boxed{6", "5", "ok"),
    (r"\fbox{5}", "5", "ok"),
    (r"set \{1 and \boxed{5}", "5", "ok"),
    ("a } b { \\boxed{5}", "5", "ok"),
    ("<think>\\boxed{1}</think> \\boxed{2}", "2", "ok"),
    ("<think>\\boxed{2}", "2", "no_answer"),
    ("reasoning \\boxed{1}</think> so 2", "1", "no_answer"),
    (r"\boxed{1}, \boxed{2}", "1,2", "ok"),
    (r"\boxed{1} and \boxed{2}", "2, 1", "ok"),
    (r"\boxed{1} and \boxed{2}", "2", "type_mismatch"),
    (r"\boxed{1}, \boxed{2}, or \boxed{3}", "3", "hedge"),
    (r"either $\boxed{1}$, $\boxed{2}$", "2", "hedge"),
    (r"\boxed{1/2} or \boxed{0.5}", "1/2", "ok"),
    (r"It might be \boxed{7} but let me check. \boxed{8}", "8", "ok"),
    # other markers
    ("work\n#### 18", "18", "ok"),
    ("#### 5\n#### 6", "6", "ok"),
    ("<answer>18</answer>", "18", "ok"),
    ("<answer>The answer is 18.</answer>", "18", "ok"),
    ("<answer>18", "18", "no_answer"),
    ("Answer: 18", "18", "ok"),
    ("**Answer:** 18", "18", "ok"),
    ("Final Answer:\n\n$18$", "18", "ok"),
    ("The answer is $18.", "18", "ok"),
    ("The answer is 3.5. I am sure.", "3.5", "ok"),
    ("The answer is not 5.", "5", "no_answer"),
    ("The answer is 5. The answer is not 6.", "5", "ok"),
    ("Answer: 5\nAnswer: 6", "6", "ok"),
    ("answer = 12", "12", "ok"),
    ("The answer is 5 because I counted.", "5", "unparsed"),
    # a marker is needed
    ("I get 18", "18", "no_answer"),
    ("18", "18", "no_answer"),
    ("", "18", "no_answer"),
    ("the sum is 5 so 18.", "18", "no_answer"),
]


@pytest.mark.parametrize(("response", "gold", "reason"), EXTRACTION)
def test_extraction(response: str, gold: str, reason: str) -> None:
    assert verify(response, gold).reason == reason


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("so the answer is 12", "no_answer"),
        ("Answer: 12", "no_answer"),
        ("#### 12", "no_answer"),
        (r"so \boxed{12", "no_answer"),
        (r"so \boxed{12} and th", "ok"),
        ("Answer: 12\nBut wait", "ok"),
        ("The answer is 12. But wa", "ok"),
    ],
)
def test_an_answer_cut_by_the_token_limit_does_not_count(response: str, reason: str) -> None:
    assert verify(response, "12", truncated=True).reason == reason


def test_tolerance_is_relative_and_off_by_default() -> None:
    assert verify(r"\boxed{3.1416}", r"\pi").reason == "mismatch"
    assert verify(r"\boxed{3.1416}", r"\pi", tolerance=1e-4).reason == "ok"
    assert verify(r"\boxed{3.15}", r"\pi", tolerance=1e-4).reason == "mismatch"
    assert verify(r"\boxed{x}", r"\pi", tolerance=0.5).reason == "mismatch"


@pytest.mark.parametrize("gold", ["", r"\sin x", "1/0", "9" * 3000, "5 or because", r"\begin{pmatrix} 1 \end{pmatrix}"])
def test_a_gold_that_cannot_be_read_is_found_at_load_and_never_scored_as_wrong(gold: str) -> None:
    problem = check_task(Task(id="t", prompt=(), verifier="math", answer=gold))
    assert problem is not None
    assert "\n" not in problem
    assert verify(r"\boxed{5}", gold).value is None


def test_a_tower_too_large_to_evaluate_is_a_usable_gold_for_the_same_tower() -> None:
    gold = "2^{3^{4^{5}}}"
    assert check_task(Task(id="t", prompt=(), verifier="math", answer=gold)) is None
    assert verify(r"\boxed{2^{3^{4^5}}}", gold).reason == "ok"
    assert verify(r"\boxed{2^{3^{4^6}}}", gold).reason == "too_large"


def test_equality_is_symmetric_for_answers_without_omitted_parts() -> None:
    for _, left, right in [case for case in cases("math_cases.tsv") if case[0] != "ok"]:
        if (
            not any(mark in left + right for mark in ("_", "or", "%"))
            and verify(rf"\boxed{{{right}}}", left).value is not None
        ):
            assert verify(rf"\boxed{{{right}}}", left).reason != "ok", (left, right)


def test_the_tree_is_typed() -> None:
    assert isinstance(parse("5"), Number)
    assert isinstance(parse("(1,2)"), Sequence)
    assert isinstance(parse("1,2"), Collection)
    assert isinstance(parse("5 cm"), Quantity)
    assert isinstance(parse("x = 5"), Binding)
    assert isinstance(parse("east"), Text)
    with pytest.raises(UnreadableError) as caught:
        parse(r"\begin{pmatrix}")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.reason) == (str(caught.value), "unparsed")


DATA = Path(os.environ.get("RLVR_DATA", "data"))


@pytest.mark.skipif(not (DATA / "gsm8k_test.jsonl").exists(), reason="RLVR_DATA names no folder with gsm8k_test.jsonl")
def test_every_gsm8k_solution_reaches_its_gold() -> None:
    rows = [json.loads(line) for line in (DATA / "gsm8k_test.jsonl").read_text().splitlines()]
    wrong = [row["answer"] for row in rows if not verify(row["answer"], row["answer"].rpartition("####")[2].strip()).passed]
    assert not wrong


@pytest.mark.skipif(not (DATA / "math500.jsonl").exists(), reason="RLVR_DATA names no folder with math500.jsonl")
def test_math500_golds_that_can_be_read_equal_themselves_and_their_solutions() -> None:
    rows = [json.loads(line) for line in (DATA / "math500.jsonl").read_text().splitlines()]
    readable = [row for row in rows if check_task(Task(id="t", prompt=(), verifier="math", answer=row["answer"])) is None]
    assert len(readable) >= 0.98 * len(rows)
    assert not [row["answer"] for row in readable if not verify(row["solution"], row["answer"]).passed]
