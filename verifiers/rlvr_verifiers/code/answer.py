"""Reads a code task's answer: what the program is asked, and what is expected of it. Strict, since a bad gold trains nonsense."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import keyword
import math
from collections.abc import Mapping
from typing import Any, Literal, cast

from rlvr_sandbox import CodecError, Limits
from rlvr_sandbox.codec import encode
from rlvr_sandbox.types import LANGUAGES
from rlvr_verifiers.arguments import clip
from rlvr_verifiers.code.asserts import FunctionCase, cases_of
from rlvr_verifiers.code.extract import NAMES
from rlvr_verifiers.code.trusted import refuse_execution
from rlvr_verifiers.errors import VerifierError

_KEYS = ("style", "entry_point", "check", "cases", "preamble", "limits", "float_tol", "language")
_LANGUAGES = tuple(name for name in LANGUAGES if name in NAMES)
"""Those that boxes run and whose fences are known: others know fences of `sql`, too."""
_LIMITS = tuple(field.name for field in dataclasses.fields(Limits))


@dataclasses.dataclass(frozen=True, slots=True)
class StdioCase:
    stdin: bytes
    stdout: str


@dataclasses.dataclass(frozen=True, slots=True)
class Gold:
    style: Literal["function", "stdio"]
    entry_point: str
    cases: tuple[FunctionCase, ...] | tuple[StdioCase, ...]
    """Empty where `check` has to be run as code."""
    check: str
    preamble: str
    """Code of the prompt that programs may rely on: imports, helpers."""
    limits: Limits
    tolerance: float
    from_asserts: bool
    """Python's `==` is what the test means, so True equals 1."""
    language: str


@functools.lru_cache(maxsize=1024)
def read_answer(answer: str) -> Gold:
    """Raises VerifierError, in one line, where the answer cannot be used."""
    data = _object(_json(answer), "the answer", _KEYS)
    style = data.get("style")
    if style not in ("function", "stdio"):
        raise _bad(f"style is {clip(repr(style), 40)}; give function or stdio")
    language = data.get("language", "python")
    if language not in _LANGUAGES:
        raise _bad(f"language is {clip(repr(language), 40)}; known: {', '.join(_LANGUAGES)}")
    tolerance = data.get("float_tol", 0.0)
    if type(tolerance) not in (int, float) or not math.isfinite(tolerance) or tolerance < 0:
        raise _bad(f"float_tol is {clip(repr(tolerance), 40)}; give a finite number from 0 up")
    cases, check, entry_point = _function(data) if style == "function" else (_stdio_cases(data), "", "")
    if cases and all(isinstance(case, FunctionCase) and case.expected is None for case in cases):
        raise _bad("every case expects null, so that a function that does nothing would pass")
    return Gold(
        style=style,
        entry_point=entry_point,
        cases=cases,
        check=check,
        preamble=_text(data, "preamble"),
        limits=_limits(data.get("limits", {})),
        tolerance=float(tolerance),
        from_asserts="check" in data,
        language=language,
    )


def _json(answer: str) -> object:
    try:
        return json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise _bad(f"it is not JSON ({error})") from error


def _object(value: object, what: str, known: tuple[str, ...]) -> dict[str, Any]:
    """Without its nulls: Arrow fills absent keys with them."""
    if not isinstance(value, dict):
        raise _bad(f"{what} is no JSON object")
    data = cast(dict[str, Any], value)
    for key in data:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise _bad(
                f"{what} has an unknown key {key!r}; {f'did you mean {near[0]!r}?' if near else 'known: ' + ', '.join(known)}"
            )
    return {key: item for key, item in data.items() if item is not None or key == "expected"}


def _function(data: Mapping[str, Any]) -> tuple[tuple[FunctionCase, ...], str, str]:
    entry_point = data.get("entry_point")
    if not isinstance(entry_point, str) or not entry_point.isidentifier() or keyword.iskeyword(entry_point):
        raise _bad(f"entry_point is {clip(repr(entry_point), 40)}; give the function's name")
    if ("check" in data) == ("cases" in data):
        raise _bad("a function needs either check or cases")
    if "check" in data:
        check = _text(data, "check")
        found = cases_of(check, entry_point)
        if not found:
            refuse_execution(check, _text(data, "preamble"))
        return (found or (), "" if found else check, entry_point)
    return tuple(_function_case(item) for item in _list(data, "cases")), "", entry_point


def _function_case(item: object) -> FunctionCase:
    case = _object(item, "a case", ("args", "kwargs", "expected"))
    args, kwargs = case.get("args", []), case.get("kwargs", {})
    if not isinstance(args, list) or not isinstance(kwargs, dict) or "expected" not in case:
        raise _bad("a function case needs args (a list), kwargs (an object) or both, and expected")
    try:
        encode(cast(list[Any], [args, kwargs, case["expected"]]))
    except CodecError as error:
        raise _bad(f"a case cannot be carried into a box: {error}") from error
    return FunctionCase(tuple(cast(list[Any], args)), cast(dict[str, Any], kwargs), case["expected"])


def _stdio_cases(data: Mapping[str, Any]) -> tuple[StdioCase, ...]:
    for key in ("entry_point", "check"):
        if key in data:
            raise _bad(f"style stdio has no {key}")
    found: list[StdioCase] = []
    for item in _list(data, "cases"):
        case = _object(item, "a case", ("stdin", "stdout"))
        if not isinstance(case.get("stdin"), str) or not isinstance(case.get("stdout"), str):
            raise _bad("a stdio case needs stdin and stdout, both texts")
        found.append(StdioCase(case["stdin"].encode("utf-8", "surrogatepass"), case["stdout"]))
    if all(not case.stdout.strip() for case in found):
        raise _bad("no case expects any output, so that a program that does nothing would pass")
    return tuple(found)


def _list(data: Mapping[str, Any], name: str) -> list[object]:
    value = data.get(name)
    if not isinstance(value, list) or not value:
        raise _bad(f"{name} is not a list with something in it")
    return cast(list[object], value)


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name, "")
    if not isinstance(value, str):
        raise _bad(f"{name} is {clip(repr(value), 40)}; give text")
    return value


def _limits(value: object) -> Limits:
    given = _object(value, "limits", _LIMITS)
    try:
        return Limits(**given)
    except ValueError as error:
        raise _bad(str(error)) from error


def _bad(problem: str) -> VerifierError:
    return VerifierError(f"the answer of a code task cannot be used: {problem}")
