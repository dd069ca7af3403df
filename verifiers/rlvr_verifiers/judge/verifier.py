"""Rubric and pairwise verdicts as scores.

rubric      value (score - 1) / (highest - 1)
pairwise    value 1 where the completion wins in both orders, 0 where it loses in both, else 0.5; reason `disagreement` where
            the two orders name different winners: the judge then prefers a place, not an answer
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Generator, Mapping, Sequence

from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.judge.endpoint import JudgeError, Reply, ask, cost
from rlvr_verifiers.judge.options import ENGINE, Options, options_of
from rlvr_verifiers.judge.prompts import (
    Order,
    pairwise_messages,
    parse_score,
    parse_winner,
    rubric_messages,
)
from rlvr_verifiers.response import final_text
from rlvr_verifiers.types import Completion, Score, Task

LONGEST_TEXT = 40_000
"""Characters of a completion; a judge's own context is finite, and cutting would hide an end."""
SPARE_S = 5.0
"""For what is not the endpoint's doing: locks of the cache's files, a busy machine."""
OPINION: Mapping[str, float] = {"opinion": 1.0}
"""Goes wherever the score goes, so that nobody takes it for a fact."""


class Judge:
    reasons = frozenset(
        {"ok", "below", "loss", "tie", "disagreement", "no_answer", "too_large"}
        | {"judge_unreachable", "judge_refused", "judge_nonsense", "judge_busy"}
    )
    verifiable = False

    def check_task(self, task: Task) -> str | None:
        try:
            options_of(task)
        except VerifierError as error:
            return str(error)
        return None

    def own_deadline_s(self, task: Task) -> float:
        """It ends by its own time limit, whatever was sent to it or came back."""
        return options_of(task).timeout_s + SPARE_S

    def score(self, task: Task, completion: Completion) -> Score:
        options = options_of(task)
        if options.endpoint == ENGINE:
            said = f"endpoint {ENGINE!r} judges only while rlvr samples, and not as a part of `multi`; name a server here"
            return Score(value=None, passed=False, reason="judge_unreachable", explanation=said, metrics=OPINION)
        until = time.monotonic() + options.timeout_s
        talk = conversation(task, completion, options)
        try:
            question = next(talk)
            while True:
                try:
                    reply = ask(question.messages, options, until=until, usable=question.usable)
                except JudgeError as failure:
                    question = talk.throw(failure)
                else:
                    question = talk.send(reply)
        except StopIteration as end:
            return end.value


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    messages: Sequence[Mapping[str, str]]
    usable: Callable[[str], bool]
    """Whether a reply has a verdict."""


Conversation = Generator[Question, Reply, Score]
"""Yields what to ask, is sent the usable reply or thrown the JudgeError, and returns the score; who asks whom is not its business."""


def conversation(task: Task, completion: Completion, options: Options) -> Conversation:
    text = final_text(completion)
    if text is None or not text.strip():
        said = "the completion has no answer to judge"
        return Score(value=0.0, passed=False, reason="no_answer", explanation=said, metrics=OPINION)
    if len(text) > LONGEST_TEXT:
        said = f"the answer has {len(text)} characters, over {LONGEST_TEXT}"
        return Score(value=0.0, passed=False, reason="too_large", explanation=said, metrics=OPINION)
    text = text.encode("utf-8", "replace").decode()  # half surrogates cannot be sent
    try:
        return (yield from (_rubric if options.mode == "rubric" else _pairwise)(task, text, options))
    except JudgeError as failure:
        return Score(value=None, passed=False, reason=failure.reason, explanation=failure.text, metrics=OPINION)


def _rubric(task: Task, text: str, options: Options) -> Conversation:
    reply = yield Question(rubric_messages(task, text, options), lambda said: parse_score(said, options.highest) is not None)
    points = parse_score(reply.text, options.highest)
    assert points is not None
    passed = points >= options.pass_from
    return Score(
        value=(points - 1) / (options.highest - 1),
        passed=passed,
        reason="ok" if passed else "below",
        explanation=f"{options.model} gave {points} of {options.highest}, {options.pass_from} pass",
        parsed=str(points),
        metrics=_metrics([reply], options),
    )


def _pairwise(task: Task, text: str, options: Options) -> Conversation:
    replies: list[Reply] = []
    wins: list[float] = []
    orders: tuple[tuple[Order, str], ...] = (("answer first", "B"), ("completion first", "A"))
    for order, ours in orders:
        reply = yield Question(pairwise_messages(task, text, options, order), lambda said: parse_winner(said) is not None)
        winner = parse_winner(reply.text)
        replies.append(reply)
        wins.append(0.5 if winner == "TIE" else float(winner == ours))
    value = sum(wins) / 2 if sum(wins) in (0.0, 2.0) else 0.5
    disagreed = set(wins) == {0.0, 1.0}
    reason = {1.0: "ok", 0.0: "loss"}.get(value, "disagreement" if disagreed else "tie")
    return Score(
        value=value,
        passed=value == 1.0,
        reason=reason,
        explanation=f"{options.model}, completion against the task's answer: {wins[0]:g} as second, {wins[1]:g} as first",
        parsed=f"{wins[0]:g} {wins[1]:g}",
        metrics={**_metrics(replies, options), "disagreement": float(disagreed)},
    )


def _metrics(replies: list[Reply], options: Options) -> dict[str, float]:
    fresh = [reply for reply in replies if not reply.cached]
    return {
        **OPINION,
        "calls": float(len(fresh)),
        "cached": float(len(replies) - len(fresh)),
        "input_tokens": float(sum(reply.input_tokens for reply in fresh)),
        "output_tokens": float(sum(reply.output_tokens for reply in fresh)),
        "cost": sum(cost(reply, options) for reply in replies),
    }
