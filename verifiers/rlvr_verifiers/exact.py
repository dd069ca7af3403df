"""`exact`: the answer is the gold, character for character, after the normalisation the task asks for.

What is compared is the whole final turn, or the last complete `<tag>` block (`tag`), or the last match of a regular
expression (`pattern`; its first group where it has one).
"""

from __future__ import annotations

import dataclasses
import re

from rlvr_verifiers.arguments import ArgumentReader, clip
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.response import MAX_SCANNED, final_text
from rlvr_verifiers.types import Completion, Score, Task


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    strip: bool
    ignore_case: bool
    tag: str | None
    pattern: re.Pattern[str] | None


class Exact:
    reasons = frozenset({"ok", "mismatch", "no_answer", "truncated", "too_large"})

    def check_task(self, task: Task) -> str | None:
        options = _options(task)
        if not _normal(task.answer, options):
            return "the gold answer is empty: a completion without content would pass"
        return None

    def score(self, task: Task, completion: Completion) -> Score:
        options = _options(task)
        text = final_text(completion)
        if text is None:
            return _refused("no_answer", "the completion never left its reasoning")
        if len(text) > MAX_SCANNED:
            return _refused("too_large", f"the final turn has {len(text)} characters, over {MAX_SCANNED}")
        found, end = _select(text, options)
        if found is None:
            return _refused("no_answer", "the completion holds nothing where the answer should stand")
        if completion.finish_reason == "length" and end == len(text):
            return _refused("truncated", "the answer runs into the token limit and may be incomplete")
        answer, gold = _normal(found, options), _normal(task.answer, options)
        passed = answer == gold
        return Score(
            value=float(passed),
            passed=passed,
            reason="ok" if passed else "mismatch",
            explanation=f"{clip(answer, 100)!r} {'equals' if passed else 'is not'} {clip(gold, 100)!r}",
            parsed=answer,
        )


def _options(task: Task) -> Options:
    read = ArgumentReader("exact", task.verifier_args)
    options = Options(read.flag("strip", True), read.flag("ignore_case", False), read.text("tag"), read.pattern("pattern"))
    read.finish()
    if options.tag and options.pattern:
        raise VerifierError("verifier_args of 'exact': give tag or pattern, not both")
    if options.tag and not re.fullmatch(r"[A-Za-z][\w-]*", options.tag):
        raise VerifierError(
            f"verifier_args of 'exact': tag {clip(options.tag, 40)!r} is not a name; give it without < and >"
        )
    return options


def _select(text: str, options: Options) -> tuple[str | None, int]:
    """What is compared, and where it ends in the text."""
    if options.tag:
        closed = text.rfind(f"</{options.tag}>")
        opening = f"<{options.tag}>"
        opened = text.rfind(opening, 0, max(closed, 0))
        if closed < 0 or opened < 0:
            return None, 0
        return text[opened + len(opening) : closed], closed
    if options.pattern:
        matches = list(options.pattern.finditer(text))
        if not matches:
            return None, 0
        last = matches[-1]
        return last.group(1 if options.pattern.groups else 0), last.end()
    return text, len(text)


def _normal(text: str, options: Options) -> str:
    text = text.strip() if options.strip else text
    return text.casefold() if options.ignore_case else text


def _refused(reason: str, explanation: str) -> Score:
    return Score(value=0.0, passed=False, reason=reason, explanation=explanation)
