"""Runs a program against a gold and says how it went. Expected values stay in this process; boxes get inputs, one at a time."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import cast

from rlvr_sandbox import Call, Lender, LentBox, Outcome, Program, Result, SandboxError
from rlvr_verifiers.code.answer import Gold, StdioCase
from rlvr_verifiers.code.asserts import FunctionCase
from rlvr_verifiers.code.compare import Rules, same, same_output, shown

_CHECK_SLACK_S = 1.0
_CANNOT_GO_ON = ("timeout", "memory", "crash", "output_limit")


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    reason: str
    """`ok`, or the reason of the first failure."""
    explanation: str
    passed: int
    cases: int
    """Cases that were run or would have been."""
    cpu_s: float
    wall_s: float
    peak_memory_mb: float
    events: tuple[str, ...]


class _Tally:
    """What all boxes of one program add up to."""

    def __init__(self, cases: int) -> None:
        self.cases = cases
        self.passed = 0
        self._first: tuple[str, str] | None = None
        self._results: list[Result] = []

    def fail(self, reason: str, explanation: str) -> None:
        self._first = self._first or (reason, explanation)

    def used(self, result: Result) -> None:
        self._results.append(result)

    def verdict(self) -> Verdict:
        reason, explanation = self._first or ("ok", f"{self.passed} of {self.cases} cases")
        results = self._results
        return Verdict(
            reason=reason,
            explanation=explanation,
            passed=self.passed,
            cases=self.cases,
            cpu_s=sum(result.cpu_s for result in results),
            wall_s=sum(result.wall_s for result in results),
            peak_memory_mb=max((result.peak_memory_mb for result in results), default=0.0),
            events=tuple(event for result in results for event in result.events),
        )


def judge(sandbox: Lender, gold: Gold, source: str, *, rules: Rules, every_case: bool, seed: bytes) -> Verdict:
    """Stops at the first failure unless `every_case`. `seed` orders the cases. Raises SandboxError where a box failed us."""
    if gold.check:
        return _judge_check(sandbox, gold, source)
    order = list(range(len(gold.cases)))
    random.Random(seed).shuffle(order)
    if gold.style == "stdio":
        return _judge_stdio(sandbox, gold, source, order, every_case)
    return _judge_calls(sandbox, gold, source, order, rules, every_case)


def _program(gold: Gold, source: str) -> Program:
    return Program(
        source=source,
        mode=gold.style,
        entry_point=gold.entry_point,
        preamble=gold.preamble,
        language=gold.language,
        limits=gold.limits,
    )


def _reason(outcome: Outcome | Result) -> str:
    if isinstance(outcome, Outcome) and outcome.error_type == "early_exit":
        return "early_exit"
    return outcome.status


# -- functions ------------------------------------------------------------------------------------------------------------


def _judge_calls(sandbox: Lender, gold: Gold, source: str, order: Sequence[int], rules: Rules, every_case: bool) -> Verdict:
    """All cases in one box, so that a program may keep state, and one that changes its mind does not get away with it."""
    tally = _Tally(len(order))
    with sandbox.open(_program(gold, source)) as box:
        outcome = Outcome(status="ok")
        cases = [cast(FunctionCase, gold.cases[number]) for number in order]
        answers = box.calls(Call(args=case.args, kwargs=case.kwargs) for case in cases)
        for number, case, outcome in zip(order, cases, answers, strict=True):
            problem = _problem(gold, number, case, outcome, rules)
            if problem is None:
                tally.passed += 1
                continue
            if box.load().status != "ok":  # asked only now: to wait for it before the first call would cost a turn
                tally.fail(_reason(outcome), f"while it was loaded: {outcome.message}")
                break
            tally.fail(_reason(outcome) if outcome.status != "ok" else "mismatch", problem)
            if not every_case or box.outcome.status != "ok":
                break
        tally.used(box.result(outcome))
    return tally.verdict()


def _problem(gold: Gold, number: int, case: FunctionCase, outcome: Outcome, rules: Rules) -> str | None:
    if outcome.status == "ok" and same(case.expected, outcome.value, rules):
        return None
    named = [f"{name}={shown(value)}" for name, value in case.kwargs.items()]
    asked = f"case {number + 1}: {gold.entry_point}({', '.join([*map(shown, case.args), *named])})"
    if outcome.status != "ok":
        return f"{asked}: expected {shown(case.expected)}, got {outcome.message}"
    return f"{asked}: expected {shown(case.expected)}, got {shown(outcome.value)}"


# -- programs -------------------------------------------------------------------------------------------------------------


def _judge_stdio(sandbox: Lender, gold: Gold, source: str, order: Sequence[int], every_case: bool) -> Verdict:
    """A fresh box for each case; the wall limit is one budget for all of them, or each case would be worth a stall. What a case waited
    for a core is not counted there either."""
    tally = _Tally(len(order))
    program = _program(gold, source)
    budget = gold.limits.wall_s
    for number in order:
        case = cast(StdioCase, gold.cases[number])
        result = _run_case(sandbox, program, case, budget)
        tally.used(result)
        budget -= result.wall_s - result.waited_s
        if result.status == "ok" and same_output(case.stdout, result.stdout, gold.tolerance):
            tally.passed += 1
            continue
        asked = f"case {number + 1}: input {shown(_text(case.stdin))}: expected {shown(case.stdout)}"
        if result.status == "ok":
            tally.fail("mismatch", f"{asked}, got {shown(_text(result.stdout))}")
        else:
            tally.fail(_reason(result), f"{asked}, got {result.message}")
        if not every_case or budget <= 0:
            break
    return tally.verdict()


def _text(data: bytes) -> str:
    """As much of it as can be shown."""
    return data[:1000].decode("utf-8", "replace")


def _run_case(sandbox: Lender, program: Program, case: StdioCase, budget: float) -> Result:
    limits = program.limits
    one = min(budget, limits.case_wall_s or budget)
    return sandbox.run_now(
        dataclasses.replace(program, limits=dataclasses.replace(limits, wall_s=max(one, 0.001))), stdin=case.stdin
    )


# -- tests that are code --------------------------------------------------------------------------------------------------


def _judge_check(sandbox: Lender, gold: Gold, source: str) -> Verdict:
    """The test in one box, the program in another, and between them only calls and answers by value."""
    tally = _Tally(1)
    program = _program(gold, source)
    longer = dataclasses.replace(gold.limits, wall_s=gold.limits.wall_s + _CHECK_SLACK_S)
    check = Program(source=gold.check, mode="check", entry_point=gold.entry_point, preamble=gold.preamble, limits=longer)
    with sandbox.open_pair(program, check) as (box, checker):
        outcome = box.load()
        if outcome.status != "ok":
            tally.fail(_reason(outcome), f"while it was loaded: {outcome.message}")
        else:
            outcome = _mediate(box, checker, tally, gold.entry_point)
        tally.used(box.result(outcome))
    return tally.verdict()


def _mediate(box: LentBox, checker: LentBox, tally: _Tally, name: str) -> Outcome:
    """Carries each call over and each answer back until the test has a result. Returns the program's last outcome."""
    outcome = Outcome(status="ok")
    raised = answered = False
    asked = f"{name} was not called"
    while True:
        message = checker.next_message()
        match message:
            case ("call", int(number), args, kwargs):
                asked = f"last {name}({', '.join([*map(shown, args), *(f'{key}={shown(item)}' for key, item in kwargs.items())])})"
                outcome = box.call(args, kwargs)
                if outcome.status in _CANNOT_GO_ON or outcome.error_type == "early_exit":
                    tally.fail(_reason(outcome), f"{asked}: {outcome.message}")
                    return outcome
                raised = outcome.status != "ok"
                _answer(checker, number, outcome)
                answered = True
            case ("passed", 0):
                tally.passed = 1
                return outcome
            case ("failed", 0, str(kind), str(text)):
                if raised:
                    tally.fail(_reason(outcome), f"{asked}: {outcome.message}")
                else:
                    returned = "" if asked.endswith("called") else f" returned {shown(outcome.value)}"
                    tally.fail("mismatch", f"the check failed with {kind}{f': {text}' if text else ''}; {asked}{returned}")
                return outcome
            case None:
                ended = checker.outcome
                if not answered:
                    raise SandboxError(f"the box of the check ended before any answer, with {ended.status}: {ended.message}")
                # Right programs are known to pass the check, so it is what this one answered that ended it.
                tally.fail(_reason(ended), f"the check, after {asked}: {ended.message}")
                return outcome
            case _:
                raise SandboxError("the box of the check does not follow the protocol")


def _answer(checker: LentBox, number: int, outcome: Outcome) -> None:
    if outcome.status == "ok":
        checker.send("returned", number, outcome.value)
    elif outcome.status == "bad_value":
        checker.send("raised", number, "TypeError", outcome.message)
    else:
        checker.send("raised", number, outcome.error_type or "RuntimeError", outcome.message)
