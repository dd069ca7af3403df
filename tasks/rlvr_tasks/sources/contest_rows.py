"""Rows of programming contests in the shapes they are published in, as one kind of value. Nothing in a row is executed.

    CodeContests     description, public_tests, private_tests, generated_tests {input: [], output: []},
                     solutions {language: [], solution: []}
    APPS, TACO       question, input_output (JSON: inputs, outputs, fn_name), solutions (JSON list)
    LiveCodeBench    question_content, public_test_cases, private_test_cases (JSON, or zlib in base64)
    plain            statement (or problem, question, description, content), tests (or test, test_cases) [{input, output}], examples

Some releases of LiveCodeBench wrap the text of the private tests in a pickle. It is read opcode by opcode, never unpickled.
"""

from __future__ import annotations

import ast
import base64
import binascii
import dataclasses
import pickletools
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from rlvr_tasks.errors import TaskError, UnreadableGoldError
from rlvr_tasks.record import parse_json

PYTHON_3 = 3
"""CodeContests' number of the language."""
MAX_UNPACKED = 256 * 2**20
"""Bytes of one row's private tests, unpacked."""
STATEMENTS = ("statement", "problem", "question", "description", "content")
TESTS = ("tests", "test_cases", "test")
_TEXT_OPCODES = frozenset({"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE"})
_SILENT_OPCODES = frozenset({"PROTO", "FRAME", "MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT", "STOP"})


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    stdin: str
    stdout: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    id: str
    statement: str
    visible: tuple[Case, ...]
    """Named as public by the row; others may be in the statement all the same."""
    hidden: tuple[Case, ...]
    """Best first: written by people before generated."""
    solutions: tuple[str, ...]
    """That Python 3 can parse."""
    special_judge: bool = False
    """The row itself says that its judge is a program."""


def row_id(row: Mapping[str, Any]) -> str:
    """The row's own name; empty where it has none."""
    found = (row.get(name) for name in ("problem_id", "question_id", "id", "name"))
    return next((str(value) for value in found if value not in (None, "")), "")


def problem_of(row: Mapping[str, Any]) -> Problem:
    """Raises TaskError where the row has none of the shapes, UnreadableGoldError where it has one and cannot be judged."""
    if "public_tests" in row and "description" in row:
        return _code_contests(row)
    if "input_output" in row and "question" in row:
        return _apps(row)
    if "public_test_cases" in row and "question_content" in row:
        return _live_code_bench(row)
    return _plain(row)


def _code_contests(row: Mapping[str, Any]) -> Problem:
    if row.get("input_file") or row.get("output_file"):
        raise UnreadableGoldError("it reads or writes a file instead of standard input and output")
    pairs = [_columns(row.get(name), name, "input", "output") for name in ("private_tests", "generated_tests")]
    solutions = [
        source
        for language, source in _pairs(row.get("solutions"), "solutions", "language", "solution")
        if language == PYTHON_3 or str(language).upper() == "PYTHON3"
    ]
    return Problem(
        id=row_id(row),
        statement=_text(row, "description"),
        visible=_columns(row.get("public_tests"), "public_tests", "input", "output"),
        hidden=tuple(case for part in pairs for case in part),
        solutions=_parsable(solutions),
        special_judge=_declared(row),
    )


def _apps(row: Mapping[str, Any]) -> Problem:
    tests: object = _decoded(row["input_output"] or "{}", "input_output")
    if not isinstance(tests, Mapping):
        raise TaskError("input_output is no JSON object; is this the right file?")
    found = cast("Mapping[str, Any]", tests)
    if found.get("fn_name"):
        raise UnreadableGoldError(f"its tests call the function {found['fn_name']!r} instead of using standard input")
    return Problem(
        id=row_id(row),
        statement=_text(row, "question"),
        visible=(),
        hidden=_columns(found, "input_output", "inputs", "outputs"),
        solutions=_parsable(_list(_decoded(row.get("solutions") or [], "solutions"), "solutions")),
        special_judge=_declared(row),
    )


def _live_code_bench(row: Mapping[str, Any]) -> Problem:
    private: Any = row.get("private_test_cases") or "[]"
    if isinstance(private, str) and private[:1] != "[":
        private = unpacked(private)
    return Problem(
        id=row_id(row),
        statement=_text(row, "question_content"),
        visible=tuple(_cases(_decoded(row["public_test_cases"], "public_test_cases"), "public_test_cases")),
        hidden=tuple(_cases(_decoded(private, "private_test_cases"), "private_test_cases")),
        solutions=_parsable(_list(_decoded(row.get("solutions") or [], "solutions"), "solutions")),
        special_judge=_declared(row),
    )


