"""pass@k by source and the first failing case of each problem, from scores that come in one at a time."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from rlvr.errors import RlvrError
from rlvr.pass_rates import PassRates, parsed_ks
from rlvr_verifiers.types import Score

OK = Score(value=1.0, passed=True, reason="ok", explanation="2 of 2 cases")
WRONG = Score(value=0.0, passed=False, reason="mismatch", explanation="case 2: f(1): expected 2, got '\x1b[31m[red]'")
SILENT = Score(value=0.0, passed=False, reason="no_answer", explanation="there is no block")
BROKEN = Score(value=None, passed=False, reason="sandbox_error", explanation="no box")


def rates(**problems: list[Score]) -> PassRates:
    found = PassRates()
    for name, scores in problems.items():
        source, _, task = name.partition("_")
        for score in scores:
            found.add(task, source, score)
    return found


def shown(found: PassRates, **options: int) -> str:
    out = io.StringIO()
    found.show(Console(file=out, width=200), **options)
    return out.getvalue()


def test_pass_at_k_is_unbiased_by_source_and_over_all() -> None:
    found = rates(he_a=[OK, WRONG, WRONG, WRONG], he_b=[OK] * 4, mb_a=[WRONG] * 4)
    parts = {part.source: part for part in found.sources()}
    assert list(parts) == ["he", "mb", "all sources"]
    assert list(parts["he"].pass_at) == [1, 2, 4]
    assert parts["he"].pass_at[2].value == pytest.approx((0.5 + 1) / 2)  # 1 - C(3,2) / C(4,2), and 1
    assert parts["all sources"].pass_at[1].value == pytest.approx(1.25 / 3)
    assert parts["all sources"].pass_at[1].low < 1.25 / 3 < parts["all sources"].pass_at[1].high
    assert (parts["he"].problems, parts["he"].completions, parts["he"].solved) == (2, 8, 2)


def test_our_failures_are_in_no_rate_and_are_counted() -> None:
    [part] = rates(he_a=[OK, BROKEN], he_b=[BROKEN]).sources()
    assert (part.pass_at[1].value, part.problems, part.completions, part.verifier_failures) == (1.0, 1, 1, 2)
    assert "not scored" in shown(rates(he_a=[OK, BROKEN]))


def test_k_goes_to_the_fewest_completions_of_a_problem() -> None:
    uneven = rates(he_a=[OK] * 7, he_b=[WRONG] * 6)
    assert list(uneven.sources()[0].pass_at) == [1, 2, 4, 6]
    assert list(uneven.sources([1, 5])[0].pass_at) == [1, 5]
    with pytest.raises(RlvrError, match=r"pass@7 of he: a problem has only 6"):
        uneven.sources([7])


def test_the_least_solved_problem_comes_first_with_its_failing_case() -> None:
    found = rates(he_a=[OK, WRONG], he_b=[SILENT, WRONG], he_c=[OK, OK])
    assert [problem.id for problem in found.failures()] == ["b", "a"]
    assert found.failures()[0].first_failure == WRONG.explanation  # a case says more than silence, whichever came first
    text = shown(found)
    assert "2 problems with failures, 1 of them never solved" in text
    assert "b (he): 0 of 2 passed; no_answer 1, mismatch 1" in text
    assert "case 2: f(1): expected 2, got '\\x1b[31m[red]'" in text
    assert "\x1b" not in text
    assert "... and 1 more" in shown(found, failures=1)
    assert "problems with failures" not in shown(found, failures=0)


def test_json_holds_every_failure() -> None:
    data = json.loads(json.dumps(rates(he_a=[OK, WRONG], he_b=[OK, OK]).to_json()))
    assert data["sources"][0]["pass@2"]["n"] == 2
    [failure] = data["failures"]
    assert (failure["id"], failure["passed"], failure["samples"], failure["reasons"]) == ("a", 1, 2, {"mismatch": 1})


def test_nothing_scored_is_no_rate() -> None:
    assert rates(he_a=[BROKEN]).sources()[0].pass_at == {}
    assert "pass@" not in shown(rates(he_a=[BROKEN]))


@pytest.mark.parametrize("text", ["", "0", "1,x", "1,,2", "-1", "²"])
def test_ks_are_whole_numbers(text: str) -> None:
    with pytest.raises(RlvrError, match="--k"):
        parsed_ks(text)
    assert parsed_ks("10,1, 5") == (1, 5, 10)
