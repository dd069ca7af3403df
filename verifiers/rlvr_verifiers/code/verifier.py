"""The `code` verifier: take the program out of the completion, run it in a box, compare out here, and say why in one word."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import secrets
from collections import Counter

from rlvr_sandbox import SandboxError, shared_sandbox
from rlvr_verifiers.arguments import ArgumentReader, clip
from rlvr_verifiers.code.answer import Gold, read_answer
from rlvr_verifiers.code.compare import Rules
from rlvr_verifiers.code.extract import program_of
from rlvr_verifiers.code.judge import Verdict, judge
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.protocol import MAX_EXPLANATION
from rlvr_verifiers.response import MAX_SCANNED, final_text
from rlvr_verifiers.types import Completion, Score, Task

SEED_VARIABLE = "RLVR_CODE_SEED"
_SALT = os.environ.get(SEED_VARIABLE, "").encode() or secrets.token_bytes(16)
"""The order of cases depends on it, so that a program cannot count on one. A run names its own, so that it can be repeated."""
_RETRY_S = 300.0
"""For getting boxes, twice: from a machine that swaps or is being suspended, or from a service that is busy."""


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    fraction: bool
    fence: str
    tuples_as_lists: bool


class Code:
    effects = frozenset({"files", "processes"})  # the sandbox's: boxes, and a new process for one that had to be replaced
    reasons = frozenset(
        {"ok", "mismatch", "error", "early_exit", "bad_value", "timeout", "memory", "output_limit", "crash"}
        | {"no_answer", "truncated", "too_large", "sandbox_error"}
    )

    built_on = ("rlvr_sandbox",)

    def own_deadline_s(self, task: Task) -> float:
        """Programs are stopped by the limits of their task; only we can make it take longer than two tries of these."""
        return 2 * read_answer(task.answer).limits.longest_s + _RETRY_S

    def check_task(self, task: Task) -> str | None:
        options, gold = _options(task), read_answer(task.answer)
        if options.fraction and gold.check:
            return "the check is code that passes or fails as a whole, so it has no fraction; leave `fraction` out"
        return None

    def prepare(self) -> None:
        """Starts the sandbox and has it attack itself, which takes longer than most programs."""
        try:
            shared_sandbox().walls()
        except SandboxError as error:
            raise VerifierError(f"verifier 'code': {error}") from error

    def score(self, task: Task, completion: Completion) -> Score:
        options, gold = _options(task), read_answer(task.answer)
        source = _source(completion, options, gold)
        if isinstance(source, Score):
            return source
        rules = Rules(gold.tolerance, options.tuples_as_lists, bools_as_numbers=gold.from_asserts)
        seed = hashlib.sha256(_SALT + f"{task.id}\0{source}".encode("utf-8", "surrogatepass")).digest()
        try:
            verdict = _judged_twice(gold, source, rules, options.fraction, seed)
        except SandboxError as error:
            return Score(value=None, passed=False, reason="sandbox_error", explanation=str(error))
        return _score(verdict, source, options.fraction)


def _judged_twice(gold: Gold, source: str, rules: Rules, every_case: bool, seed: bytes) -> Verdict:
    """A box that failed us once may have been unlucky. Raises SandboxError where the second fails, too."""
    sandbox = shared_sandbox()
    try:
        return judge(sandbox, gold, source, rules=rules, every_case=every_case, seed=seed)
    except SandboxError:
        return judge(sandbox, gold, source, rules=rules, every_case=every_case, seed=seed)


def _source(completion: Completion, options: Options, gold: Gold) -> str | Score:
    """The program, or the score of a completion that has none."""
    text = final_text(completion)
    if text is None:
        return _refused("no_answer", "the completion never left its reasoning")
    if len(text) > MAX_SCANNED:
        return _refused("too_large", f"the final turn has {len(text)} characters, over {MAX_SCANNED}")
    cut = completion.finish_reason == "length"
    block = program_of(text, gold.language)
    if block is None and options.fence == "optional" and text.strip():
        return _refused("truncated", "the program runs into the token limit") if cut else text
    if block is None or not block.source.strip():
        return _refused("no_answer", f"there is no fenced block of {gold.language}")
    if cut and not block.closed:
        return _refused("truncated", "the program runs into the token limit and may be incomplete")
    return block.source


def _score(verdict: Verdict, source: str, fraction: bool) -> Score:
    passed = verdict.reason == "ok"
    metrics = {
        "cases": float(verdict.cases),
        "cases_passed": float(verdict.passed),
        "cpu_s": verdict.cpu_s,
        "wall_s": verdict.wall_s,
        "peak_memory_mb": verdict.peak_memory_mb,
    }
    metrics.update({f"event_{name}": float(count) for name, count in Counter(verdict.events).items()})
    return Score(
        value=verdict.passed / verdict.cases if fraction else float(passed),
        passed=passed,
        reason=verdict.reason,
        explanation=clip(verdict.explanation, MAX_EXPLANATION),
        parsed=source,
        metrics=metrics,
    )


def _options(task: Task) -> Options:
    read = ArgumentReader("code", task.verifier_args)
    options = Options(
        read.flag("fraction", False), read.one_of("fence", ("required", "optional")), read.flag("tuples_as_lists", False)
    )
    read.finish()
    return options


def _refused(reason: str, explanation: str) -> Score:
    return Score(value=0.0, passed=False, reason=reason, explanation=explanation)
