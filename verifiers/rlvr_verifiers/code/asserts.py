"""Turns assert-style tests into inputs and expected values, so that what is expected never enters a box.

`assert f(1, [2]) == {3}` has a literal on either side and becomes a case. If any statement of a test is more than that (a
loop, a tolerance, a call inside the call), the test as a whole stays code and runs in a box of its own.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Mapping
from typing import Any

from rlvr_sandbox import CodecError
from rlvr_sandbox.codec import encode
from rlvr_verifiers.errors import VerifierError


@dataclasses.dataclass(frozen=True, slots=True)
class FunctionCase:
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    expected: Any


class _NotLiteralError(Exception):
    pass


def cases_of(check: str, entry_point: str) -> tuple[FunctionCase, ...] | None:
    """The cases that the test consists of, or None where it is more than literal cases.

    Raises VerifierError where it is not Python or tests nothing.
    """
    try:
        tree = ast.parse(check)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise VerifierError(f"the task's check is not Python: {error}") from error
    if not any(isinstance(node, ast.Assert) for node in ast.walk(tree)):
        raise VerifierError("the task's check has no assert, so that anything would pass")
    found: list[FunctionCase] = []
    try:
        for statement in tree.body:
            _read(statement, {entry_point}, found)
    except (_NotLiteralError, ValueError, TypeError, RecursionError, MemoryError):
        return None
    return tuple(found) or None


def _read(statement: ast.stmt, names: set[str], found: list[FunctionCase]) -> None:
    match statement:
        case ast.Assert(test=ast.Constant(value=True)) | ast.Pass() | ast.Import() | ast.ImportFrom():
            return
        case ast.Expr(value=ast.Constant()):
            return
        case ast.Expr(value=ast.Call(func=ast.Name(id="check"), args=[ast.Name(id=name)], keywords=[])) if name in names:
            return
        case ast.Assign(targets=[ast.Name(id=name)], value=value) if name not in names:
            ast.literal_eval(value)
        case ast.FunctionDef(name="check", args=ast.arguments(args=[argument]), decorator_list=[]):
            for inner in statement.body:
                _read(inner, names | {argument.arg}, found)
        case ast.Assert(test=ast.Compare(left=left, ops=[ast.Eq()], comparators=[right])):
            call, expected = (left, right) if isinstance(left, ast.Call) else (right, left)
            found.append(_case(call, expected, names))
        case _:
            raise _NotLiteralError


def _case(call: ast.expr, expected: ast.expr, names: set[str]) -> FunctionCase:
    match call:
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if name in names:
            given = tuple(ast.literal_eval(argument) for argument in args)
            named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in keywords if keyword.arg is not None}
            if len(named) != len(keywords):
                raise _NotLiteralError
            case = FunctionCase(given, named, ast.literal_eval(expected))
            try:
                encode([list(given), named, case.expected])
            except CodecError as error:
                raise _NotLiteralError from error
            return case
        case _:
            raise _NotLiteralError
