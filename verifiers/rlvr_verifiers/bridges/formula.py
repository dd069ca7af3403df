"""A grader's `calculate_output`: arithmetic over the scores of its parts, and nothing else."""

from __future__ import annotations

import ast
import dataclasses
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from rlvr_verifiers.errors import VerifierError

MAX_CHARACTERS, MAX_NODES = 2_000, 300
_OPERATORS: dict[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda left, right: left / right,
    ast.Pow: math.pow,  # of floats: it overflows instead of growing
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "min": min,
    "max": max,
    "abs": abs,
    "floor": math.floor,
    "ceil": math.ceil,
    "exp": math.exp,
    "sqrt": math.sqrt,
    "log": math.log,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Formula:
    text: str
    tree: ast.expr

    @classmethod
    def parse(cls, text: str, names: frozenset[str]) -> Formula:
        """Raises VerifierError for anything but numbers, these names, + - * / **, and min max abs floor ceil exp sqrt log."""
        try:
            tree = ast.parse(text.strip(), mode="eval").body if len(text) <= MAX_CHARACTERS else None
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            tree = None
        if tree is None or sum(1 for _ in ast.walk(tree)) > MAX_NODES:
            raise VerifierError(f"calculate_output is no formula: {text!r:.80}")
        called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        for node in ast.walk(tree):
            if not _allowed(node, names, called=id(node) in called):
                raise VerifierError(
                    f"calculate_output may not use {ast.unparse(node)!r:.60}; it has {', '.join(sorted(names))}"
                )
        return cls(text, tree)

    def value(self, values: Mapping[str, float]) -> float:
        """Raises VerifierError where it has none (division by 0, overflow)."""
        try:
            value = float(_value(self.tree, values))
        except (ArithmeticError, ValueError, TypeError) as error:
            raise VerifierError(f"calculate_output {self.text!r:.80} fails: {error}") from error
        return value


def _allowed(node: ast.AST, names: frozenset[str], *, called: bool) -> bool:
    if isinstance(node, ast.Name):
        return node.id in (_FUNCTIONS if called else names)
    if isinstance(node, ast.Constant):
        return type(node.value) in (int, float)
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and not node.keywords
    return isinstance(node, ast.BinOp | ast.UnaryOp | ast.operator | ast.USub | ast.UAdd | ast.Load) and not isinstance(
        node, ast.MatMult | ast.Mod | ast.FloorDiv | ast.LShift | ast.RShift | ast.BitOr | ast.BitXor | ast.BitAnd
    )


def _value(node: ast.AST, values: Mapping[str, float]) -> float:
    if isinstance(node, ast.Constant):
        return float(node.value)  # type: ignore[arg-type]  # parse lets numbers through only
    if isinstance(node, ast.Name):
        return values[node.id]
    if isinstance(node, ast.UnaryOp):
        value = _value(node.operand, values)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_value(node.left, values), _value(node.right, values))
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    return _FUNCTIONS[node.func.id](*(_value(argument, values) for argument in node.args))
