"""`reasoning_gym`: reasoning-gym's own scorers, for tasks with many right answers, in a box that can be killed.

    answer: {"name": "sudoku", "entry": {"question": ..., "answer": ..., "metadata": {...}}}

The answer is what stands behind the last "Answer:" of the reply, over as many lines as it takes. 1 only where the scorer says 1: its small
shares are paid for any text. The sets are a list: those whose scorers neither execute the answer (in the box, too, such an answer could
write its own score) nor accept what is no answer (`tests/contract/test_task_source_contract.py` tries all of them).
"""

from __future__ import annotations

import functools
import os
import re
import threading
from typing import Any, cast

from rlvr_sandbox import Limits, Outcome, Program, Sandbox, SandboxError, backend_from_environment
from rlvr_sandbox.launch import Interpreter
from rlvr_sandbox.sandbox import close_at_exit
from rlvr_verifiers.arguments import ArgumentReader, clip
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.response import final_text
from rlvr_verifiers.strict_json import JsonError, loads
from rlvr_verifiers.types import Completion, Score, Task

MAX_ANSWER = 10_000
"""Characters."""
LIMITS = Limits(wall_s=4.0, cpu_s=4.0, processes=4)

SCORED = frozenset(
    {
        "ab", "advanced_geometry", "arc_1d", "complex_arithmetic", "cryptarithm", "emoji_mystery", "figlet_font",
        "futoshiki", "group_anagrams", "jugs", "kakurasu", "letter_jumble", "list_functions", "manipulate_matrix", "mini_sudoku",
        "modulo_grid", "number_filtering", "number_format", "palindrome_generation", "palindrome_partitioning", "path_star",
        "pool_matrix", "power_function", "prime_factorization", "quantum_lock", "rotate_matrix", "sentence_reordering",
        "sudoku", "survo", "time_intervals", "tower_of_hanoi", "tsumego", "word_ladder", "word_sequence_reversal", "word_sorting",
    }
)  # fmt: skip
"""Sets whose own scorers are used."""

_PROGRAM = """
import warnings
warnings.simplefilter("ignore")
import reasoning_gym

def score(name, answer, entry):
    return float(reasoning_gym.get_score_answer_fn(name)(answer, entry))
"""
_MARK = re.compile("answer:", re.IGNORECASE | re.ASCII)


class ReasoningGym:
    effects = frozenset({"files", "processes"})  # the sandbox's
    reasons = frozenset({"ok", "mismatch", "no_answer", "too_large", "malformed", "timeout", "crash", "sandbox_error"})
    built_on = ("rlvr_sandbox", "reasoning_gym")

    def prepare(self) -> None:
        """Starts the sandbox. Raises VerifierError where it or the package cannot be had in it."""
        try:
            found = _scored("ab", "", {"answer": "A", "question": "", "metadata": {}})
        except SandboxError as error:
            raise VerifierError(f"verifier 'reasoning_gym': {error}") from error
        if found.status != "ok":
            raise VerifierError(
                f"verifier 'reasoning_gym' cannot run its scorers ({clip(found.message, 120)}); pip install 'rlvr[gym]', and use a "
                "sandbox on this machine"
            )

    def own_deadline_s(self, task: Task) -> float:
        return 2 * LIMITS.longest_s + 30.0

    def check_task(self, task: Task) -> str | None:
        ArgumentReader("reasoning_gym", task.verifier_args).finish()
        read_entry(task.answer)
        return None

    def score(self, task: Task, completion: Completion) -> Score:
        ArgumentReader("reasoning_gym", task.verifier_args).finish()
        name, entry = read_entry(task.answer)
        text = final_text(completion) or ""
        answer = _stated(text)
        if not answer or completion.finish_reason == "length":
            return _refused("no_answer", 'nothing stands behind "Answer:"')
        if len(answer) > MAX_ANSWER:
            return _refused("too_large", f"the answer has {len(answer)} characters, over {MAX_ANSWER}")
        try:
            found = _scored(name, answer, entry)
        except SandboxError as error:
            return Score(value=None, passed=False, reason="sandbox_error", explanation=str(error))
        match found.status:
            case "ok" if isinstance(found.value, float):
                passed = found.value >= 1.0
                explanation = f"its scorer says {found.value:g}"
                return Score(
                    value=float(passed),
                    passed=passed,
                    reason="ok" if passed else "mismatch",
                    explanation=explanation,
                    parsed=answer,
                )
            case "error":
                return _refused("malformed", f"its scorer raises {clip(found.error_type, 60)}", answer)
            case "timeout":
                return _refused("timeout", "its scorer was stopped", answer)
            case _:
                return _refused("crash", f"its scorer ended with {found.status}", answer)


def _stated(text: str) -> str:
    """What stands behind the last mark, or nothing. Searched in the text itself: a lower-case copy may have another length."""
    ends = [match.end() for match in _MARK.finditer(text)]
    return text[ends[-1] :].strip() if ends else ""


def gold_completion(task: Task) -> Completion:
    return Completion(text=f"Answer: {read_entry(task.answer)[1]['answer']}")


@functools.lru_cache(maxsize=1024)
def read_entry(answer: str) -> tuple[str, dict[str, Any]]:
    """The set and its entry. Raises VerifierError where the gold is not that."""
    try:
        data: Any = loads(answer)
    except JsonError as error:
        raise VerifierError(f"the answer of a reasoning_gym task is not strict JSON: {error}") from None
    fields = cast("dict[str, Any]", data) if isinstance(data, dict) else {}
    name, entry = fields.get("name"), fields.get("entry")
    if not isinstance(entry, dict) or not isinstance(cast("dict[str, Any]", entry).get("answer"), str):
        raise VerifierError("the answer of a reasoning_gym task is no object of name and entry, with its answer as text")
    if name not in SCORED:
        raise VerifierError(
            f"the scorer of reasoning-gym's {clip(repr(name), 40)} is not used; those that are: {', '.join(sorted(SCORED))}"
        )
    return str(name), cast("dict[str, Any]", entry)


def _scored(name: str, answer: str, entry: dict[str, Any]) -> Outcome:
    """A box of its own for every answer: nothing that one does is seen by the next."""
    program = Program(source=_PROGRAM, mode="function", entry_point="score", limits=LIMITS)
    with _sandbox().open(program) as box:
        return box.call((name, answer, entry))


_shared: dict[int, Sandbox] = {}
_lock = threading.Lock()
close_at_exit(_shared)


def _sandbox() -> Sandbox:
    """This process's own, with the package imported once; it sees the installed packages, which the other one hides."""
    with _lock:
        pid = os.getpid()
        if pid not in _shared:
            _shared.clear()
            interpreter = Interpreter(site_packages=True, preload=("reasoning_gym",))
            _shared[pid] = Sandbox(backend_from_environment(), interpreter=interpreter, zygotes=2)
        return _shared[pid]


def _refused(reason: str, explanation: str, parsed: str | None = None) -> Score:
    return Score(value=0.0, passed=False, reason=reason, explanation=explanation, parsed=parsed)
