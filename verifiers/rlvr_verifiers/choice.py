"""`choice`: multiple choice. The last explicit answer counts, and it must name exactly one letter.

A letter that merely occurs in the text is no answer; "A or B" is a hedge and wrong.
"""

from __future__ import annotations

import dataclasses
import re
import string

from rlvr_verifiers.answers import stated_answer
from rlvr_verifiers.arguments import ArgumentReader, clip
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.response import final_text
from rlvr_verifiers.types import Completion, Score, Task

_WRAPPER = re.compile(r"\\(?:text|mathrm|mathbf|textbf|rm|bf)\s?\{|[{}$*_`]|\\[()\[\]]")
_LEADING_LETTER = re.compile(r"\(?([A-Z])(?:\)|[.:)](?=\s|$)|(?=\s*$)|(?=[,;]|\s+(?:or|and|because|since)\b|\s*[/&]))")
# "I" outside parentheses is the pronoun.
_FURTHER_LETTER = re.compile(r"\(([A-Z])\)|(?:\b(?:or|and)\b|[,/&])\s*\(?([A-HJ-Z])(?![A-Za-z0-9'])")


MAX_BARE = 20
"""Characters of a turn that is nothing but its letter."""


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    letters: str
    texts: tuple[str, ...]


class Choice:
    reasons = frozenset({"ok", "mismatch", "no_answer", "unparsed", "hedge"})

    def check_task(self, task: Task) -> str | None:
        options = _options(task)
        gold = _gold(task)
        if gold is None:
            return f"the gold answer {clip(task.answer, 40)!r} is not one letter"
        if gold not in options.letters:
            return f"the gold answer {gold} is not among the options {options.letters[0]}-{options.letters[-1]}"
        return None

    def score(self, task: Task, completion: Completion) -> Score:
        options = _options(task)
        gold = _gold(task)
        if gold is None:
            raise VerifierError(f"task {task.id!r}: the gold answer {clip(task.answer, 40)!r} is not one letter")
        truncated = completion.finish_reason == "length"
        text = final_text(completion)
        stated = _stated(text, truncated) if text is not None else ()
        if not stated:
            return _judged("no_answer", "no explicit answer such as 'Answer: B'")
        letters = {letter for part in stated for letter in _letters_in(part, options)}
        if len(letters) > 1:
            return _judged("hedge", f"names {' and '.join(sorted(letters))}")
        if not letters:
            return _judged("unparsed", f"{clip(stated[-1], 60)!r} is none of the options")
        (letter,) = letters
        return _judged("ok" if letter == gold else "mismatch", f"answered {letter}, the gold is {gold}", letter)


def _options(task: Task) -> Options:
    read = ArgumentReader("choice", task.verifier_args)
    texts = read.texts("options")
    count = int(read.number("count", len(texts) or 26, minimum=2))
    read.finish()
    if count > 26 or (texts and count != len(texts)):
        raise VerifierError(
            f"verifier_args of 'choice': count is {count}; give 2 to 26, and with options their number or nothing"
        )
    normal = tuple(_plain(text) for text in texts)
    if len(set(normal)) < len(normal):
        raise VerifierError("verifier_args of 'choice': two options read the same")
    return Options(string.ascii_uppercase[:count], normal)


def _gold(task: Task) -> str | None:
    gold = task.answer.strip().strip("().").upper()
    return gold if len(gold) == 1 and gold in string.ascii_uppercase else None


def _stated(text: str, truncated: bool) -> tuple[str, ...]:
    found = stated_answer(text, truncated=truncated)
    if found is not None:
        return found.parts
    whole = text.strip()
    if len(whole) > MAX_BARE:
        return ()
    return (whole,) if not truncated and _LEADING_LETTER.fullmatch(_WRAPPER.sub("", whole).strip()) else ()


def _letters_in(part: str, options: Options) -> set[str]:
    """The options that one stated answer names."""
    content = _WRAPPER.sub("", part).strip()
    if _plain(content) in options.texts:
        return {options.letters[options.texts.index(_plain(content))]}
    content = re.sub(r"^(?:option|choice|letter)\s+", "", content, flags=re.IGNORECASE)
    if len(content.strip("(). ")) == 1:
        content = content.upper()
    leading = _LEADING_LETTER.match(content)
    if leading is None or leading.group(1) not in options.letters:
        return set()
    further = {
        match.group(1) or match.group(2) for match in _FURTHER_LETTER.finditer(content, leading.end(1))
    }  # "A, B or C"
    return {leading.group(1), *further.intersection(options.letters)}


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")


def _judged(reason: str, explanation: str, parsed: str | None = None) -> Score:
    passed = reason == "ok"
    return Score(value=float(passed), passed=passed, reason=reason, explanation=explanation, parsed=parsed)
