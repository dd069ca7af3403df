"""What the sandbox must not lose: right programs that use Python in ways a mock or a block list would break."""

from __future__ import annotations

import pytest

from rlvr_sandbox import Sandbox
from tests.attack.code_honest import FUNCTIONS, PROGRAMS
from tests.attack.test_sandbox_cheats import code_task, run

LIMITS = {"wall_s": 20, "cpu_s": 10, "memory_mb": 512}
CASES = [{"args": [n], "expected": n * 2} for n in (0, 3, 21)]
FUNCTION = code_task({"style": "function", "entry_point": "answer", "cases": CASES, "limits": LIMITS})
STDIO = code_task({"style": "stdio", "cases": [{"stdin": "1\n-5\n21\n", "stdout": "2\n-10\n42\n"}], "limits": LIMITS})
CHECK = code_task(
    {
        "style": "function",
        "entry_point": "answer",
        "check": "def check(candidate):\n    for n in range(5):\n        assert candidate(n) == n * 2",
        "limits": LIMITS,
    }
)


NOT_WITHOUT_NAMESPACES = ("processes",)
"""Semaphores with a name live in /dev/shm, which belongs to everybody where a box has no mounts of its own."""


def excused(sandbox: Sandbox, name: str) -> bool:
    return sandbox.backend == "landlock" and name in NOT_WITHOUT_NAMESPACES


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_honest_function_is_paid(verifier_sandbox: Sandbox, name: str) -> None:
    score = run(FUNCTION, FUNCTIONS[name])
    if excused(verifier_sandbox, name):
        assert "PermissionError" in score.explanation, score
        return
    assert score.passed, score
    assert "event_stray_frames" not in score.metrics


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_honest_function_is_paid_by_a_check_that_runs_as_code(verifier_sandbox: Sandbox, name: str) -> None:
    if excused(verifier_sandbox, name):
        return
    score = run(CHECK, FUNCTIONS[name])
    assert score.passed, score


@pytest.mark.usefixtures("verifier_sandbox")
@pytest.mark.parametrize("name", PROGRAMS)
def test_an_honest_program_is_paid(name: str) -> None:
    score = run(STDIO, PROGRAMS[name])
    assert score.passed, score


@pytest.mark.usefixtures("verifier_sandbox")
@pytest.mark.parametrize(
    ("expected", "returned"),
    [
        ({"a": 2}, "__import__('collections').Counter('aa')"),
        ({"a": [1]}, "__import__('collections').defaultdict(list, a=[1])"),
        ({"a": 1}, "__import__('collections').OrderedDict(a=1)"),
        (2.0, "2"),
        (2, "2.0"),
        ("é\u2028\U0001f600\x00", "'é\u2028\\U0001f600\\x00'"),
        (2**4000, "2 ** 4000"),
        (float("inf"), "float('inf')"),
        (float("nan"), "float('nan')"),
        ([1, [None, True, -0.5, "x"]], "[1, [None, True, -0.5, 'x']]"),
        (list(range(100_000)), "list(range(100000))"),
    ],
)
def test_a_right_value_is_accepted_whatever_it_is_made_of(expected: object, returned: str) -> None:
    answer = {"style": "function", "entry_point": "f", "cases": [{"args": [], "expected": expected}]}
    score = run(code_task(answer), f"def f(): return {returned}")
    assert score.passed, score


def test_what_the_prompt_promised_is_there() -> None:
    answer = {
        "style": "function",
        "entry_point": "area",
        "preamble": "from __future__ import annotations\nimport math\ndef square(x): return x * x\n",
        "cases": [{"args": [2.0], "expected": 12.566370614359172}],
    }
    assert run(code_task(answer), "def area(r: float): return math.pi * square(r)").passed


def test_a_check_may_expect_an_exception() -> None:
    check = (
        "def check(candidate):\n    try:\n        candidate(-1)\n    except ValueError:\n        return\n    assert False"
    )
    task = code_task({"style": "function", "entry_point": "root", "check": check})
    assert run(task, "import math\ndef root(n): return math.sqrt(n)").passed
    assert not run(task, "def root(n): raise KeyError(n)").passed
    assert not run(task, "def root(n): return 0").passed


def test_a_fraction_of_the_cases_is_paid_where_the_task_says_so() -> None:
    answer = {"style": "function", "entry_point": "answer", "cases": CASES, "limits": LIMITS}
    score = run(code_task(answer, fraction=True), "def answer(n): return 6 if n == 3 else 1 / n * 0")
    assert (score.value, score.passed) == (pytest.approx(1 / 3), False)
    assert run(code_task(answer), "def answer(n): return 6").value == 0.0
