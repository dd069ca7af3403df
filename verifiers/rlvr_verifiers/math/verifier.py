"""The `math` verifier: extract, read, compare, and say why in one word."""

from __future__ import annotations

import functools

from rlvr_verifiers.answers import Stated, stated_answer
from rlvr_verifiers.arguments import ArgumentReader, clip
from rlvr_verifiers.math.compare import check_value, compare
from rlvr_verifiers.math.parse import parse
from rlvr_verifiers.math.tree import Collection, Node, UnreadableError
from rlvr_verifiers.response import after_reasoning, turn_text
from rlvr_verifiers.types import Completion, Score, Task


class Math:
    reasons = frozenset({"ok", "no_answer", "unparsed", "hedge", "mismatch", "type_mismatch", "too_large", "verifier_error"})

    def check_task(self, task: Task) -> str | None:
        _tolerance(task)
        gold = _gold(task.answer)
        return (
            f"the gold answer cannot be read: {gold}: {clip(task.answer, 80)!r}"
            if isinstance(gold, UnreadableError)
            else None
        )

    def score(self, task: Task, completion: Completion) -> Score:
        text = turn_text(completion)
        truncated = completion.finish_reason != "stop"
        return verify(text or "", task.answer, truncated=truncated, tolerance=_tolerance(task))


def verify(response: str, gold: str, *, truncated: bool = False, tolerance: float = 0.0) -> Score:
    """Judges the answer that a response states. Never raises; bounded in time whatever the text; thread-safe.

    `gold` is the answer alone. `truncated`: the token limit ended the response, so an answer at its very end may be cut.
    `tolerance` is relative to the gold. A gold that cannot be read gives value None: find it with `check_task` at load.
    """
    expected = _gold(gold)
    if isinstance(expected, UnreadableError):
        explanation = f"the gold answer {clip(gold, 80)!r} cannot be read: {expected}"
        return Score(value=None, passed=False, reason="verifier_error", explanation=explanation)
    text = after_reasoning(response)
    stated = None if text is None else stated_answer(text, truncated=truncated)
    if stated is None:
        return _judged("no_answer", "no complete \\boxed{}, ####, <answer> or 'Answer:' after the reasoning")
    shown = ", ".join(part[:200] for part in stated.parts)
    try:
        verdict = compare(expected, _read(stated), tolerance=tolerance)
    except UnreadableError as problem:
        return _judged(problem.reason, f"{clip(shown, 100)!r}: {problem}", shown)
    return _judged(verdict, f"{clip(shown, 100)!r} against the gold {clip(gold, 100)!r}", shown)


def _read(stated: Stated) -> Node:
    """One answer, or the list that several boxes make up."""
    if len(stated.parts) == 1:
        return parse(stated.parts[0])
    return Collection(tuple(parse(part) for part in stated.parts), alternatives=stated.hedged)


@functools.lru_cache(maxsize=8192)
def _gold(gold: str) -> Node | UnreadableError:
    """A group of rollouts shares its gold, so it is read once. A failure is kept as a value, not raised."""
    try:
        node = parse(gold)
        check_value(node)
    except UnreadableError as problem:
        return problem.with_traceback(None)
    return node


def _tolerance(task: Task) -> float:
    if not task.verifier_args:
        return 0.0
    read = ArgumentReader("math", task.verifier_args)
    tolerance = read.number("tolerance", 0.0, minimum=0.0)
    read.finish()
    return tolerance


def _judged(reason: str, explanation: str, parsed: str | None = None) -> Score:
    passed = reason == "ok"
    return Score(value=float(passed), passed=passed, reason=reason, explanation=explanation, parsed=parsed)
