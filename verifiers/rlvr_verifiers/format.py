"""`format`: the shape of a response, independent of whether it is right. Pay less for it than for being right.

Required marks must stand exactly once, outside code and outside reasoning, so that quoting the format, repeating it or
hiding a second answer in it does not count. The gold answer is not looked at.
"""

from __future__ import annotations

import dataclasses
import re

from rlvr_verifiers.arguments import ArgumentReader, clip
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.response import MAX_SCANNED, REASONING_TAGS, turn_text
from rlvr_verifiers.types import Completion, Score, Task

_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    tags: tuple[str, ...]
    once: tuple[str, ...]
    pattern: re.Pattern[str] | None
    nothing_outside: bool


class Format:
    reasons = frozenset({"ok", "missing", "repeated", "order", "empty", "outside", "mismatch", "no_answer", "too_large"})

    def check_task(self, task: Task) -> str | None:
        options = _options(task)
        if not (options.tags or options.once or options.pattern):
            return "verifier_args of 'format' ask for nothing; give tags, once or pattern"
        return None

    def score(self, task: Task, completion: Completion) -> Score:
        options = _options(task)
        text = turn_text(completion)
        if text is None:
            return _judged("no_answer", "the last message is not the policy's own")
        if len(text) > MAX_SCANNED:
            return _judged("too_large", f"the last turn has {len(text)} characters, over {MAX_SCANNED}")
        visible = _without_reasoning(_without_code(text), options.tags)
        problem = _tags_problem(visible, options) or _once_problem(visible, options) or _pattern_problem(visible, options)
        return _judged(*problem) if problem else _judged("ok", "every required mark stands once")


def _options(task: Task) -> Options:
    read = ArgumentReader("format", task.verifier_args)
    options = Options(read.texts("tags"), read.texts("once"), read.pattern("pattern"), read.flag("nothing_outside", False))
    read.finish()
    for tag in options.tags:
        if not re.fullmatch(r"[A-Za-z][\w-]*", tag):
            raise VerifierError(f"verifier_args of 'format': tag {clip(tag, 40)!r} is not a name; give it without < and >")
    if len(set(options.tags)) < len(options.tags):
        raise VerifierError("verifier_args of 'format': a tag is listed twice; each must stand exactly once in a response")
    if options.nothing_outside and not options.tags:
        raise VerifierError("verifier_args of 'format': nothing_outside needs tags")
    return options


def _without_code(text: str) -> str:
    """Code blanked out, lengths kept: marks inside it do not count, but a tag around it is still not empty."""
    return _CODE.sub(lambda match: "`" * len(match.group()), text) if "`" in text else text


def _without_reasoning(text: str, tags: tuple[str, ...]) -> str:
    """The inside of the reasoning blanked out. An unopened block was opened in the prompt; its tag is put in front."""
    for tag in REASONING_TAGS:
        opening, closing = f"<{tag}>", f"</{tag}>"
        closed = text.rfind(closing)
        opened = text.find(opening)
        if closed >= 0 and opened < 0:
            text, opened, closed = opening + text, 0, closed + len(opening)
        if 0 <= opened < closed and tag in tags:
            start = opened + len(opening)
            inside = text[start:closed]
            # Its own tags stay visible: a second block is a repetition, not a thought.
            kept = "".join(
                part if part in (opening, closing) else re.sub(r"\S", "x", part) for part in _split(inside, opening, closing)
            )
            text = text[:start] + kept + text[closed:]
        elif 0 <= opened < closed:
            text = text[:opened] + text[closed + len(closing) :]
    return text


def _split(text: str, opening: str, closing: str) -> list[str]:
    return re.split(f"({re.escape(opening)}|{re.escape(closing)})", text)


def _tags_problem(text: str, options: Options) -> tuple[str, str] | None:
    position = 0
    outside: list[str] = []
    for tag in options.tags:
        opening, closing = f"<{tag}>", f"</{tag}>"
        counts = text.count(opening), text.count(closing)
        if 0 in counts:
            return "missing", f"<{tag}>...</{tag}> is missing"
        if counts != (1, 1):
            return "repeated", f"<{tag}>...</{tag}> must stand exactly once"
        opened, closed = text.find(opening), text.find(closing)
        if opened < position or closed < opened:
            return "order", f"<{tag}>...</{tag}> stands in the wrong place; the order is {', '.join(options.tags)}"
        if not text[opened + len(opening) : closed].strip():
            return "empty", f"<{tag}>...</{tag}> is empty"
        outside.append(text[position:opened])
        position = closed + len(closing)
    outside.append(text[position:])
    if options.nothing_outside and "".join(outside).strip():
        return "outside", f"text outside the tags: {clip(' '.join(outside).strip(), 80)!r}"
    return None


def _once_problem(text: str, options: Options) -> tuple[str, str] | None:
    for mark in options.once:
        count = text.count(mark)
        if count != 1:
            return "repeated" if count else "missing", f"{clip(mark, 40)!r} stands {count} times; it must stand once"
    return None


def _pattern_problem(text: str, options: Options) -> tuple[str, str] | None:
    if options.pattern and not options.pattern.search(text):
        return "mismatch", f"nothing matches {clip(options.pattern.pattern, 80)!r}"
    return None


def _judged(reason: str, explanation: str) -> Score:
    passed = reason == "ok"
    return Score(value=float(passed), passed=passed, reason=reason, explanation=explanation)
