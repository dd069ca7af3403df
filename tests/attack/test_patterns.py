"""No regular expression of the packages takes more than linear time on texts that are made to be nearly matched by it.

The texts follow from the pattern itself: beginnings of something that it matches, then one of its characters, or such a beginning,
thousands of times. Patterns that only see short texts are named below, with what keeps them short.
"""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = (ROOT / "verifiers/rlvr_verifiers", ROOT / "tasks/rlvr_tasks")
SIZE = 1_000
QUICK_S = 0.004
"""For four times SIZE: what is quicker is not looked at."""
TRIES = 5
SHORT = {
    "rlvr_verifiers.answers._DENIED": "sees the 40 characters before a box",
    "rlvr_verifiers.math.lex._TOKEN": "sees one answer of at most 2,000 characters; test_math_properties.py times all of it",
    "rlvr_verifiers.math.restated._FORMULA": "reads the question of a task, and at most 2,000 characters at a time",
    "rlvr_verifiers.sql.gold._TOKENS": "reads the gold's query",
    "rlvr_verifiers.tool_call.formats.deepseek._BARE": "names have at most 256 characters; test_tool_calls.py times all of it",
    "rlvr_tasks.check._EXPRESSION": "reads the question of a task",
    "rlvr_tasks.sources.statements._POWER": "reads the statement of a task",
}
_CATEGORIES = {"CATEGORY_SPACE": " ", "CATEGORY_DIGIT": "1", "CATEGORY_WORD": "a"}


def sources() -> dict[str, str]:
    """Every module that has patterns of its own, and its text."""
    found = {path: path.read_text(encoding="utf-8") for folder in FOLDERS for path in sorted(folder.rglob("*.py"))}
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts[1:]).removesuffix(".__init__"): text
        for path, text in found.items()
        if "re.compile(" in text
    }


SOURCES = sources()
ALL_TEXT = "\n".join(path.read_text(encoding="utf-8") for folder in FOLDERS for path in folder.rglob("*.py"))


def patterns(module: str) -> Iterator[tuple[str, re.Pattern[str]]]:
    for name, value in vars(importlib.import_module(module)).items():
        if isinstance(value, re.Pattern) and re.search(rf"^{name}\b.*=", SOURCES[module], re.MULTILINE):
            yield name, value


def uses(module: str, name: str) -> list[Callable[[re.Pattern[str], str], object]]:
    """How it is applied; a search where that cannot be seen, which is the dearest."""
    text = SOURCES[module] if name.startswith("_") else ALL_TEXT
    methods = set(re.findall(rf"\b{name}\.(match|fullmatch|search|finditer|findall|sub|split)\(", text)) or {"search"}
    calls: dict[str, Callable[[re.Pattern[str], str], object]] = {
        "match": lambda pattern, given: pattern.match(given),
        "fullmatch": lambda pattern, given: pattern.fullmatch(given),
        "search": lambda pattern, given: pattern.search(given),
    }
    return [calls.get(method, lambda pattern, given: pattern.findall(given)) for method in sorted(methods)]


def sample(parsed: Any) -> str:
    """Something that the pattern matches, or nearly: look-around counts for nothing."""
    return "".join(_one(operation, argument) for operation, argument in parsed)


def _one(operation: Any, argument: Any) -> str:
    match str(operation):
        case "LITERAL":
            return chr(argument)
        case "NOT_LITERAL" | "ANY":
            return "x" if argument != ord("x") else "y"
        case "IN":
            return _member(argument)
        case "BRANCH":
            return sample(argument[1][0])
        case "SUBPATTERN":
            return sample(argument[3])
        case "ATOMIC_GROUP":
            return sample(argument)
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            return sample(argument[2]) * max(1, min(argument[0], 5))
        case _:
            return ""


def _member(choices: Any) -> str:
    if choices[0][0] is _constants.NEGATE:
        return next(each for each in "x1 .\u00e9" if re.match("[" + re.escape(each) + "]", each))
    for operation, argument in choices:
        match str(operation):
            case "LITERAL":
                return chr(argument)
            case "RANGE":
                return chr(argument[0])
            case "CATEGORY":
                return _CATEGORIES.get(str(argument), "x")
    return "x"


