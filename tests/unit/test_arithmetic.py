"""The procedural source: right answers, disjoint sides, deterministic draws, and no question that answers itself."""

from __future__ import annotations

import re
import statistics
from typing import Any

import pytest

from rlvr_tasks.errors import TaskError
from rlvr_tasks.sources.arithmetic import arithmetic
from rlvr_tasks.sources.problems import KINDS
from rlvr_verifiers.scoring import score_now
from rlvr_verifiers.types import Completion, Task


def question(task: Task) -> str:
    return str(task.prompt[-1]["content"]).split("\n")[0]


def expected(kind: str, text: str) -> str:
    """An independent solver that reads the question as a person would."""
    numbers = [int(word) for word in re.findall(r"\d+", text)]
    if kind in ("add", "subtract", "multiply", "chain"):
        expression = text.removeprefix("What is ").removesuffix("?")
        assert re.fullmatch(r"[\d +*-]+", expression)
        return str(eval(expression))
    if kind == "count_above":
        bound, *rest = numbers
        return str(sum(number > bound for number in rest))
    if kind == "word":
        more = any(phrase in text for phrase in ("more. How many", "together"))
        return str(sum(numbers) if more else numbers[0] - numbers[1])
    answers: dict[str, Any] = {
        "compare": max,
        "largest": max,
        "smallest": min,
        "count": len,
        "median": statistics.median,
        "second_largest": lambda values: sorted(values)[-2],
        "sort": lambda values: ", ".join(map(str, sorted(values))),
    }
    return str(answers[kind](numbers))


@pytest.mark.parametrize("kind", KINDS)
def test_every_answer_is_right(kind: str) -> None:
    for task in arithmetic(kinds=kind, size=200, seed=5, digits=[1, 3]):
        assert task.answer == expected(kind, question(task)), question(task)


@pytest.mark.parametrize("boxed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_demonstration_passes_and_a_wrong_number_does_not(kind: str, boxed: bool) -> None:
    for task in arithmetic(kinds=kind, size=20, boxed=boxed):
        demonstration = str(task.info["demonstration"])
        assert score_now(task, Completion(text=demonstration)).passed
        other = f"{task.answer}9".join(demonstration.rsplit(task.answer, 1))
        assert not score_now(task, Completion(text=other)).passed


@pytest.mark.parametrize("boxed", [False, True])
@pytest.mark.parametrize("kind", ["add", "subtract", "multiply", "chain"])
def test_the_expression_of_the_question_is_no_answer(kind: str, boxed: bool) -> None:
    for task in arithmetic(kinds=kind, size=20, boxed=boxed):
        expression = question(task).removeprefix("What is ").removesuffix("?")
        form = f"\\boxed{{{expression}}}" if boxed else f"Answer: {expression}"
        assert not score_now(task, Completion(text=form)).passed


@pytest.mark.parametrize("stated", ["Answer: 42", "The answer is 42.", "**Answer:** 42", "so the final answer: $42$"])
def test_usual_ways_to_state_a_number_are_understood(stated: str) -> None:
    task = next(task for task in arithmetic(kinds="add", size=1000) if task.answer == "42")
    assert score_now(task, Completion(text=stated)).passed


@pytest.mark.parametrize(
    "stated", ["42", "Answer: 42 or 43", "Answer: 40 + 2", "Answer: 4\n2", "Answer: 42?", "answering 42"]
)
def test_what_states_no_single_number_is_refused(stated: str) -> None:
    task = next(task for task in arithmetic(kinds="add", size=1000) if task.answer == "42")
    assert not score_now(task, Completion(text=stated)).passed


@pytest.mark.parametrize("kind", KINDS)
def test_train_and_eval_share_no_question_whatever_the_seeds(kind: str) -> None:
    seen = {question(task) for seed in range(4) for task in arithmetic(kinds=kind, size=60, seed=seed)}
    held_out = {question(task) for seed in range(4) for task in arithmetic(kinds=kind, size=60, seed=seed, split="eval")}
    assert not seen & held_out


def test_a_swapped_sum_stays_on_its_side() -> None:
    def pairs(split: Any) -> set[tuple[str, ...]]:
        tasks = arithmetic(kinds="add", digits=1, size=10, split=split)
        return {tuple(sorted(re.findall(r"\d+", question(task)))) for task in tasks}

    assert not pairs("train") & pairs("eval")


def test_tasks_differ_within_a_set_and_a_shorter_set_is_its_beginning() -> None:
    tasks = list(arithmetic(size=500, seed=3))
    assert len({question(task) for task in tasks}) == len({task.id for task in tasks}) == 500
    assert list(arithmetic(size=50, seed=3)) == tasks[:50]
    assert list(arithmetic(size=50, seed=4)) != tasks[:50]


def test_the_first_tasks_of_a_seed_never_change() -> None:
    assert [question(task) for task in arithmetic(kinds=["add", "largest"], size=2, seed=0)] == [
        "What is 53 + 60?",
        "What is the largest of these numbers: 66, 83, 99, 52, 10, 22?",
    ]


def test_knobs_are_kept() -> None:
    task = arithmetic(kinds="largest", size=1, digits=3, terms=5, template="Q: {question}", system="Be brief.")[0]
    numbers = re.findall(r"\d+", question(task))
    assert [len(number) for number in numbers] == [3] * 5
    assert task.prompt[0] == {"role": "system", "content": "Be brief."}
    assert str(task.prompt[1]["content"]).startswith("Q: What is the largest")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kinds": "addd"}, "no kind 'addd'"),
        ({"kinds": []}, "`kinds` is empty"),
        ({"digits": 0}, "digits 0"),
        ({"digits": [3, 1]}, r"digits \[3, 1\]"),
        ({"terms": 1}, "terms 1"),
        ({"template": "no hole"}, "no {question}"),
        ({"kinds": "add", "digits": 1, "size": 1000}, "only .* of 1000 tasks.*raise digits"),
        ({"kinds": "median", "terms": 2}, "no new 'median' problem"),
    ],
)
def test_knobs_that_cannot_work_say_why(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(TaskError, match=words):
        arithmetic(**arguments)


def test_a_slice_is_still_lazy_and_right() -> None:
    tasks = arithmetic(size=100)
    assert list(tasks[10:20:3]) == [tasks[10], tasks[13], tasks[16], tasks[19]]
    assert tasks[-1] == tasks[99]
    with pytest.raises(IndexError):
        tasks[100]
