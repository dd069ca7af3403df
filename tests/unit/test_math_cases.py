"""The math verifier on every labelled pair of `verifiers/cases`."""

from __future__ import annotations

import json

import pytest

from rlvr_verifiers.math import Policy, parse, verify
from rlvr_verifiers.registry import check_task
from rlvr_verifiers.types import Task
from tests.unit.math_cases import HELD_BACK, cases, judge, names

FIELDS = {"kind", "gold", "answer", "response", "equal", "reason", "why", "args"}


@pytest.mark.parametrize("name", names())
def test_labelled_pairs(name: str) -> None:
    wrong = [
        (case, score.reason, score.explanation)
        for case in cases(name)
        if (score := judge(case)).passed != case["equal"]
        or score.value is None
        or case.get("reason", score.reason) != score.reason
    ]
    assert not wrong, wrong


@pytest.mark.parametrize("name", HELD_BACK)
def test_pairs_held_back_that_nobody_tunes_on(name: str) -> None:
    """No wrong answer may pass and few right ones may be refused.

    Each table was committed before the grammar that it first judged had seen it. At first sight 238 of 240, 162 of 167, 125 of
    131, 87 of 93, 461 of 486 and 595 of 599 pairs were judged as labelled, and no wrong answer was accepted in any. The classes
    behind the refusals were mended after each, so that the tables now guard against going back. Do not mend single cases: write
    a new table to judge the next change.
    """
    judged = [(case, judge(case)) for case in cases(name)]
    assert not [case for case, score in judged if score.passed and not case["equal"]]
    refused = [case for case, score in judged if case["equal"] and not score.passed]
    assert len(refused) <= 2, refused
    assert not [case for case, score in judged if case.get("reason", score.reason) != score.reason]


@pytest.mark.parametrize("name", [*names(), *HELD_BACK])
def test_cases_are_well_formed_and_their_golds_readable(name: str) -> None:
    rows = cases(name)
    for case in rows:
        assert case.keys() <= FIELDS, case
        assert ("answer" in case) != ("response" in case), case
        assert case["why"], case
        task = Task(id="case", prompt=(), verifier="math", answer=case["gold"], verifier_args=case.get("args", {}))
        assert check_task(task) is None, case
    assert len({json.dumps(case, sort_keys=True) for case in rows}) == len(rows)


def test_there_are_several_hundred_pairs_over_every_kind() -> None:
    every = [case for name in (*names(), *HELD_BACK) for case in cases(name)]
    kinds = {case["kind"] for case in every}
    assert len(every) >= 900
    assert 0.4 < sum(case["equal"] for case in every) / len(every) < 0.6
    assert kinds >= {
        *(
            "integers",
            "decimals",
            "fractions",
            "mixed numbers",
            "scientific notation",
            "percent",
            "money",
            "units",
            "degrees",
        ),
        *("times", "bases", "repeating decimals", "radicals", "powers", "logarithms", "trigonometry", "complex numbers"),
        *("expressions", "equations", "inequalities", "intervals", "sets", "lists", "tuples", "matrices", "choices", "text"),
        *("hedges", "truncated", "injections", "numbers only", "extraction", "unicode", "towers"),
    }


def test_every_gold_equals_itself_and_equality_of_values_is_symmetric_on_like_types() -> None:
    every = [case for name in (*names(), *HELD_BACK) for case in cases(name) if "answer" in case and not case.get("args")]
    values = Policy(form="any", decimals="exact")
    compared = 0
    for gold, answer in ((case["gold"], case["answer"]) for case in every[::3]):
        assert verify(rf"\boxed{{{gold}}}", gold).passed, gold
        turned = verify(rf"\boxed{{{gold}}}", answer, policy=values)
        if turned.value is not None and type(parse(gold)) is type(parse(answer)):
            assert turned.passed == verify(rf"\boxed{{{answer}}}", gold, policy=values).passed, (gold, answer)
            compared += 1
    assert compared > 300
