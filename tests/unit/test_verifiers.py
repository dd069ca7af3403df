"""exact, regex, format, choice and multi on small cases. The math verifier has its own file."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from rlvr_sandbox import Outcome
from rlvr_verifiers import reasoning_gym
from rlvr_verifiers.answers import Stated, stated_answer
from rlvr_verifiers.registry import check_task, resolve
from rlvr_verifiers.response import after_reasoning, final_text
from rlvr_verifiers.scoring import score_group_now, score_now
from rlvr_verifiers.types import Completion, Score, Task


def task(verifier: str, answer: str = "", **arguments: Any) -> Task:
    return Task(id="t", prompt=(), verifier=verifier, answer=answer, verifier_args=arguments)


def judge(task: Task, text: str, *, cut: bool = False) -> Score:
    return score_now(task, Completion(text=text, finish_reason="length" if cut else "stop"))


def reason(task: Task, text: str, *, cut: bool = False) -> str:
    score = judge(task, text, cut=cut)
    assert score.passed == (score.reason == "ok") == (score.value == 1.0)
    return score.reason


# -- what is judged ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("plain", "plain"),
        ("<think>a</think>b", "b"),
        ("a</think>b", "b"),
        ("<think>a", None),
        ("<think>a</think>b<think>c", None),
        ("<think>a</think><reasoning>b</reasoning>c", "c"),
        ("x < 3", "x < 3"),
    ],
)
def test_reasoning_is_cut_off_by_one_rule(text: str, rest: str | None) -> None:
    assert after_reasoning(text) == rest


def test_end_of_turn_tokens_are_no_part_of_the_answer() -> None:
    assert final_text(Completion(text="42<|im_end|>\n<|endoftext|>")) == "42"


def test_a_tools_output_is_never_taken_for_the_policys_answer() -> None:
    messages = ({"role": "assistant", "content": "let me look"}, {"role": "tool", "content": "42"})
    assert final_text(Completion(text="let me look 42", messages=messages)) is None


def test_blanks_behind_an_or_are_read_once() -> None:
    text = r"\boxed{1} or" + " " * 20_000 + "x"
    begin = time.thread_time()
    assert stated_answer(text, truncated=False) == Stated(("1",))
    assert time.thread_time() - begin < 1.0
    assert stated_answer(r"\boxed{1} or  maybe  2", truncated=False) == Stated(("1", "2"), hedged=True)


# -- exact ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text", "expected"),
    [
        ({}, " 42\n", "ok"),
        ({}, "it is 42", "mismatch"),
        ({"strip": False}, "42 ", "mismatch"),
        ({"strip": None}, "42 ", "ok"),  # Arrow fills absent keys with null
        ({"tag": "answer"}, "<answer>1</answer><answer> 42 </answer> done", "ok"),
        ({"tag": "answer"}, "<answer>42", "no_answer"),
        ({"tag": "answer"}, "</answer>42<answer>", "no_answer"),
        ({"pattern": r"Answer: (\w+)"}, "Answer: 1. Answer: 42.", "ok"),
        ({"pattern": r"\d+"}, "I say 42!", "ok"),
        ({"pattern": r"\d+"}, "nothing", "no_answer"),
        ({}, "<think>42", "no_answer"),
        ({}, "x" * 100_001, "too_large"),
    ],
)
def test_exact(arguments: dict[str, Any], text: str, expected: str) -> None:
    assert reason(task("exact", "42", **arguments), text) == expected


def test_exact_ignores_case_only_when_told() -> None:
    assert reason(task("exact", "Paris"), "paris") == "mismatch"
    assert reason(task("exact", "Paris", ignore_case=True), "paris") == "ok"


@pytest.mark.parametrize("arguments", [{}, {"pattern": r"Answer: (\d+)"}])
def test_exact_refuses_an_answer_that_the_token_limit_may_have_cut(arguments: dict[str, Any]) -> None:
    assert reason(task("exact", "42", **arguments), "42" if not arguments else "Answer: 42", cut=True) == "truncated"


# -- regex ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text", "expected"),
    [
        ({}, "abc12", "ok"),
        ({}, "abc12 and more", "mismatch"),
        ({"mode": "search"}, "abc12 and more", "ok"),
        ({"ignore_case": True}, "ABC12", "ok"),
        ({"mode": "search", "reject": ["more$"]}, "abc12 and more", "rejected"),
        ({"max_chars": 4}, "abc12", "too_large"),
    ],
)
def test_regex(arguments: dict[str, Any], text: str, expected: str) -> None:
    assert reason(task("regex", r"abc\d+", **arguments), text) == expected


# -- format -----------------------------------------------------------------------------------------------------------

TAGS = {"tags": ["think", "answer"]}


@pytest.mark.parametrize(
    ("arguments", "text", "expected"),
    [
        (TAGS, "<think>a</think><answer>b</answer>", "ok"),
        (TAGS, "a</think><answer>b</answer>", "ok"),  # opened in the prompt
        (TAGS, "<think>write <answer> first</think><answer>b</answer>", "ok"),  # a mark in the reasoning is a thought
        (TAGS, "<think>a</think>b", "missing"),
        (TAGS, "<think>a</think><answer>b", "missing"),
        (TAGS, "<think>a</think><answer>b</answer><answer>c</answer>", "repeated"),
        (TAGS, "<think>a</think><think>b</think><answer>b</answer>", "repeated"),
        (TAGS, "<answer>b</answer><think>a</think>", "order"),
        (TAGS, "<think>a</think></answer>b<answer>", "order"),
        (TAGS, "<think> </think><answer>b</answer>", "empty"),
        (TAGS, "<think>a</think><answer>\n</answer>", "empty"),
        (TAGS, "<think>a</think>`<answer>b</answer>`", "missing"),  # quoted, not given
        (TAGS, "<think>a</think>```\n<answer>x</answer>\n```<answer>b</answer>", "ok"),
        ({**TAGS, "nothing_outside": True}, "<think>a</think>\n<answer>b</answer>\n", "ok"),
        ({**TAGS, "nothing_outside": True}, "<think>a</think>so <answer>b</answer>", "outside"),
        ({"once": ["\\boxed{"]}, "\\boxed{1}", "ok"),
        ({"once": ["\\boxed{"]}, "\\boxed{1} \\boxed{2}", "repeated"),
        ({"once": ["\\boxed{"]}, "<think>\\boxed{1}</think>\\boxed{1}", "ok"),
        ({"once": ["\\boxed{"]}, "<think>\\boxed{1}</think>1", "missing"),
        ({"pattern": r"^Answer: \d+$"}, "Answer: 5", "ok"),
        ({"pattern": r"^Answer: \d+$"}, "Answer: five", "mismatch"),
    ],
)
def test_format(arguments: dict[str, Any], text: str, expected: str) -> None:
    assert reason(task("format", **arguments), text) == expected


# -- choice -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Answer: B", "ok"),
        ("The answer is (B).", "ok"),
        (r"\boxed{B}", "ok"),
        (r"\boxed{\text{(B)}}", "ok"),
        ("B", "ok"),
        ("(B)", "ok"),
        ("b)", "no_answer"),
        ("Answer: b", "ok"),
        ("**Answer: B**", "ok"),
        ("Answer: B) Rome", "ok"),
        ("The correct option is B because A is wrong", "ok"),
        ("Answer: A. No, wait.\nAnswer: B", "ok"),
        ("Answer: B\nAnswer: A", "mismatch"),
        ("Answer: A", "mismatch"),
        ("Answer: A or B", "hedge"),
        ("Answer: (A) Paris or (B) Rome", "hedge"),
        (r"\boxed{A} and \boxed{B}", "hedge"),
        ("Answer: B, C", "hedge"),
        ("Answer: Bananas", "unparsed"),
        ("Answer: E", "unparsed"),
        ("B is what I would say, as in Bern", "no_answer"),
        ("A cat", "no_answer"),
        ("<think>Answer: B</think>", "no_answer"),
        ("", "no_answer"),
    ],
)
def test_choice(text: str, expected: str) -> None:
    assert reason(task("choice", "B", count=4), text) == expected


def test_choice_accepts_an_options_own_text() -> None:
    with_texts = task("choice", "B", options=["Paris", "Rome"])
    assert reason(with_texts, "The answer is Rome.") == "ok"
    assert reason(with_texts, "The answer is Paris.") == "mismatch"
    assert reason(with_texts, "The answer is C.") == "unparsed"


def test_choice_refuses_a_letter_that_the_token_limit_may_have_cut() -> None:
    assert reason(task("choice", "B"), "Answer: B", cut=True) == "no_answer"
    assert reason(task("choice", "B"), "B", cut=True) == "no_answer"


# -- multi ------------------------------------------------------------------------------------------------------------


def parts(*items: dict[str, Any]) -> Task:
    return task("multi", "42", verifiers=list(items))


MATH = {"name": "math", "weight": 1.0}
SHAPE = {"name": "format", "weight": 0.2, "args": {"once": ["\\boxed{"]}, "required": False}


def test_multi_is_a_weighted_sum_and_passes_with_its_required_parts() -> None:
    both = judge(parts(MATH, SHAPE), r"\boxed{42}")
    assert (both.value, both.passed, both.metrics) == (1.2, True, {"math": 1.0, "format": 1.0})
    shape_only = judge(parts(MATH, SHAPE), r"\boxed{41}")
    assert (shape_only.value, shape_only.passed, shape_only.reason) == (0.2, False, "mismatch")
    right_only = judge(parts(MATH, SHAPE), "#### 42")
    assert (right_only.value, right_only.passed) == (1.0, True)


def test_a_closed_gate_pays_nothing_and_ends_the_scoring() -> None:
    gated = judge(parts(MATH, {**SHAPE, "required": True, "gate": True}), "#### 42")
    assert (gated.value, gated.passed, gated.reason, gated.metrics) == (0.0, False, "missing", {"format": 0.0})


RANKED = """
def longest(task, completions):
    best = max(len(completion.text) for completion in completions)
    return [float(len(completion.text) == best) for completion in completions]
