"""`regex`: the gold is a regular expression that the answer must match, as a whole unless the task says `search`.

The pattern is the task author's; the text is the policy's and is capped. Python's engine backtracks, so a pattern such as
`(a+)+b` can still be slow on a text made for it: the pool's deadline then ends it with reason `timeout` and value 0.
"""

from __future__ import annotations

import dataclasses
import re

from rlvr_verifiers.arguments import ArgumentReader, clip, compiled
from rlvr_verifiers.response import final_text
from rlvr_verifiers.types import Completion, Score, Task

MAX_TEXT = 100_000
"""Characters; the default of `max_chars`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    mode: str
    accept: re.Pattern[str]
    reject: tuple[re.Pattern[str], ...]
    max_chars: int

    def accepts(self, text: str) -> bool:
        match = self.accept.fullmatch(text) if self.mode == "fullmatch" else self.accept.search(text)
        return match is not None


class Regex:
    reasons = frozenset({"ok", "mismatch", "rejected", "no_answer", "truncated", "too_large"})

    def check_task(self, task: Task) -> str | None:
        if not task.answer:
            return "the gold answer is empty; it must be the regular expression to match"
        if _options(task).accepts(""):
            return f"the pattern {clip(task.answer, 80)!r} matches the empty text: a completion without content would pass"
        return None

    def score(self, task: Task, completion: Completion) -> Score:
        options = _options(task)
        text = final_text(completion)
        if text is None:
            return _judged("no_answer", "the completion never left its reasoning")
        text = text.strip()
        if len(text) > options.max_chars:
            return _judged("too_large", f"the final turn has {len(text)} characters, over {options.max_chars}")
        if completion.finish_reason == "length" and options.mode == "fullmatch":
            return _judged("truncated", "the answer runs into the token limit and may be incomplete")
        for pattern in options.reject:
            if pattern.search(text):
                return _judged("rejected", f"matches the rejected pattern {clip(pattern.pattern, 100)!r}")
        if options.accepts(text):
            return _judged("ok", f"matches {clip(task.answer, 100)!r}", text)
        return _judged("mismatch", f"does not match {clip(task.answer, 100)!r}", text)


def _options(task: Task) -> Options:
    read = ArgumentReader("regex", task.verifier_args)
    mode = read.one_of("mode", ("fullmatch", "search"))
    flags = ("i" if read.flag("ignore_case", False) else "") + ("s" if read.flag("dot_all", False) else "")
    flags += "m" if read.flag("multiline", False) else ""
    prefix = f"(?{flags})" if flags else ""
    reject = tuple(compiled("regex", "reject", prefix + source) for source in read.texts("reject"))
    max_chars = int(read.number("max_chars", MAX_TEXT, minimum=1))
    read.finish()
    return Options(mode, compiled("regex", "answer", prefix + task.answer), reject, max_chars)


def _judged(reason: str, explanation: str, parsed: str | None = None) -> Score:
    passed = reason == "ok"
    return Score(value=float(passed), passed=passed, reason=reason, explanation=explanation, parsed=parsed)