def characters(parsed: Any) -> set[str]:
    """One of each kind that stands anywhere in the pattern, so that each repetition is tried."""
    found: set[str] = set()
    for operation, argument in parsed:
        match str(operation):
            case "BRANCH":
                found |= {each for branch in argument[1] for each in characters(branch)}
            case "SUBPATTERN":
                found |= characters(argument[3])
            case "ATOMIC_GROUP":
                found |= characters(argument)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                found |= characters(argument[2]) | {sample(argument[2])}
            case "IN":
                found |= {_one(_constants.IN, [choice]) for choice in argument if choice[0] is not _constants.NEGATE} | {"x"}
            case _:
                found.add(_one(operation, argument))
    return found - {""}


def excluded(parsed: Any) -> set[str]:
    """What its sets leave out: it ends what they repeat."""
    found: set[str] = set()
    for operation, argument in parsed:
        match str(operation):
            case "BRANCH":
                found |= {each for branch in argument[1] for each in excluded(branch)}
            case "SUBPATTERN":
                found |= excluded(argument[3])
            case "ATOMIC_GROUP":
                found |= excluded(argument)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                found |= excluded(argument[2])
            case "NOT_LITERAL":
                found.add(chr(argument))
            case "IN" if argument[0][0] is _constants.NEGATE:
                found |= {chr(each) for kind, each in argument[1:] if str(kind) == "LITERAL"}
            case _:
                pass
    return found


def texts(pattern: re.Pattern[str], size: int) -> Iterator[str]:
    parsed = _parser.parse(pattern.pattern, pattern.flags)
    whole = [sample(branch) for branch in parsed[0][1][1]] if str(parsed[0][0]) == "BRANCH" else [sample(parsed)]
    starts = {each[:length] for each in whole for length in range(min(len(each), 24) + 1)}
    units = characters(parsed) | {
        each[:length] for each in whole for length in (len(each), len(each) - 1, len(each) // 2) if length > 0
    }
    ends = {"\x00", *excluded(parsed)}
    for unit in sorted(units):
        for start in sorted(starts):
            for end in sorted(ends):
                yield start + unit * (size // len(unit)) + end


def seconds(use: Callable[[re.Pattern[str], str], object], pattern: re.Pattern[str], text: str) -> float:
    begin = time.thread_time()
    use(pattern, text)
    return time.thread_time() - begin


def slow_every_time(use: Callable[[re.Pattern[str], str], object], pattern: re.Pattern[str], short: str, long: str) -> bool:
    """Whether four times the text takes more than eight times as long, however often it is tried: a busy machine stalls now and then."""
    return all(
        (took := seconds(use, pattern, long)) > QUICK_S and took > 8 * seconds(use, pattern, short) for _ in range(TRIES)
    )


@pytest.mark.parametrize("module", SOURCES)
def test_patterns_are_linear(module: str) -> None:
    slow: list[str] = []
    for name, pattern in patterns(module):
        if f"{module}.{name}" in SHORT:
            continue
        for use in uses(module, name):
            for short, long in zip(texts(pattern, SIZE), texts(pattern, 4 * SIZE), strict=True):
                if slow_every_time(use, pattern, short, long):
                    slow.append(f"{name} on {long[:40]!r}")
                    break
    assert not slow, f"{module}: {slow}; make its repetitions possessive, or say in SHORT what bounds its text"


def test_what_is_said_to_be_short_is_there() -> None:
    assert {f"{module}.{name}" for module in SOURCES for name, _ in patterns(module)} >= set(SHORT)


@pytest.mark.parametrize(
    "pattern",
    [r"a[ \t]*b{0,9}([^c]*)\Z", r"x\s+(?:y)?\s*(z)", r"\(?\bor\b\s+(?:maybe)?\s*(\$[^$]{1,80}\$|\d)", r"(~{3,})([^`]*)\Z"],
)
def test_the_texts_find_what_is_quadratic(pattern: str) -> None:
    """Such as the shapes that were once here; some are cubic, so the texts are short."""
    compiled = re.compile(pattern)
    assert any(
        (took := seconds(re.Pattern.search, compiled, long)) > 0.0005
        and took > 6 * seconds(re.Pattern.search, compiled, short)
        for short, long in zip(texts(compiled, 150), texts(compiled, 600), strict=True)
    )