"""


def test_a_part_that_judges_groups_gets_those_that_passed_the_gates(tmp_path: Path) -> None:
    (tmp_path / "ranked.py").write_text(RANKED)
    gate = {"name": "regex", "gate": True, "weight": 0, "answer": "a+"}
    part = {"name": f"{tmp_path / 'ranked.py'}:longest", "required": False}
    ranked = task("multi", "", verifiers=[part, gate])
    assert resolve("multi").wants_group(ranked)
    assert not resolve("multi").wants_group(task("multi", "", verifiers=[gate]))
    scores = score_group_now(ranked, [Completion(text=text) for text in ("bbbb", "aaa", "aa")])
    assert [(score.value, score.passed) for score in scores] == [(0.0, False), (1.0, True), (0.0, True)]
    assert score_group_now(ranked, [Completion(text="b"), Completion(text="b")])[0].value == 0.0


def test_a_part_may_have_a_gold_of_its_own_and_names_are_told_apart() -> None:
    score = judge(parts({"name": "math"}, {"name": "math", "answer": "43", "required": False}), r"\boxed{42}")
    assert score.metrics == {"math": 1.0, "math#2": 0.0}


def test_a_part_that_fails_on_our_side_makes_the_whole_none() -> None:
    score = judge(parts(MATH, {"name": "math", "answer": r"\sin +"}), r"\boxed{42}")
    assert (score.value, score.passed, score.reason) == (None, False, "verifier_error")
    assert "math#2" in score.explanation


# -- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (task("exact", "x", stripp=True), "did you mean 'strip'"),
        (task("exact", "x", strip="yes"), "give true or false"),
        (task("exact", "x", tag="<answer>"), "without < and >"),
        (task("exact", "x", tag="a", pattern="b"), "not both"),
        (task("exact", "x", pattern="("), "not a regular expression"),
        (task("exact", "  "), "empty"),
        (task("regex", ""), "empty"),
        (task("regex", "a*"), "matches the empty text"),
        (task("regex", "a", mode="match"), "one of fullmatch, search"),
        (task("regex", "a", max_chars=0), "at least 1"),
        (task("regex", "a", reject="b"), "a list"),
        (task("format"), "ask for nothing"),
        (task("format", tags=["a", "a"]), "listed twice"),
        (task("format", nothing_outside=True, once=["a"]), "needs tags"),
        (task("choice", "AB"), "not one letter"),
        (task("choice", "E", count=4), "not among the options"),
        (task("choice", "A", options=["x", "X "]), "read the same"),
        (task("choice", "A", count=40), "2 to 26"),
        (task("math", "5", tolerance=-1), "at least 0"),
        (task("math", "5", tolerence=0.1), "did you mean 'tolerance'"),
        (task("multi"), "non-empty list"),
        (task("multi", verifiers=[{"weight": 1.0}]), "no name"),
        (task("multi", "5", verifiers=[{"name": "math", "required": False}]), "no part is required"),
        (task("multi", "5", verifiers=[{"name": "math", "gate": True, "required": False}]), "always required"),
        (task("multi", "5", verifiers=[{"name": "maths"}]), "did you mean 'math'"),
        (task("multi", "5", verifiers=[{"name": "math", "args": {"x": 1}}]), "unknown key"),
        (task("multi", "5", verifiers=[{"name": "math", "weight": float("nan")}]), "finite number"),
    ],
)
def test_unusable_arguments_are_one_line_at_load(bad: Task, message: str) -> None:
    problem = check_task(bad)
    assert problem is not None
    assert message in problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    "good", [task("exact", "x"), task("regex", "a+"), task("format", tags=["a"]), task("choice", "(c)"), parts(MATH)]
)
def test_usable_tasks_pass_the_check(good: Task) -> None:
    assert check_task(good) is None


# -- reasoning_gym ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", ["", "So the answer: 3? ", "\u0130\u0130\u0130: ", "\u017f\u212a ", "ANSWER: none\n"])
def test_reasoning_gym_takes_what_stands_behind_the_last_answer(before: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A capital I with a dot is two characters in lower case."""
    asked: list[str] = []

    def scored(name: str, answer: str, entry: dict[str, Any]) -> Outcome:
        asked.append(answer)
        return Outcome(status="ok", value=1.0)

    monkeypatch.setattr(reasoning_gym, "_scored", scored)
    entry = json.dumps({"name": "ab", "entry": {"question": "q", "answer": "A#", "metadata": {}}})
    assert reason(task("reasoning_gym", entry), f"{before}Answer: A#\n B#") == "ok"
    assert asked == ["A#\n B#"]
