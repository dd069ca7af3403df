"""The code verifier pays no cheat: each program here earns exactly 0, which is neither a pass nor a failure of ours."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest

from rlvr_verifiers.registry import check_task
from rlvr_verifiers.scoring import score_now
from rlvr_verifiers.types import Completion, Score, Task
from tests.attack.code_cheats import CHEATS, GROUPS

LIMITS = {"wall_s": 1.5, "cpu_s": 1, "memory_mb": 256, "processes": 8}
INPUTS = (1, 2, 3, 12, 57)
CASES = [{"args": [n], "expected": n * 7919 + 104729} for n in INPUTS]


def code_task(answer: dict[str, Any], **arguments: Any) -> Task:
    prompt = ({"role": "user", "content": "Write it."},)
    return Task(id="hidden", prompt=prompt, verifier="code", answer=json.dumps(answer), verifier_args=arguments)


def run(task: Task, source: str) -> Score:
    return score_now(task, Completion(text=f"Here:\n```python\n{source}\n```\n"))


FUNCTION = code_task({"style": "function", "entry_point": "answer", "cases": CASES, "limits": LIMITS})


def test_the_task_can_be_solved() -> None:
    assert check_task(FUNCTION) is None
    assert run(FUNCTION, "def answer(n): return n * 7919 + 104729").passed


def test_no_two_groups_share_a_name() -> None:
    assert len(CHEATS) == sum(map(len, GROUPS.values()))


@pytest.mark.usefixtures("verifier_sandbox")
@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_earns_nothing(name: str) -> None:
    score = run(FUNCTION, CHEATS[name])
    assert (score.value, score.passed) == (0.0, False), score
    assert score.reason not in ("ok", "sandbox_error", "verifier_error", "no_answer")


SEARCH_MEMORY = """
import re
def answer(n):
    found = set()
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb") as memory:
        for line in maps:
            low, high = (int(part, 16) for part in line.split()[0].split("-"))
            try:
                memory.seek(low)
                found.update(re.findall(rb"canary-[0-9a-f]{16}", memory.read(min(high - low, 1 << 26))))
            except (OSError, OverflowError, ValueError):
                continue
    return sorted(found)[n % len(found)].decode() if found else "nothing found"
