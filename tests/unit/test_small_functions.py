"""Small functions: disjoint sides, demonstrations that do what the words say, and cases that tell a problem from its neighbours."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from rlvr_tasks.errors import TaskError
from rlvr_tasks.registry import load_tasks
from rlvr_tasks.sources.small_functions import OPERATIONS, RESULTS, Problem, cases_of
from rlvr_verifiers.types import Task


def load(**arguments: Any) -> list[Task]:
    return list(load_tasks({"source": "small_functions", "args": {"size": 80, **arguments}}))


def test_words_program_and_answers_of_one_problem() -> None:
    problem = Problem((("above", 3), ("multiply", 4)), "sum")
    assert problem.answer([3, 4, -5, 5]) == 36
    assert problem.program() == "def f(values):\n    return sum(v * 4 for v in values if v > 3)\n"
    later = Problem((("multiply", 4), ("above", 3)), "list")
    assert later.answer([0, 1, -2]) == [4]
    assert later.program() == "def f(values):\n    return [v * 4 for v in values if (v * 4) > 3]\n"


def test_sides_share_no_problem_whatever_the_seeds() -> None:
    train = {task.id for seed in (0, 1) for task in load(seed=seed)}
    held_out = {task.id for seed in (0, 1) for task in load(seed=seed, split="eval")}
    assert len(train) > 120
    assert not train & held_out
    prompts = {str(task.prompt) for task in load()}
    assert not prompts & {str(task.prompt) for task in load(split="eval")}


def test_a_set_is_the_start_of_a_longer_one_and_the_same_each_time() -> None:
    assert load(size=20) == load(size=60)[:20]
    assert load(seed=1) != load(seed=2)


@pytest.mark.parametrize("steps", [1, 2, 3, [1, 4]])
def test_no_constant_and_no_neighbour_has_the_answers_of_a_problem(steps: Any) -> None:
    for task in load(steps=steps, size=30):
        cases = json.loads(task.answer)["cases"]
        assert len(cases) == 8
        assert len({str(case["expected"]) for case in cases}) >= 3
        assert task.prompt[0]["content"].count("[") == 0  # no case is shown


def test_cases_hold_every_number_and_its_neighbours() -> None:
    problem = Problem((("above", 7), ("add", 2)), "list")
    assert {6, 7, 8} <= set(cases_of(problem)[1])
    for other in (Problem((("above", 8), ("add", 2)), "list"), Problem((("add", 2),), "list")):
        assert [other.answer(values) for values in cases_of(problem)] != [problem.answer(v) for v in cases_of(problem)]


def test_every_operation_and_result_is_used_in_every_wording() -> None:
    text = " ".join(str(task.prompt) for task in load(size=300))
    for operation in OPERATIONS.values():
        for words in operation.words:
            assert words.partition("{k}")[0] in text
    for words, _, _ in RESULTS.values():
        assert words in text
    plain = " ".join(str(task.prompt) for task in load(wording="plain"))
    assert "Increase each by" not in plain


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"steps": 5}, "within 1 and 4"),
        ({"steps": [2, 1]}, "within 1 and 4"),
        ({"results": "product"}, "no result 'product'"),
        ({"results": []}, "empty"),
        ({"size": 10_000, "steps": 1, "largest": 3, "results": "sum"}, "raise steps or largest"),
    ],
)
def test_arguments_that_cannot_work_are_named(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(TaskError, match=words):
        load(**arguments)


def test_a_problem_is_plain_data() -> None:
    problem = Problem((("add", 2),), "sum")
    assert dataclasses.replace(problem) == problem
    assert len(problem.key) == 64
