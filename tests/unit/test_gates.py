"""Gates: what a condition may say, when it holds, and that a config cannot ask for what is not measured."""

from __future__ import annotations

from typing import Any

import pytest

from rlvr.config.load import parse_config
from rlvr.errors import RlvrError
from rlvr.gates import Condition
from rlvr.statistics import Estimate

MEASURED = {"eval.pass@1": Estimate(0.4, 0.3, 0.5, 100), "pairs.accuracy": Estimate(0.9, 0.8, 1.0, 50)}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("eval.pass@1 >= 0.4", True),
        ("eval.pass@1 > 0.4", False),
        ("eval.pass@1.low >= 0.35", False),
        ("eval.pass@1.high<0.6", True),
        (" pairs.accuracy <= .9 ", True),
    ],
)
def test_a_condition_compares_one_number(text: str, holds: bool) -> None:
    condition = Condition.parse(text)
    assert condition.holds(MEASURED) is holds
    assert ("yes" if holds else "no") in condition.verdict(MEASURED)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "eval.pass@1",
        "eval.pass@0 > 1",
        "eval.pass@1 == 1",
        "0.2 < eval.pass@1",
        "loss < 1",
        "eval.pass@1 > .",
        "__import__('os')",
    ],
)
def test_anything_else_is_no_condition(text: str) -> None:
    with pytest.raises(ValueError, match="is not a condition; write one comparison"):
        Condition.parse(text)


def config(**changed: Any) -> dict[str, Any]:
    tasks = [{"source": "arithmetic"}]
    return {
        "model": {"name": "m"},
        "stages": ["sft", "preference", "rl"],
        "sft": {"tasks": tasks, "steps": 1},
        "preference": {"tasks": tasks, "steps": 1, "held_out": tasks},
        "rl": {"tasks": tasks},
        "eval": {"tasks": tasks, "samples": 4},
        **changed,
    }


@pytest.mark.parametrize(
    "gates", [{}, {"sft": "eval.pass@4 > 0"}, {"preference": "pairs.accuracy.low > 0.5", "sft": "eval.pass@1 > 0.1"}]
)
def test_gates_that_can_be_decided(gates: dict[str, str]) -> None:
    assert dict(parse_config(config(continue_if=gates)).continue_if) == gates


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"continue_if": {"rl": "eval.pass@1 > 0"}}, "no stage comes after `rl`"),
        ({"continue_if": {"sft": "eval.pass@8 > 0"}}, r"up to eval\.samples=4"),
        ({"continue_if": {"sft": "eval.pass@3 > 0"}}, r"K is 1, 2, 4"),
        ({"continue_if": {"sft": "retention.pass@1 > 0"}}, r"needs eval\.retention"),
        ({"continue_if": {"sft": "eval.pass@1 > 0"}, "eval": None}, "needs an eval section"),
        ({"continue_if": {"sft": "pairs.accuracy > 0"}}, "measured by the preference stage"),
        ({"continue_if": {"sft": "better"}}, "is not a condition"),
        ({"stages": ["sft", "rl", "sft"]}, "each stage may stand once"),
        (
            {"adapter": {"kind": "full"}, "preference": {"tasks": [], "steps": 1, "reference": "base"}},
            "keeps no untrained base",
        ),
    ],
)
def test_what_cannot_be_decided_is_refused_when_the_config_is_read(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(RlvrError, match=said):
        parse_config(config(**changed))
