"""The code verifier at work: which cases are run, in which order, what a failure says, and whose failure it is."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from rlvr_sandbox import Sandbox, SandboxError
from rlvr_verifiers.code import judge, verifier
from rlvr_verifiers.pool import VerifierPool
from rlvr_verifiers.registry import version_of
from rlvr_verifiers.scoring import score_now
from rlvr_verifiers.types import Completion, Score, Task

CASES = [{"args": [n, "ab\x1b"], "expected": [n, 2 * n]} for n in range(1, 9)]
FUNCTION: dict[str, Any] = {"style": "function", "entry_point": "f", "cases": CASES}
RIGHT = "def f(n, text): return [n, 2 * n]"


def task(answer: dict[str, Any], **arguments: Any) -> Task:
    prompt = ({"role": "user", "content": "Write it."},)
    return Task(id="t", prompt=prompt, verifier="code", answer=json.dumps(answer), verifier_args=arguments)


def fenced(source: str) -> Completion:
    return Completion(text=f"```python\n{source}\n```")


def run(answer: dict[str, Any], source: str, **arguments: Any) -> Score:
    return score_now(task(answer, **arguments), fenced(source))


def test_a_failing_case_is_told_with_input_expected_and_got() -> None:
    score = run(FUNCTION, "def f(n, text): return [n, 2 * n if n != 5 else 'x' * 10_000]")
    assert score.explanation.startswith("case 5: f(5, 'ab\\x1b'): expected [5, 10], got [5, 'xxxx")
    assert len(score.explanation) < 400
    score = run(FUNCTION, "def f(n, text): return [n, 2 * n] if n != 5 else 1 / 0")
    assert score.explanation == "case 5: f(5, 'ab\\x1b'): expected [5, 10], got ZeroDivisionError: division by zero"
    stdio = {"style": "stdio", "cases": [{"stdin": "7\n", "stdout": "14\n"}]}
    assert run(stdio, "print(15)").explanation == "case 1: input '7\\n': expected '14\\n', got '15\\n'"
    assert "expected '14\\n', got exit status 1: ValueError: no" in run(stdio, "raise ValueError('no')").explanation
    check = {"style": "function", "entry_point": "f", "check": "for n in range(3):\n    assert f(n) == n, 'not itself'"}
    assert run(check, "def f(n): return 0").explanation == (
        "the check failed with AssertionError: not itself; last f(1) returned 0"
    )
    assert "last f(1): ZeroDivisionError" in run(check, "def f(n): return n // (1 - n)").explanation


@pytest.mark.parametrize("fraction", [False, True])
@pytest.mark.parametrize(
    ("source", "reason", "explanation"),
    [
        ("raise ValueError('early')", "error", "while it was loaded: ValueError: early"),
        ("def g(n, text): return 1", "error", "while it was loaded: NameError: the program defines no function 'f'"),
        ("def f(n, text): return (", "error", "while it was loaded: SyntaxError: '(' was never closed"),
        ("import os\nos._exit(0)", "early_exit", "while it was loaded: left with status 0 before it answered"),
        ("while True: pass", "timeout", "while it was loaded: stopped after"),
    ],
)
def test_a_program_that_does_not_load_is_told_so_once(source: str, reason: str, explanation: str, fraction: bool) -> None:
    score = run({**FUNCTION, "limits": {"wall_s": 0.5}}, source, fraction=fraction)
    assert (score.value, score.reason) == (0.0, reason)
    assert score.explanation.startswith(explanation), score


def test_a_program_that_dies_in_a_case_is_told_the_case() -> None:
    score = run(FUNCTION, "import os\ndef f(n, text): return [n, 2 * n] if n != 5 else os._exit(0)", fraction=True)
    assert score.reason == "early_exit"
    assert "case 5: f(5, 'ab\\x1b'): expected [5, 10], got left with status 0" in score.explanation


def test_the_first_failure_ends_the_run_unless_a_fraction_is_asked_for() -> None:
    source = "def f(n, text): return [n, 2 * n] if n <= 6 else None"
    first, share = run(FUNCTION, source), run(FUNCTION, source, fraction=True)
    assert (first.value, first.passed) == (0.0, False)
    assert first.metrics["cases_passed"] < 8
    assert (share.value, share.passed, share.metrics["cases_passed"]) == (0.75, False, 6.0)
    assert run(FUNCTION, RIGHT, fraction=True).value == 1.0


ORDER = (
    "seen = []\ndef f(n, text):\n    seen.append(n)\n    if len(seen) == 8: raise ValueError(seen)\n    return [n, 2 * n]"
)
PRINT_ORDER = """
import json, sys
from tests.contract.test_code_judge import FUNCTION, ORDER, run
print(run(FUNCTION, ORDER).explanation.partition("ValueError")[2])
"""


def test_the_order_of_cases_differs_between_runs_and_repeats_for_a_seed() -> None:
    def order(seed: str | None) -> str:
        kept = {name: value for name, value in os.environ.items() if name != verifier.SEED_VARIABLE}
        environment = kept if seed is None else {**kept, verifier.SEED_VARIABLE: seed}
        command = [sys.executable, "-c", PRINT_ORDER]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    seeded = [order("7"), order("7"), order("8")]
    assert seeded[0] == seeded[1] != seeded[2]
    assert sorted(json.loads(seeded[0].strip(": \n"))) == list(range(1, 9))
    assert order(None) != order(None)


class Unlucky:
    """A sandbox whose boxes fail us now and then."""

    def __init__(self, sandbox: Sandbox, failures: int) -> None:
        self._sandbox = sandbox
        self.failures = failures
        self.opened = 0

    @contextmanager
    def open(self, program: Any) -> Iterator[Any]:
        self.opened += 1
        if self.failures:
            self.failures -= 1
            raise SandboxError("the box was struck by lightning")
        with self._sandbox.open(program) as box:
            yield box


@pytest.mark.parametrize(("failures", "value", "reason"), [(1, 1.0, "ok"), (2, None, "sandbox_error")])
def test_our_failure_is_tried_again_and_never_a_zero(
    monkeypatch: pytest.MonkeyPatch, failures: int, value: float | None, reason: str
) -> None:
    unlucky = Unlucky(verifier.shared_sandbox(), failures)
    monkeypatch.setattr(verifier, "shared_sandbox", lambda: unlucky)
    score = run(FUNCTION, RIGHT)
    assert (score.value, score.passed, score.reason, unlucky.opened) == (value, value == 1.0, reason, 2)


def test_a_program_that_fills_the_box_of_its_check_earns_nothing() -> None:
    check = "kept = []\nfor n in range(10**6):\n    kept.append(f(n))\n    assert kept[-1][0] == n"
    answer = {"style": "function", "entry_point": "f", "check": check, "limits": {"memory_mb": 128, "wall_s": 20}}
    score = run(answer, "def f(n): return [n] + ['x' * 500_000]")
    assert (score.value, score.passed) == (0.0, False), score


CRASH = "import faulthandler\nif {}: faulthandler._read_null()\nassert f(2)"


@pytest.mark.parametrize(
    ("check", "source", "reason"),
    [
        ("assert f(1) > 0", "def f(n): raise EOFError", "error"),
        ("assert f(1) > 0", "def f(n): return int(input())", "error"),
        ("g = [f(1)]\nassert f(g * 9)", "def f(n): return 'x' * 1_000_000", "bad_value"),
        (CRASH.format("f(1) == 7"), "def f(n): return 7", "crash"),
    ],
)
def test_no_answer_ends_a_check_so_that_nothing_is_scored(check: str, source: str, reason: str) -> None:
    answer = {"style": "function", "entry_point": "f", "check": check, "limits": {"value_bytes": 2_000_000}}
    score = run(answer, source)
    assert (score.value, score.passed, score.reason) == (0.0, False, reason), score


@pytest.mark.parametrize("check", [CRASH.format("True"), "while True: pass\nassert f(1)"])
def test_a_check_that_ends_before_any_answer_is_our_failure(check: str) -> None:
    limits = {"wall_s": 0.5}
    score = run({"style": "function", "entry_point": "f", "check": check, "limits": limits}, "def f(n): return 1")
    assert (score.value, score.reason) == (None, "sandbox_error"), score


def test_neither_clock_runs_while_the_other_side_works() -> None:
    check = "import time\nfor n in range(3):\n    assert f(n) == n\n    time.sleep(0.6)"
    answer = {"style": "function", "entry_point": "f", "check": check, "limits": {"wall_s": 1.5}}
    score = run(answer, "import time\ndef f(n):\n    time.sleep(0.4)\n    return n")
    assert (score.value, score.reason) == (1.0, "ok"), score
    score = run(answer, "import time\ntime.sleep(1.3)\ndef f(n): return n")
    assert (score.value, score.reason) == (1.0, "ok"), score
    score = run(answer, "import time\ndef f(n):\n    time.sleep(0.8)\n    return n")
    assert (score.value, score.reason) == (0.0, "timeout"), score


def test_the_limits_of_the_task_decide_and_not_the_deadline_of_the_pool() -> None:
    """A program may use its whole time under a pool with a short deadline; one that stalls earns 0, by its own clock."""

    async def both() -> list[Score]:
        answer = {**FUNCTION, "cases": CASES[:1], "limits": {"wall_s": 1.5, "cpu_s": 10}}
        slow = f"import time\ntime.sleep(1)\n{RIGHT}"
        async with VerifierPool(2, 0.2, verifiers=["code"]) as pool:
            return list(
                await asyncio.gather(
                    pool.score(task(answer), fenced(slow)), pool.score(task(answer), fenced(slow.replace("1", "60", 1)))
                )
            )

    slow, stalled = asyncio.run(both())
    assert (slow.value, slow.reason) == (1.0, "ok")
    assert (stalled.value, stalled.reason) == (0.0, "timeout")


def test_the_version_follows_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    before = version_of("code")
    assert before != version_of("math")
    monkeypatch.setattr(verifier.Code, "built_on", ())
    from rlvr_verifiers import registry

    monkeypatch.setattr(registry, "_loaded", {})
    assert version_of("code") == version_of("math") != before


def test_a_judge_that_is_asked_for_seeds_gives_each_case_once() -> None:
    gold = verifier.read_answer(json.dumps(FUNCTION))
    verdict = judge.judge(verifier.shared_sandbox(), gold, RIGHT, rules=verifier.Rules(), every_case=False, seed=b"any")
    assert (verdict.reason, verdict.passed, verdict.cases) == ("ok", 8, 8)
