"""Whether an answer is the gold. Kinds must agree; order matters in a tuple and not in a set; what is optional says `Policy`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from typing import Literal

from rlvr_verifiers.math.exact import UndecidedError
from rlvr_verifiers.math.policy import DEFAULT, Policy
from rlvr_verifiers.math.readings import (
    as_column,
    as_point,
    as_product,
    as_text,
    choice_letter,
    define_one_function,
    equation,
    hundredth,
    in_places,
    letter_of,
    on_24_hours,
    parts,
    trailing_unit,
    value_and_unit,
)
from rlvr_verifiers.math.relations import chain_sides, inequality, is_calculation, same_relation
from rlvr_verifiers.math.sets import SetReader
from rlvr_verifiers.math.tiers import Tiers
from rlvr_verifiers.math.tree import (
    Arithmetic,
    BaseNumber,
    Binding,
    Choice,
    Collection,
    Function,
    Infinity,
    Matrix,
    Node,
    Number,
    Power,
    Product,
    Quantity,
    Quotient,
    Ratio,
    Reals,
    Relation,
    Sequence,
    SetOperation,
    Symbol,
    Text,
    UnreadableError,
    children,
    has_letter,
)
from rlvr_verifiers.math.units import same_unit

Verdict = Literal["ok", "mismatch", "type_mismatch", "hedge"]

MAX_ITEMS = 64
"""Of a list or set: matching compares every pair."""
MAX_PAIRS = 1_000
"""Of items of two lists that are not written alike."""
_MIN_ROUNDED_DIGITS = 4
"""Significant digits of a decimal gold that may be a rounding."""
_HALF = Fraction(1, 2)
_NO_SOLUTION = Text("no solution")

_NO_VALUE = (Text, Infinity, Sequence, Collection, SetOperation, Reals, Matrix, Relation, Ratio, BaseNumber)
"""Kinds that are only ever equal to their own kind."""
_SET_LIKE = (SetOperation, Reals, Relation)


def compare(gold: Node, answer: Node, policy: Policy = DEFAULT) -> Verdict:
    """Raises UnreadableError where a value cannot be computed within bounds."""
    comparison = _Comparison(policy)
    gold = comparison.single(gold)
    if (
        isinstance(answer, Collection)
        and answer.alternatives
        and not isinstance(gold, Collection | SetOperation)
        and not inequality(answer)
    ):
        # "1/2 or 0.5" says one thing twice; "1/2 or 1/3" is a hedge.
        return "ok" if all(comparison.verdict(gold, item) == "ok" for item in answer.items) else "hedge"
    return comparison.verdict(gold, answer)


def check_value(node: Node) -> None:
    """Raises UnreadableError (`unparsed`) where some part of the tree has no value, such as 1/0."""
    if isinstance(node, Arithmetic):
        if not isinstance(node, Infinity):
            Tiers().check(node)
        return
    for part in children(node):
        check_value(part)


class _Comparison:
    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._tiers = Tiers()
        self._pairs = 0

    def single(self, gold: Node) -> Node:
        """The one value that a gold such as `24/7 or 3 3/7` gives twice."""
        if isinstance(gold, Collection) and gold.alternatives and gold.items and not inequality(gold):
            first, *others = gold.items
            if all(self.verdict(first, other) == "ok" for other in others):
                return first
        return gold

    def verdict(self, gold: Node, answer: Node) -> Verdict:
        match gold, answer:
            case (Number(), Number()):
                return self._values(gold, answer)
            case (Choice(), _) | (_, Choice()):
                return self._choices(gold, answer)
            case (Binding(), _) | (_, Binding()):
                return self._bindings(gold, answer)
            case (Relation(), _) | (_, Relation()):
                return self._relations(gold, answer)
            case (Quantity(), _) | (_, Quantity()):
                return self._quantities(gold, answer)
            case (Ratio(), _) | (_, Ratio()):
                return self._ratios(gold, answer)
            case (Text(), Symbol()) | (Symbol(), Text()):
                return _judged(as_text(gold) == as_text(answer))
            case (Text(), Product() | Power()) | (Product() | Power(), Text()):
                return self._values(as_product(gold), as_product(answer))
            case (BaseNumber(), BaseNumber()) | (Text(), Text()) | (Infinity(), Infinity()):
                return _judged(gold == answer)
            case BaseNumber(digits, _), Number(value):
                optional = self._policy.units == "optional"
                return _judged(optional and digits.lstrip("-").isdigit() and value == int(digits))
            case (Collection(()), Text()) | (Text(), Collection(())):
                return "ok" if _NO_SOLUTION in (gold, answer) else "type_mismatch"
            case _:
                return self._composed(gold, answer)

    def _composed(self, gold: Node, answer: Node) -> Verdict:
        match gold, answer:
            case (Reals() | SetOperation(), _) | (_, Reals() | SetOperation()):
                return self._sets(gold, answer)
            case Sequence(), Sequence():
                return self._sequences(gold, answer)
            case Collection(), Collection():
                return self._collections(gold, answer)
            case (Sequence("()"), Collection()) | (Collection(), Sequence("()")):
                point, other = as_point(gold), as_point(answer)
                if isinstance(point, Sequence) and isinstance(other, Sequence):
                    return self._sequences(point, other)
                return "type_mismatch"
            case Matrix(), Matrix():
                return self._matrices(gold, answer)
            case (Matrix(), Sequence() | Function()) | (Sequence() | Function(), Matrix()):
                column, other = as_column(gold), as_column(answer)
                if isinstance(column, Matrix) and isinstance(other, Matrix):
                    return self._matrices(column, other)
                return "type_mismatch"
            case _:
                return self._values(gold, answer)

    def _matrices(self, gold: Matrix, answer: Matrix) -> Verdict:
        shape = [len(row) for row in gold.rows] == [len(row) for row in answer.rows]
        return _judged(shape and all(map(self._in_order, gold.rows, answer.rows)))

    # -- values ---------------------------------------------------------------------------------------------------

    def _values(self, gold: Node, answer: Node) -> Verdict:
        if isinstance(gold, _NO_VALUE) or isinstance(answer, _NO_VALUE):
            return "type_mismatch"
        if self._policy.form == "number" and _unfinished(gold, answer):
            return "type_mismatch"
        if isinstance(gold, Number) and isinstance(answer, Number):
            if gold.value == answer.value:
                return "ok"
        elif self._tiers.equal(gold, answer):
            return "ok"
        if isinstance(gold, Number) and gold.written == "decimal" and self._rounds(gold, answer):
            return "ok"
        if self._policy.tolerance and self._tiers.near(gold, answer, self._policy.tolerance):
            return "ok"
        return "mismatch"

    def _rounds(self, gold: Number, answer: Node) -> bool:
        """Whether the decimal gold is a rounding of the answer."""
        policy = self._policy.decimals
        unit = Fraction(1, 10**gold.places)
        if policy == "exact" or (policy == "gold" and abs(gold.value / unit) < 10 ** (_MIN_ROUNDED_DIGITS - 1)):
            return False
        longer = isinstance(answer, Number) and answer.written == "decimal" and answer.places > gold.places
        if isinstance(answer, Number) and answer.written != "fraction" and not (policy == "rounded" and longer):
            return False
        try:
            return abs(self._tiers.real_value(answer) - gold.value) <= unit * _HALF
        except UndecidedError:
            return False

    # -- names, letters, relations --------------------------------------------------------------------------------

    def _choices(self, gold: Node, answer: Node) -> Verdict:
        gold_letter, letter = choice_letter(gold), choice_letter(answer)
        if gold_letter and letter:
            return _judged(gold_letter == letter)
        return self.verdict(
            gold.content if isinstance(gold, Choice) else gold, answer.content if isinstance(answer, Choice) else answer
        )

    def _bindings(self, gold: Node, answer: Node) -> Verdict:
        match gold, answer:
            case Binding(name, value), Binding(other, found):
                if name == other or define_one_function(name, other):
                    return self.verdict(value, found)
                if not (has_letter(value) or has_letter(found)):
                    return "mismatch"
                return self._relations(equation(gold), equation(answer))
            case Binding(name, Sequence() as values), Collection() if name[0] == "(":
                return self.verdict(values, in_places(name, answer) or answer)
            case Collection(), Binding(name, Sequence() as values) if name[0] == "(":
                return self.verdict(in_places(name, gold) or gold, values)
            case Binding(), Relation() if set(answer.signs) == {"="}:
                return self._relations(equation(gold), answer)
            case Relation(), Binding() if set(gold.signs) == {"="} and not is_calculation(gold):
                return self._relations(gold, equation(answer))
            case Binding(_, value), _:
                return self.verdict(value, answer)
            case _, Binding(_, value):
                return self.verdict(gold, value)
            case _:
                raise AssertionError

    def _relations(self, gold: Node, answer: Node) -> Verdict:
        if isinstance(gold, Relation) and is_calculation(gold):
            return self.verdict(gold.sides[-1], answer)
        if isinstance(gold, Relation) and isinstance(answer, Relation):
            if inequality(gold) and inequality(answer):
                try:
                    reader = SetReader(self._tiers.real_value)
                    return _judged(reader.read(gold) == reader.read(answer) and letter_of(gold) == letter_of(answer))
                except UndecidedError:
                    pass
            return _judged(same_relation(gold, answer, self._tiers))
        if isinstance(answer, Relation) and set(answer.signs) == {"="}:
            return self._chain(gold, answer)
        if isinstance(gold, _NO_SET) or isinstance(answer, _NO_SET) or not (inequality(gold) or inequality(answer)):
            return "type_mismatch"
        return self._sets(gold, answer)

    def _chain(self, gold: Node, answer: Relation) -> Verdict:
        """`40 + 2 = 42` says 42, if it is true; `m + n = 42` says 42 as well; `41 = 42` says nothing."""
        sides = chain_sides(answer)
        if not sides:
            return "type_mismatch"
        verdicts: list[Verdict] = [self.verdict(gold, side) for side in sides]
        if not all(self._same(gold, side) for side in sides):
            return "mismatch"
        return "ok" if "ok" in verdicts else verdicts[-1]

    def _same(self, gold: Node, side: Node) -> bool:
        return _Comparison(_any_form(self._policy)).verdict(gold, side) == "ok"

    # -- quantities -----------------------------------------------------------------------------------------------

    def _quantities(self, gold: Node, answer: Node) -> Verdict:
        """Units must agree where both are given; nothing is converted."""
        gold_value, gold_unit = value_and_unit(gold)
        value, unit = value_and_unit(answer)
        if gold_unit and not unit:
            value, unit = trailing_unit(value, gold_unit)
        elif unit and not gold_unit:
            gold_value, gold_unit = trailing_unit(gold_value, unit)
        if same_unit(gold_unit, unit):
            return self.verdict(gold_value, value)
        if (gold_unit and unit) or (gold_unit and self._policy.units == "required"):
            return "mismatch"
        if "%" in (gold_unit, unit):
            return self._percent(gold_value, value, gold_is_percent=gold_unit == "%")
        return self.verdict(gold_value, value)

    def _percent(self, gold: Node, answer: Node, *, gold_is_percent: bool) -> Verdict:
        policy = self._policy.percent
        number = self.verdict(gold, answer) if policy != "value" else "mismatch"
        share = policy == "either" and not gold_is_percent and isinstance(gold, Number) and 0 < abs(gold.value) <= 1
        if policy == "number" or (number == "ok" and not share):
            return number
        return self.verdict(hundredth(gold), answer) if gold_is_percent else self.verdict(gold, hundredth(answer))

    def _ratios(self, gold: Node, answer: Node) -> Verdict:
        match gold, answer:
            case Ratio(), Ratio():
                return self._two_ratios(gold, answer)
            case (Ratio() as ratio, other) | (other, Ratio() as ratio):
                if isinstance(other, _NO_VALUE) or len(ratio.parts) != 2:
                    return "type_mismatch"
                hour = ratio.clock and ratio.parts[1] == Number(Fraction(0))
                if hour or ratio.half:
                    return self.verdict(ratio.parts[0], other) if hour else "type_mismatch"
                return _judged(self._tiers.equal(Quotient(*ratio.parts), other))
            case _:
                raise AssertionError

    def _two_ratios(self, gold: Ratio, answer: Ratio) -> Verdict:
        if len(gold.parts) != len(answer.parts) or (gold.half and answer.half and gold.half != answer.half):
            return "mismatch"
        if (gold.clock and answer.clock) or gold.half or answer.half:
            one_half = bool(gold.half) != bool(answer.half)
            same = self._in_order(gold.parts, answer.parts)
            return _judged(same or (one_half and self._in_order(on_24_hours(gold), on_24_hours(answer))))
        first, other = gold.parts[0], answer.parts[0]
        pairs = zip(gold.parts[1:], answer.parts[1:], strict=True)
        return _judged(all(self._tiers.equal(Product((first, two)), Product((other, one))) for one, two in pairs))

    # -- several values -------------------------------------------------------------------------------------------

    def _sets(self, gold: Node, answer: Node) -> Verdict:
        try:
            reader = SetReader(self._tiers.real_value)
            return _judged(reader.read(gold) == reader.read(answer))
        except UndecidedError:
            pass
        if isinstance(gold, SetOperation) and isinstance(answer, SetOperation):
            return self._operations(gold, answer)
        return "type_mismatch"

    def _operations(self, gold: SetOperation, answer: SetOperation) -> Verdict:
        """With letters in their ends: part by part."""
        if gold.operator != answer.operator:
            return "mismatch"
        if gold.operator == "union":
            return self._in_any_order(parts(gold), parts(answer))
        return _judged(self._in_order((gold.left, gold.right), (answer.left, answer.right)))

    def _sequences(self, gold: Sequence, answer: Sequence) -> Verdict:
        if self._policy.order == "any":
            return self._in_any_order(gold.items, answer.items)
        return _judged(gold.brackets == answer.brackets and self._in_order(gold.items, answer.items))

    def _collections(self, gold: Collection, answer: Collection) -> Verdict:
        if inequality(gold) or inequality(answer):
            return self._sets(gold, answer)
        if self._policy.order == "strict" and not gold.braces:
            return _judged(self._in_order(gold.items, answer.items))
        items, found = gold.items, answer.items
        if gold.braces and answer.braces and max(len(items), len(found)) <= MAX_ITEMS:
            items, found = self._distinct(items), self._distinct(found)
        return self._in_any_order(items, found)

    def _in_order(self, gold: tuple[Node, ...], answer: tuple[Node, ...]) -> bool:
        return len(gold) == len(answer) and all(self.verdict(*pair) == "ok" for pair in zip(gold, answer, strict=True))

    def _in_any_order(self, gold: tuple[Node, ...], answer: tuple[Node, ...]) -> Verdict:
        if max(len(gold), len(answer)) > MAX_ITEMS:
            raise UnreadableError(f"a list of more than {MAX_ITEMS} items", "too_large")
        if len(gold) != len(answer):
            return "mismatch"
        left = list(answer)
        for item in gold:
            found = self._position(item, left, self.verdict)
            if found is None:
                return "mismatch"
            del left[found]
        return "ok"

    def _position(self, item: Node, others: list[Node], verdict: Callable[[Node, Node], Verdict]) -> int | None:
        for index, other in enumerate(others):
            if item == other:
                return index
        self._pairs += len(others)
        if self._pairs > MAX_PAIRS:
            raise UnreadableError("two lists too long to match", "too_large")
        return next((index for index, other in enumerate(others) if verdict(item, other) == "ok"), None)

    def _distinct(self, items: tuple[Node, ...]) -> tuple[Node, ...]:
        kept: list[Node] = []
        for item in items:
            if self._position(item, kept, self.verdict) is None:
                kept.append(item)
        return tuple(kept)


_NO_SET = (Text, Infinity, Matrix, Number, BaseNumber, Ratio)


def _unfinished(gold: Node, answer: Node) -> bool:
    """Whether the gold is a plain number and the answer a calculation: the question restated, perhaps."""
    if not isinstance(gold, Number) or gold.written == "quotient":
        return False
    return not isinstance(answer, Number) or answer.written == "quotient"


def _any_form(policy: Policy) -> Policy:
    return policy if policy.form == "any" else dataclasses.replace(policy, form="any")


def _judged(same: bool) -> Verdict:
    return "ok" if same else "mismatch"
