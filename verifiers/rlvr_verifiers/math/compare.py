"""Whether an answer is the gold. Kinds must agree; order matters in a tuple and not in a set; arithmetic is exact."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from rlvr_verifiers.math.exact import Arithmetic, approximate
from rlvr_verifiers.math.parse import normal_text
from rlvr_verifiers.math.tree import (
    Binding,
    Collection,
    Infinity,
    Node,
    Number,
    Quantity,
    Quotient,
    Sequence,
    Symbol,
    Text,
    Union,
    UnreadableError,
)

Verdict = Literal["ok", "mismatch", "type_mismatch", "hedge"]

MAX_ITEMS = 64
"""Of a list or set: matching compares every pair."""


def compare(gold: Node, answer: Node, *, tolerance: float = 0.0) -> Verdict:
    """Raises UnreadableError where a value cannot be computed within bounds."""
    if gold == answer:
        return "ok"
    comparison = _Comparison(tolerance)
    if isinstance(answer, Collection) and answer.alternatives and not isinstance(gold, Collection):
        # "1/2 or 0.5" says one thing twice; "1/2 or 1/3" is a hedge.
        return "ok" if all(comparison.verdict(gold, item) == "ok" for item in answer.items) else "hedge"
    return comparison.verdict(gold, answer)


def check_value(node: Node) -> None:
    """Raises UnreadableError (`unparsed`) where the tree has no value, such as 1/0. A value too large to compute is fine."""
    try:
        _Comparison(0.0).verdict(node, node)
    except UnreadableError as problem:
        if problem.reason != "too_large":
            raise


_NO_VALUE = (Text, Infinity, Sequence, Collection, Union)
"""Kinds that are only ever equal to their own kind."""


class _Comparison:
    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance
        self._arithmetic = Arithmetic()

    def verdict(self, gold: Node, answer: Node) -> Verdict:
        match gold, answer:
            case Binding(), Binding() if gold.name != answer.name:
                return "mismatch"
            case Binding(), _:
                return self.verdict(gold.value, answer.value if isinstance(answer, Binding) else answer)
            case _, Binding():
                return self.verdict(gold, answer.value)
            case (Quantity(), _) | (_, Quantity()):
                return self._quantities(gold, answer)
            case Text(), Text():
                return _judged(gold.text == answer.text)
            case (Text(), Symbol()) | (Symbol(), Text()):
                return _judged(_as_text(gold) == _as_text(answer))
            case Infinity(), Infinity():
                return _judged(gold.negative == answer.negative)
            case Sequence(), Sequence():
                return self._in_order(gold, answer)
            case Collection(), Collection():
                return self._in_any_order(gold.items, answer.items)
            case Union(), Union():
                return self._in_any_order(gold.parts, answer.parts)
            case _:
                return self._values(gold, answer)

    def _values(self, gold: Node, answer: Node) -> Verdict:
        if isinstance(gold, Number) and isinstance(answer, Number):
            if gold.value == answer.value:
                return "ok"
            if not self._tolerance:
                return "mismatch"
        if isinstance(gold, _NO_VALUE) or isinstance(answer, _NO_VALUE):
            return "type_mismatch"
        left, right = self._arithmetic.value(gold), self._arithmetic.value(answer)
        if self._arithmetic.equal(left, right):
            return "ok"
        if self._tolerance:
            near, far = approximate(left), approximate(right)
            return _judged(near is not None and far is not None and abs(near - far) <= self._tolerance * abs(near))
        return "mismatch"

    def _quantities(self, gold: Node, answer: Node) -> Verdict:
        """Units must agree where both are given; either side may leave out its unit, though not its base.

        50% equals 50 (the question asked for percent) and 1/2 (its value).
        """
        gold_unit, gold_value = (gold.unit, gold.value) if isinstance(gold, Quantity) else ("", gold)
        unit, value = (answer.unit, answer.value) if isinstance(answer, Quantity) else ("", answer)
        if unit != gold_unit and ((gold_unit and unit) or unit.startswith("_")):
            return "mismatch"
        verdict = self.verdict(gold_value, value)
        if verdict == "mismatch" and "%" in (gold_unit, unit) and gold_unit != unit:
            return self._values(_percent(gold_value, gold_unit), _percent(value, unit))
        return verdict

    def _in_order(self, gold: Sequence, answer: Sequence) -> Verdict:
        if gold.brackets != answer.brackets or len(gold.items) != len(answer.items):
            return "mismatch"
        return _judged(all(self.verdict(*pair) == "ok" for pair in zip(gold.items, answer.items, strict=True)))

    def _in_any_order(self, gold: tuple[Node, ...], answer: tuple[Node, ...]) -> Verdict:
        if max(len(gold), len(answer)) > MAX_ITEMS:
            raise UnreadableError(f"a list of more than {MAX_ITEMS} items", "too_large")
        if len(gold) != len(answer):
            return "mismatch"
        left = list(answer)
        for item in gold:
            found = next(
                (index for index, other in enumerate(left) if item == other or self.verdict(item, other) == "ok"), None
            )
            if found is None:
                return "mismatch"
            del left[found]
        return "ok"


def _percent(value: Node, unit: str) -> Node:
    return Quotient(value, Number(Fraction(100))) if unit == "%" else value


def _as_text(node: Node) -> str:
    return node.text if isinstance(node, Text) else normal_text(node.name) if isinstance(node, Symbol) else ""


def _judged(same: bool) -> Verdict:
    return "ok" if same else "mismatch"
