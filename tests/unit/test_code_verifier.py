"""The pure parts of the `code` verifier: finding the program, reading the gold, turning asserts into cases, comparing."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest

from rlvr_verifiers.code.answer import read_answer
from rlvr_verifiers.code.asserts import cases_of
from rlvr_verifiers.code.compare import Rules, same, same_output, shown
from rlvr_verifiers.code.extract import blocks, program_of
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.registry import check_task
from rlvr_verifiers.scoring import score_now
from rlvr_verifiers.types import Completion, Task


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("```python\na\n```", "a\n"),
        ("x\n```py\na\n```\ny\n```Python3\nb\n```\nz", "b\n"),
        ("```\na\n```", "a\n"),
        ("```python\na\n```\n```\nout\n```", "a\n"),
        ("```python\na\n```\n```bash\nls\n```", "a\n"),
        ("```bash\nls\n```", None),
        ("~~~python\na\n~~~", "a\n"),
        ("````python\n```\na\n````", "```\na\n"),
        ("  ```python\n  def f():\n      pass\n  ```", "def f():\n    pass\n"),
        ("```python\na", "a\n"),
        ("```python title='x'\r\na\r\n```\r\n", "a\r\n"),
        ("a `b` ```c``` d", None),
        ("", None),
        ("```python\n'''\n```inner\n'''\n```", "'''\n```inner\n'''\n"),
    ],
)
def test_the_program_is_the_last_block_of_its_language(text: str, source: str | None) -> None:
    found = program_of(text, "python")
    assert (found.source if found else None) == source


def test_an_open_block_is_known_as_open() -> None:
    assert [block.closed for block in blocks("```\na\n```\n```python\nb")] == [True, False]


@pytest.mark.parametrize("line", ["```" + " " * 30_000 + "`", "~" * 30_000 + "`", "```python" + " \t" * 15_000 + "`"])
def test_a_line_that_is_nearly_a_fence_is_read_once(line: str) -> None:
    begin = time.thread_time()
    assert blocks(line) == []
    assert time.thread_time() - begin < 1.0


def cases(check: str) -> Any:
    found = cases_of(check, "f")
    return found and [(case.args, dict(case.kwargs), case.expected) for case in found]


@pytest.mark.parametrize(
    ("check", "found"),
    [
        ("assert f(1, [2]) == {3}", [((1, [2]), {}, {3})]),
        ("assert f(a=-1) == (1,), 'message'\nassert 2 == f()", [((), {"a": -1}, (1,)), ((), {}, 2)]),
        (
            "METADATA = {'author': 'x'}\n\ndef check(candidate):\n"
            "    'Doc.'\n    assert True, 'x'\n    assert candidate('a') == None\n",
            [(("a",), {}, None)],
        ),
        ("import math\nassert f(1.5) == 1\n\ncheck(f)", [((1.5,), {}, 1)]),
        ("assert f(g(1)) == 2", None),
        ("assert abs(f(1) - 2) < 1e-6", None),
        ("assert f(1)", None),
        ("assert not f(1)", None),
        ("assert f(1) is True", None),
        ("assert f(*[1]) == 2", None),
        ("assert f(**{'a': 1}) == 2", None),
        ("assert f(1) == f(2)", None),
        ("assert f(1) == 2 == 2", None),
        ("assert f(1) == ...", None),
        ("x = 1\nassert f(x) == 2", None),
        ("for i in range(3):\n    assert f(i) == i", None),
        ("assert f(1) == 2\nassert f(1) != 3", None),
        ("def f(): return 1\nassert f() == 1", None),
        ("f = 1\nassert f(1) == 1", None),
    ],
)
def test_asserts_become_cases_where_all_is_literal(check: str, found: Any) -> None:
    assert cases(check) == found


@pytest.mark.parametrize("check", ["", "f(1)", "def check(candidate): pass", "assert f(1 == 2", "\x00"])
def test_a_check_that_tests_nothing_is_refused(check: str) -> None:
    with pytest.raises(VerifierError):
        cases_of(check, "f")


@pytest.mark.parametrize(
    ("check", "preamble"),
    [
        ("assert eval(f(1)) == 1", ""),
        ("exec(f(1))\nassert True == f(2)", ""),
        ("import pickle\nassert pickle.loads(f(1)) == 1", ""),
        ("from importlib import import_module as load\nassert load(f(1)).x == 1", ""),
        ("assert __import__(f(1)).x == 1", ""),
        ("import os\nassert os.system(f(1)) == 0", ""),
        ("from os import execv\nassert f(1) < 2", ""),
        ("from sympy import simplify\nassert simplify(f(1)) == 1", ""),
        ("assert value(f(1)) == 1", "def value(text):\n    return eval(text)\n"),
    ],
)
def test_a_check_that_could_run_an_answer_is_refused(check: str, preamble: str) -> None:
    answer = {"style": "function", "entry_point": "f", "check": check, "preamble": preamble}
    with pytest.raises(VerifierError, match="an answer could run as code") as refused:
        read_answer(json.dumps(answer))
    assert "\n" not in str(refused.value)


def test_a_check_that_only_computes_is_taken() -> None:
    check = (
        "import re, math, os\npattern = re.compile('a+')\nassert pattern.match(f(1)) and math.isclose(f(2), 2) and os.sep"
    )
    assert read_answer(json.dumps({"style": "function", "entry_point": "f", "check": check})).check == check


STRICT, PYTHON, LISTS = Rules(), Rules(bools_as_numbers=True), Rules(tuples_as_lists=True)


@pytest.mark.parametrize(
    ("expected", "actual", "rules", "verdict"),
    [
        (1, 1.0, STRICT, True),
        (1, True, STRICT, False),
        (1, True, PYTHON, True),
        ({1}, {True}, STRICT, False),
        ({1: 0}, {True: 0}, STRICT, False),
        ({1: 0}, {1: False}, PYTHON, True),
        ((1,), [1], STRICT, False),
        ((1,), [1], PYTHON, False),
        ([(1,)], ([1],), LISTS, True),
        ({1}, frozenset({1}), STRICT, False),
        ({1}, frozenset({1}), PYTHON, True),
        (math.nan, math.nan, STRICT, True),
        ([math.nan], [0.0], STRICT, False),
        (0.0, math.nan, STRICT, False),
        (0.0, -0.0, STRICT, True),
        (1.0, 1.0 + 1e-9, STRICT, False),
        (1.0, 1.0 + 1e-9, Rules(1e-6), True),
        (1e9, 1e9 + 1, Rules(1e-6), True),
        (1e-9, 2e-9, Rules(1e-6), True),
        (10**9, 10**9 + 1, Rules(1e-6), False),
        (10**9, 10.0**9 + 1, Rules(1e-6), True),
        (1.0, math.inf, Rules(1e-6), False),
        (math.inf, math.inf, Rules(1e-6), True),
        (math.inf, 1e308, Rules(1e-6), False),
        (1.0, 10**400, Rules(1e-6), False),
        (10**400, 10**400 + 1, Rules(1e-6), False),
        ("1", 1, Rules(1.0), False),
        (None, False, PYTHON, False),
        (b"a", "a", STRICT, False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, STRICT, True),
        ({"a": 1}, {"a": 1, "b": None}, STRICT, False),
        ({"a": None}, {"b": None}, STRICT, False),
        ([], {}, STRICT, False),
        ([1, 2], [1], STRICT, False),
    ],
)
def test_same(expected: object, actual: object, rules: Rules, verdict: bool) -> None:
    assert same(expected, actual, rules) is verdict


@pytest.mark.parametrize(
    ("expected", "actual", "tolerance", "verdict"),
    [
        ("1 2\n", b"1 2", 0, True),
        ("1 2", b"1 2 \r\n\n\n", 0, True),
        ("1 2", b"1  2", 0, False),
        ("1\n2", b"1 2", 0, False),
        ("1\n\n2", b"1\n2", 0, False),
        (" 1", b"1", 0, False),
        ("a", b"a\xff", 0, False),
        ("Yes", b"YES", 0, False),
        ("1.0", b"1.0000001", 0, False),
        ("1.0", b"1.0000001", 1e-6, True),
        ("1.0 x", b"1.0000001  x", 1e-6, True),
        ("1000000007", b"1000000008", 1e-6, False),
        ("1000000007", b"1000000008.0", 1e-6, True),
        ("7", b"+7", 1e-6, True),
        ("1.0", b"nan", 1e-6, False),
        ("1.0", b"1_0", 100, False),
        ("1.0", b"1.0 1.0", 1e-6, False),
        ("é", "é".encode(), 0, True),
    ],
)
def test_same_output(expected: str, actual: bytes, tolerance: float, verdict: bool) -> None:
    assert same_output(expected, actual, tolerance) is verdict


def test_any_value_can_be_shown() -> None:
    deep: Any = []
    for _ in range(60):
        deep = [deep]
    for value in (10**10_000, [10**10_000], deep, "x" * 10**6, {1: {2}}, math.nan):
        assert len(shown(value)) < 500


GOOD: dict[str, Any] = {"style": "function", "entry_point": "f", "cases": [{"args": [1], "expected": 2}]}
STDIO: dict[str, Any] = {"style": "stdio", "cases": [{"stdin": "1", "stdout": "2"}]}


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("", "JSON"),
        ("[]", "object"),
        ({}, "style"),
        ({**GOOD, "style": "main"}, "style"),
        ({**GOOD, "entrypoint": "f"}, "entry_point"),
        ({**GOOD, "entry_point": "f()"}, "name"),
        ({**GOOD, "entry_point": "class"}, "name"),
        ({**GOOD, "cases": []}, "cases"),
        ({**GOOD, "check": "assert f(1) == 2"}, "either"),
        ({**GOOD, "cases": [{"args": [1]}]}, "expected"),
        ({**GOOD, "cases": [{"args": 1, "expected": 1}]}, "args"),
        ({**GOOD, "cases": [{"args": [1], "expected": None}]}, "nothing"),
        ({**GOOD, "limits": {"wall": 1}}, "wall_s"),
        ({**GOOD, "limits": {"wall_s": -1}}, "positive"),
        ({**GOOD, "limits": {"processes": 1.5}}, "whole"),
        ({**GOOD, "limits": {"wall_s": True}}, "positive"),
        ({**GOOD, "float_tol": -1}, "float_tol"),
        ({**GOOD, "language": "cobol"}, "language"),
        ({**STDIO, "language": "sql"}, "language is 'sql'; known: python"),  # its fences are known, and no box runs it
        ({**STDIO, "language": ["python"]}, "language"),
        ({"style": "function", "entry_point": "f", "check": "print(f(1))"}, "assert"),
        ({"style": "function", "entry_point": "f", "check": "assert f(1) == None"}, "nothing"),
        ({**STDIO, "entry_point": "f"}, "entry_point"),
        ({**STDIO, "cases": [{"stdin": "1", "stdout": "\n"}]}, "output"),
        ({**STDIO, "cases": [{"stdin": 1, "stdout": "2"}]}, "texts"),
    ],
)
def test_an_answer_that_cannot_be_used_is_refused(answer: Any, problem: str) -> None:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    with pytest.raises(VerifierError, match=problem):
        read_answer(text)


def test_nulls_that_arrow_filled_in_are_absent() -> None:
    filled = {**GOOD, "check": None, "limits": None, "preamble": None, "float_tol": None, "language": None}
    filled["cases"] = [{"args": [1], "kwargs": None, "expected": 2}, {"args": [2], "expected": None}]
    gold = read_answer(json.dumps(filled))
    assert [case.expected for case in gold.cases if not isinstance(case, str)] == [2, None]  # type: ignore[union-attr]


def code_task(answer: dict[str, Any] = GOOD, **arguments: Any) -> Task:
    return Task(id="a", prompt=(), verifier="code", answer=json.dumps(answer), verifier_args=arguments)


@pytest.mark.parametrize(
    ("text", "finish", "reason"),
    [
        ("def f(n): return 2", "stop", "no_answer"),
        ("```python\n\n```", "stop", "no_answer"),
        ("<think>```python\ndef f(n): return 2\n```", "stop", "no_answer"),
        ("```python\ndef f(n): return 2", "length", "truncated"),
        ("x" * 100_001, "stop", "too_large"),
    ],
)
def test_a_completion_without_a_program_never_reaches_a_box(text: str, finish: Any, reason: str) -> None:
    score = score_now(code_task(), Completion(text=text, finish_reason=finish))
    assert (score.value, score.reason) == (0.0, reason)


def test_a_check_that_is_code_has_no_fraction() -> None:
    loop = {"style": "function", "entry_point": "f", "check": "for i in range(3):\n    assert f(i) == i"}
    assert check_task(code_task(loop)) is None
    assert "fraction" in (check_task(code_task(loop, fraction=True)) or "")