def _plain(row: Mapping[str, Any]) -> Problem:
    statement = next((name for name in STATEMENTS if row.get(name)), None)
    tests = next((name for name in TESTS if row.get(name)), None)
    if statement is None or tests is None:
        raise TaskError(
            f"no statement or no tests in the columns {', '.join(map(str, row))}; name them statement and tests, or see the "
            "shapes in tasks/README.md"
        )
    one = row.get("solution") or row.get("canonical_solution")
    many = _list(_decoded(row.get("solutions") or [], "solutions"), "solutions")
    return Problem(
        id=row_id(row),
        statement=_text(row, statement),
        visible=tuple(_cases(_decoded(row.get("examples") or [], "examples"), "examples")),
        hidden=tuple(_cases(_decoded(row[tests], tests), tests)),
        solutions=_parsable([one, *many] if one else many),
        special_judge=_declared(row),
    )


def unpacked(packed: str) -> str:
    """The text in base64 around zlib around either UTF-8 or the pickle of one text.

    Raises UnreadableGoldError on anything else, and on more than MAX_UNPACKED bytes.
    """
    try:
        unzip = zlib.decompressobj()
        data = unzip.decompress(base64.b64decode(packed, validate=True), MAX_UNPACKED)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise UnreadableGoldError(f"private_test_cases are neither JSON nor zlib in base64 ({error})") from None
    if not unzip.eof:
        raise UnreadableGoldError(f"private_test_cases are cut short, or unpack to more than {MAX_UNPACKED} bytes")
    if data[:1] != b"\x80":
        return data.decode("utf-8", "replace")
    texts: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in _TEXT_OPCODES:
                texts.append(cast(str, argument))
            elif opcode.name not in _SILENT_OPCODES:
                raise UnreadableGoldError(f"private_test_cases hold a pickle of more than one text ({opcode.name})")
    except ValueError as error:
        raise UnreadableGoldError(f"private_test_cases hold a damaged pickle ({error})") from None
    if len(texts) != 1:
        raise UnreadableGoldError(f"private_test_cases hold a pickle of {len(texts)} texts, not one")
    return texts[0]


def _cases(value: object, name: str) -> Iterator[Case]:
    for item in _list(value, name):
        if not isinstance(item, Mapping):
            raise TaskError(f"{name} holds {type(item).__name__}, not objects with input and output")
        case = cast("Mapping[str, Any]", item)
        kind = case.get("testtype") or case.get("type") or "stdin"
        if kind not in ("stdin", "stdin_stdout", "stdio"):
            raise UnreadableGoldError(f"its tests are of the type {kind!r} instead of standard input and output")
        stdin = case.get("input", case.get("stdin"))
        stdout = case.get("output", case.get("stdout"))
        yield _case(_inner(stdin, "stdin"), _inner(stdout, "stdout"), name)


def _inner(value: Any, key: str) -> Any:
    return cast("Mapping[str, Any]", value).get(key) if isinstance(value, Mapping) else value


def _columns(value: object, name: str, first: str, second: str) -> tuple[Case, ...]:
    return tuple(_case(stdin, stdout, name) for stdin, stdout in _pairs(value, name, first, second))


def _pairs(value: object, name: str, first: str, second: str) -> list[tuple[Any, Any]]:
    """From an object of two lists, or a list of objects, as the one or the other reader gives them."""
    decoded = _decoded(value or [], name)
    if isinstance(decoded, Mapping):
        both = cast("Mapping[str, Any]", decoded)
        left, right = _list(both.get(first) or [], f"{name}.{first}"), _list(both.get(second) or [], f"{name}.{second}")
        if len(left) != len(right):
            raise TaskError(
                f"{name} has {len(left)} of {first} and {len(right)} of {second}; they belong together one by one"
            )
        return list(zip(left, right, strict=True))
    items = [cast("Mapping[str, Any]", item) for item in _list(decoded, name)]
    return [(item.get(first), item.get(second)) for item in items]


def _case(stdin: Any, stdout: Any, name: str) -> Case:
    """APPS gives some as lists of lines."""
    texts = ["\n".join(map(str, cast("list[Any]", part))) if isinstance(part, list) else part for part in (stdin, stdout)]
    if not all(isinstance(text, str) for text in texts):
        raise TaskError(f"{name}: input and output are {type(stdin).__name__} and {type(stdout).__name__}, not texts")
    return Case(*cast("list[str]", texts))


def _declared(row: Mapping[str, Any]) -> bool:
    return bool(row.get("special_judge") or row.get("checker") or row.get("generated_checker"))


def _parsable(sources: Sequence[Any]) -> tuple[str, ...]:
    """Those that are Python 3 by the look of it: old sets mix in Python 2."""
    found: list[str] = []
    for source in sources:
        try:
            ast.parse(source)
        except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
            continue
        found.append(source)
    return tuple(found)


def _decoded(value: Any, name: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse_json(value)
    except TaskError as error:
        raise TaskError(f"{name}: {error}") from None


def _list(value: object, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise TaskError(f"{name} is {type(value).__name__}, not a list; is this the right file?")
    return cast("list[Any]", value)


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise TaskError(f"{name} is {type(value).__name__ if value else 'empty'}; a problem needs its statement as text")
    return value
