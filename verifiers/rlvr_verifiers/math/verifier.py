"""The `math` verifier: extract, read, compare, and say why in one word."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections import deque

from rlvr_verifiers.answers import MAX_ANSWER, Stated, stated_answer
from rlvr_verifiers.arguments import ArgumentReader, clip
from rlvr_verifiers.math.compare import check_value, compare
from rlvr_verifiers.math.parse import MAX_LENGTH, parse
from rlvr_verifiers.math.policy import CHOICES, DEFAULT, Policy
from rlvr_verifiers.math.tree import Collection, Node, UnreadableError
from rlvr_verifiers.response import MAX_SCANNED, after_reasoning, turn_text
from rlvr_verifiers.types import Completion, Score, Task

_NOTHING_STATED = "no complete \\boxed{}, ####, <answer>, 'Answer:' or bold last line after the reasoning"


class Math:
    reasons = frozenset({"ok", "no_answer", "unparsed", "hedge", "mismatch", "type_mismatch", "too_large", "verifier_error"})

    def check_task(self, task: Task) -> str | None:
        _arguments(task)
        gold = read_gold(task.answer)
        if isinstance(gold, UnreadableError):
            return f"the gold answer cannot be read: {gold}: {clip(task.answer, 80)!r}"
        return None

    def score(self, task: Task, completion: Completion) -> Score:
        text = turn_text(completion)
        policy, pattern = _arguments(task)
        truncated = completion.finish_reason != "stop"
        return verify(text or "", task.answer, policy=policy, pattern=pattern, truncated=truncated, question=_question(task))


def verify(
    response: str,
    gold: str,
    *,
    policy: Policy = DEFAULT,
    pattern: re.Pattern[str] | None = None,
    truncated: bool = False,
    tolerance: float | None = None,
    question: str = "",
) -> Score:
    """Judges the answer that a response states. Never raises; bounded in time whatever the text; thread-safe.

    gold: the answer alone. One that cannot be read gives value None: find it with `check_task` at load.
    policy: what counts as equal where that is a matter of taste; `tolerance` is a short way to set its tolerance alone.
    pattern: the task's own form of answer, the first group of its last match. It replaces the built-in search.
    truncated: the token limit ended the response, so an answer at its very end may be cut.
    question: the prompt. An answer that only repeats an expression of it is refused, unless the policy takes any form.
    """
    if tolerance is not None:
        policy = dataclasses.replace(policy, tolerance=tolerance)
    try:
        return _verdict(response, gold, policy, pattern, truncated, question)
    except Exception as error:  # a defect of ours must be seen, and must not cost a rollout
        explanation = f"a defect of the math verifier: {type(error).__name__}: {clip(str(error), 200)}"
        return Score(value=None, passed=False, reason="verifier_error", explanation=explanation)


def _verdict(
    response: str, gold: str, policy: Policy, pattern: re.Pattern[str] | None, truncated: bool, question: str
) -> Score:
    expected = read_gold(gold)
    if isinstance(expected, UnreadableError):
        explanation = f"the gold answer {clip(gold, 80)!r} cannot be read: {expected}"
        return Score(value=None, passed=False, reason="verifier_error", explanation=explanation)
    text = after_reasoning(response)
    stated = None if text is None else _stated(text, pattern, truncated)
    if stated is None:
        return _judged("no_answer", _NOTHING_STATED)
    shown = ", ".join(part[:200] for part in stated.parts)
    try:
        verdict = compare(expected, read_stated(stated), policy)
    except UnreadableError as problem:
        return _judged("hedge" if stated.hedged else problem.reason, f"{clip(shown, 100)!r}: {problem}", shown)
    if verdict == "ok" and question and policy.form == "number" and shown != gold:
        from rlvr_verifiers.math.restated import restates

        if restates(shown, gold, question):
            return _judged("type_mismatch", f"{clip(shown, 100)!r} stands in the question", shown)
    return _judged(verdict, f"{clip(shown, 100)!r} against the gold {clip(gold, 100)!r}", shown)


def _stated(text: str, pattern: re.Pattern[str] | None, truncated: bool) -> Stated | None:
    if pattern is None:
        return stated_answer(text, truncated=truncated)
    matches = deque(pattern.finditer(text[-MAX_SCANNED:]), maxlen=1)
    if not matches:
        return None
    last = matches[0]
    found = last[1] if pattern.groups else last[0]
    return Stated((found[: MAX_ANSWER + 1],)) if found else None


def read_stated(stated: Stated) -> Node:
    """One answer, or the list that several boxes make up. Raises UnreadableError."""
    if len(stated.parts) == 1:
        return parse(stated.parts[0])
    if sum(map(len, stated.parts)) > MAX_LENGTH:
        raise UnreadableError(f"boxes of more than {MAX_LENGTH} characters in all", "too_large")
    return Collection(tuple(parse(part) for part in stated.parts), alternatives=stated.hedged)


@functools.lru_cache(maxsize=8192)
def read_gold(gold: str) -> Node | UnreadableError:
    """A group of rollouts shares its gold, so it is read once. A failure is kept as a value, not raised."""
    try:
        node = parse(gold)
        check_value(node)
    except UnreadableError as problem:
        return problem.with_traceback(None)
    return node


def _arguments(task: Task) -> tuple[Policy, re.Pattern[str] | None]:
    """Raises VerifierError on an argument that is unknown or of the wrong kind."""
    if not task.verifier_args:
        return DEFAULT, None
    read = ArgumentReader("math", task.verifier_args)
    chosen = {name: read.one_of(name, allowed) for name, allowed in CHOICES.items()}
    tolerance = read.number("tolerance", 0.0, minimum=0.0)
    pattern = read.pattern("pattern")
    read.finish()
    return Policy(tolerance=tolerance, **chosen), pattern  # type: ignore[arg-type]


def _question(task: Task) -> str:
    """What the prompt's messages say, without those of the system."""
    contents = (message.get("content") for message in task.prompt if message.get("role") != "system")
    return "\n".join(content for content in contents if isinstance(content, str))


def _judged(reason: str, explanation: str, parsed: str | None = None) -> Score:
    passed = reason == "ok"
    return Score(value=float(passed), passed=passed, reason=reason, explanation=explanation, parsed=parsed)