"""


def canary_task(prefix: str) -> Task:
    cases = [{"args": [n], "expected": f"canary-{secrets.token_hex(8)}"} for n in range(4)]
    return code_task({"style": "function", "entry_point": "answer", "cases": cases, "preamble": prefix})


@pytest.mark.usefixtures("verifier_sandbox")
def test_expected_values_are_not_in_the_memory_of_a_box() -> None:
    planted = canary_task("planted = b'canary-0123456789abcdef'\n")
    assert "canary-0123456789abcdef" in run(planted, SEARCH_MEMORY).explanation  # the search does find what is there
    for _ in range(2):  # nor do they get there through an earlier box
        score = run(canary_task(""), SEARCH_MEMORY)
        assert (score.value, "nothing found" in score.explanation) == (0.0, True), score


@pytest.mark.usefixtures("verifier_sandbox")
def test_what_another_program_answered_is_not_in_the_memory_of_a_box() -> None:
    def secret_task() -> Task:
        return code_task({"style": "function", "entry_point": "answer", "cases": [{"args": [0], "expected": "no"}]})

    for _ in range(4):
        run(secret_task(), f"def answer(n): return 'canary-{secrets.token_hex(8)}'")
    assert "nothing found" in run(secret_task(), SEARCH_MEMORY).explanation


CHECKS = {
    "literal": "def check(candidate):\n" + "".join(f"    assert candidate({n}) == {n * 7919 + 104729}\n" for n in INPUTS),
    "code": "def check(candidate):\n    for n in (1, 2, 3, 12, 57):\n        assert candidate(n) == n * 7919 + 104729\n",
    "tolerance": "def check(candidate):\n    for n in (1, 2, 57):\n        assert abs(candidate(n) - (n * 7919 + 104729)) < 1e-9\n",
}


@pytest.mark.parametrize("form", CHECKS)
def test_each_form_of_check_can_be_solved(form: str) -> None:
    task = code_task({"style": "function", "entry_point": "answer", "check": CHECKS[form], "limits": LIMITS})
    score = run(task, "def answer(n): return n * 7919 + 104729")
    assert score.passed, score


@pytest.mark.usefixtures("verifier_sandbox")
@pytest.mark.parametrize("form", ["code", "tolerance"])
@pytest.mark.parametrize("name", [name for name in CHEATS if name.startswith(("lying", "forgery", "exit", "theft"))])
def test_a_check_that_runs_as_code_is_not_cheated_either(form: str, name: str) -> None:
    task = code_task({"style": "function", "entry_point": "answer", "check": CHECKS[form], "limits": LIMITS})
    score = run(task, CHEATS[name])
    assert (score.value, score.passed) == (0.0, False), score
    assert score.reason not in ("ok", "sandbox_error", "verifier_error", "no_answer")


STDIO = code_task(
    {
        "style": "stdio",
        "cases": [{"stdin": f"{n}\n", "stdout": f"{n * 7919 + 104729}\nend\n"} for n in (1, 2, 3)],
        "limits": {**LIMITS, "stdout_bytes": 100_000},
    }
)
PRINT = "n = int(input())\n"
STDIO_CHEATS = {
    "prints nothing": "",
    "exits at once": "import sys; sys.exit(0)",
    "echoes its input": "print(input())\nprint('end')",
    "prints only the first line": PRINT + "print(n * 7919 + 104729)",
    "prints a line too much": PRINT + "print(n * 7919 + 104729); print('end'); print('and more')",
    "prints the lines in another order": PRINT + "print('end'); print(n * 7919 + 104729)",
    "prints nearly": PRINT + "print(n * 7919 + 104729 + 0.0000001); print('end')",
    "prints it as a float": PRINT + "print(float(n * 7919 + 104729)); print('end')",
    "prints with a leading blank line": PRINT + "print(); print(n * 7919 + 104729); print('end')",
    "prints several guesses on a line": PRINT + "print(*range(110000, 130000)); print('end')",
    "prints and then fails": PRINT + "print(n * 7919 + 104729); print('end', flush=True); 1 / 0",
    "prints and then exits with a status": PRINT + "print(n * 7919 + 104729); print('end'); exit(3)",
    "prints and then hangs": PRINT + "print(n * 7919 + 104729); print('end', flush=True)\nwhile True: pass",
    "prints and then dies": PRINT + "print(n * 7919 + 104729); print('end', flush=True); __import__('os').abort()",
    "prints it on standard error": PRINT + "import sys\nprint(n * 7919 + 104729, 'end', sep='\\n', file=sys.stderr)",
    "prints other case": PRINT + "print(n * 7919 + 104729); print('END')",
    "prints terminal codes": PRINT + "print('x\\b' + str(n * 7919 + 104729)); print('end')",
    "prints no UTF-8": PRINT + "import os\nos.write(1, b'%d\\nend\\xff\\n' % (n * 7919 + 104729))",
    "prints for ever": "while True: print('end' * 1000)",
    "knows the first example": "print(112648 if input() == '1' else 0); print('end')",
    "closes its output": "import os\nos.close(1)\nos.close(0)",
    "looks for a channel": "import os\nfor n in range(3, 64):\n    try: os.write(n, b'passed')\n    except OSError: pass",
}


def test_the_stdio_task_can_be_solved() -> None:
    assert run(STDIO, PRINT + "print(n * 7919 + 104729); print('end')").passed


@pytest.mark.usefixtures("verifier_sandbox")
@pytest.mark.parametrize("name", STDIO_CHEATS)
def test_a_program_that_does_not_print_the_answer_earns_nothing(name: str) -> None:
    score = run(STDIO, STDIO_CHEATS[name] + "\n#")
    assert (score.value, score.passed) == (0.0, False), score
    assert score.reason not in ("ok", "sandbox_error", "verifier_error", "no_answer")


def typed(expected: object, returned: str, **arguments: Any) -> Score:
    answer = {"style": "function", "entry_point": "f", "cases": [{"args": [], "expected": expected}]}
    return run(code_task(answer, **arguments), f"def f(): return {returned}")


@pytest.mark.parametrize(
    ("expected", "returned"),
    [
        (1, "True"),
        (0, "False"),
        (True, "1"),
        ([1, 2], "(1, 2)"),
        ("1", "1"),
        (1, "'1'"),
        ([], "()"),
        (False, "None"),
        ("", "None"),
        ({"a": 1}, "[('a', 1)]"),
        ({"a": [1]}, "{'a': (1,)}"),
        ([1], "{1}"),
        ("a", "['a']"),
        ("a", "b'a'"),
        (0.1, "0.1 + 1e-12"),
        ([1, [True]], "[1, [1]]"),
        (1.5, "'1.5'"),
        ([1, 2], "[2, 1]"),
        ({"a": 1}, "{'a': 1, 'b': 2}"),
        ([1], "[1, 1]"),
    ],
)
def test_types_and_values_are_compared_exactly(expected: object, returned: str) -> None:
    assert typed(expected, returned).reason == "mismatch"


def test_a_tuple_is_a_list_only_where_the_task_says_so() -> None:
    assert typed([1, [2]], "(1, (2,))", tuples_as_lists=True).passed


def test_a_tolerance_is_scaled_by_what_is_expected() -> None:
    answer = {"style": "function", "entry_point": "f", "float_tol": 1e-6, "cases": [{"args": [], "expected": 1000.0}]}
    assert run(code_task(answer), "def f(): return 1000.0009").passed
    assert not run(code_task(answer), "def f(): return 1000.0011").passed
    for wild in ("1e300", "float('inf')", "float('nan')", "10 ** 400", "-1000.0"):
        assert not run(code_task(answer), f"def f(): return {wild}").passed, wild
