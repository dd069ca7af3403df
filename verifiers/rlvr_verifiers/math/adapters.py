r"""The call shapes of two other libraries, so that a call site changes nothing but its import.

Math-Verify:  `verify(parse(gold), parse(answer))`: both texts are read, then compared; the answer text may be a whole response.
TRL:          `accuracy_reward(completions, solution, **kwargs)`, a list of 1.0, 0.0 and None (gold that cannot be read).

Where they differ from what they stand in for: a text without a marked answer has none (there is no "last number"), except that
a text that is nothing but an answer is one; and several candidates are one answer, not several chances.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from rlvr_verifiers.answers import stated_answer
from rlvr_verifiers.math.compare import check_value, compare
from rlvr_verifiers.math.parse import parse as parse_answer
from rlvr_verifiers.math.policy import DEFAULT, Policy
from rlvr_verifiers.math.tree import Node, UnreadableError
from rlvr_verifiers.math.verifier import read_stated
from rlvr_verifiers.math.verifier import verify as verify_response
from rlvr_verifiers.response import after_reasoning

VALUES = Policy(form="any")
"""Math-Verify compares values: to it, `2^{10}` is 1024."""


@dataclasses.dataclass(frozen=True, slots=True)
class Parsed:
    """What `parse` gives and `verify` takes. False where nothing was found, as Math-Verify's empty list is."""

    text: str
    node: Node | None

    def __bool__(self) -> bool:
        return self.node is not None


def parse(text: str) -> Parsed:
    """The answer in a text: the marked one, or all of a text that is nothing but an answer. Never raises."""
    final = after_reasoning(text)
    if final is None:
        return Parsed("", None)
    stated = stated_answer(final, truncated=False)
    try:
        node = parse_answer(final) if stated is None else read_stated(stated)
    except UnreadableError:
        node = None
    return Parsed(final if stated is None else ", ".join(stated.parts), node)


def verify(gold: Parsed, answer: Parsed, *, policy: Policy = VALUES) -> bool:
    """Whether the answer is the gold; False where either was not read. Never raises."""
    if gold.node is None or answer.node is None:
        return False
    try:
        check_value(gold.node)
        return compare(gold.node, answer.node, policy) == "ok"
    except UnreadableError:
        return False


def accuracy_reward(
    completions: Sequence[str | Sequence[Mapping[str, str]]],
    solution: Sequence[str],
    *,
    policy: Policy = DEFAULT,
    **kwargs: object,
) -> list[float | None]:
    """TRL's reward function. A completion is a text or a list of messages, of which the last counts; a solution is a gold answer
    or a text that states one. None says that the gold cannot be read, and TRL leaves such a sample out. Never raises."""
    return [
        verify_response(_text(completion), _gold(gold), policy=policy).value
        for completion, gold in zip(completions, solution, strict=True)
    ]


def _text(completion: str | Sequence[Mapping[str, str]]) -> str:
    return completion if isinstance(completion, str) else completion[-1]["content"]


def _gold(solution: str) -> str:
    stated = stated_answer(solution, truncated=False)
    return ", ".join(stated.parts) if stated is not None else solution.strip()
