"""The kinds of arithmetic problem: how each draws its numbers, asks, answers, and shows its work.

A problem is drawn first as plain numbers (`Draw`), so that equal problems are recognised before any text is made.
"""

from __future__ import annotations

import dataclasses
import random
import statistics
from collections.abc import Callable, Mapping
from typing import Literal

Draw = tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    question: str
    answer: str
    working: str
    """The steps to the answer, in the fewest words."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Numbers:
    """What the knobs allow."""

    digits: tuple[int, int]
    terms: tuple[int, int]

    def one(self, generator: random.Random) -> int:
        digits = generator.randint(*self.digits)
        return generator.randrange(10 ** (digits - 1), 10**digits)

    def several(self, generator: random.Random) -> Draw:
        return tuple(self.one(generator) for _ in range(generator.randint(*self.terms)))

    def different(self, generator: random.Random) -> Draw:
        """Numbers without a tie; fewer than drawn only where the digits allow no more."""
        drawn = dict.fromkeys(self.several(generator))
        return tuple(drawn) if len(drawn) > 1 else ()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    draw: Callable[[random.Random, Numbers], Draw]
    """Numbers of one problem; () where this draw cannot make one."""
    pose: Callable[[Draw], Problem]
    judged_as: Literal["number", "integer", "text"] = "number"
    """`integer`: the question is an expression or nearly one, and must not be accepted back. `text`: order counts."""


def _pair(generator: random.Random, numbers: Numbers) -> Draw:
    return numbers.one(generator), numbers.one(generator)


def _falling_pair(generator: random.Random, numbers: Numbers) -> Draw:
    return tuple(sorted(_pair(generator, numbers), reverse=True))


def _different_pair(generator: random.Random, numbers: Numbers) -> Draw:
    first, second = _pair(generator, numbers)
    return (first, second) if first != second else ()


def _signed_terms(generator: random.Random, numbers: Numbers) -> Draw:
    """A sum that never goes below zero; the sign of a term is the sign of its number."""
    total = 0
    terms: list[int] = []
    for number in numbers.several(generator):
        signed = -number if terms and number <= total and generator.random() < 0.5 else number
        terms.append(signed)
        total += signed
    return tuple(terms) if len(terms) > 1 else ()


def _list(generator: random.Random, numbers: Numbers) -> Draw:
    return numbers.different(generator)


def _odd_list(generator: random.Random, numbers: Numbers) -> Draw:
    drawn = numbers.different(generator)
    return drawn if len(drawn) % 2 else drawn[:-1] if len(drawn) > 3 else ()


def _list_with_bound(generator: random.Random, numbers: Numbers) -> Draw:
    drawn = numbers.different(generator)
    bound = numbers.one(generator)
    return (bound, *drawn) if drawn and bound not in drawn else ()


def _story(generator: random.Random, numbers: Numbers) -> Draw:
    """Story, two names, thing, larger and smaller number."""
    people = generator.sample(range(len(_NAMES)), 2)
    return generator.randrange(len(_STORIES)), *people, generator.randrange(len(_THINGS)), *_falling_pair(generator, numbers)


def _pose_add(draw: Draw) -> Problem:
    a, b = draw
    return Problem(question=f"What is {a} + {b}?", answer=str(a + b), working=f"{a} + {b} = {a + b}.")


def _pose_subtract(draw: Draw) -> Problem:
    a, b = draw
    return Problem(question=f"What is {a} - {b}?", answer=str(a - b), working=f"{a} - {b} = {a - b}.")


def _pose_multiply(draw: Draw) -> Problem:
    a, b = draw
    parts = [int(digit) * 10**place for place, digit in reversed(list(enumerate(reversed(str(b))))) if digit != "0"]
    working = f"{a} * {b} = {a * b}."
    if len(parts) > 1:
        split = " + ".join(f"{a} * {part}" for part in parts)
        working = f"{a} * {b} = {split} = {' + '.join(str(a * part) for part in parts)} = {a * b}."
    return Problem(question=f"What is {a} * {b}?", answer=str(a * b), working=working)


def _pose_chain(draw: Draw) -> Problem:
    total, *rest = draw
    text, steps = str(total), list[str]()
    for term in rest:
        sign = "-" if term < 0 else "+"
        text += f" {sign} {abs(term)}"
        steps.append(f"{total} {sign} {abs(term)} = {total + term}")
        total += term
    return Problem(question=f"What is {text}?", answer=str(total), working=", ".join(steps) + ".")


def _pose_compare(draw: Draw) -> Problem:
    a, b = draw
    sign = "greater" if a > b else "less"
    return Problem(
        question=f"Which number is larger, {a} or {b}?", answer=str(max(a, b)), working=f"{a} is {sign} than {b}."
    )


def _pose_largest(draw: Draw) -> Problem:
    best = max(draw)
    return Problem(
        question=f"What is the largest of these numbers: {_joined(draw)}?",
        answer=str(best),
        working=f"The largest is {best}.",
    )


def _pose_smallest(draw: Draw) -> Problem:
    best = min(draw)
    return Problem(
        question=f"What is the smallest of these numbers: {_joined(draw)}?",
        answer=str(best),
        working=f"The smallest is {best}.",
    )


def _pose_second_largest(draw: Draw) -> Problem:
    first, second = sorted(draw, reverse=True)[:2]
    return Problem(
        question=f"What is the second largest of these numbers: {_joined(draw)}?",
        answer=str(second),
        working=f"The largest is {first}. Of the others, the largest is {second}.",
    )


def _pose_count(draw: Draw) -> Problem:
    count = str(len(draw))
    return Problem(
        question=f"How many numbers are in this list: {_joined(draw)}?",
        answer=count,
        working=f"The list has {count} numbers.",
    )


def _pose_count_above(draw: Draw) -> Problem:
    bound, *numbers = draw
    above = [number for number in numbers if number > bound]
    working = (
        f"Greater than {bound}: {_joined(above)}. That is {len(above)}."
        if above
        else f"None is greater than {bound}. That is 0."
    )
    return Problem(
        question=f"How many of these numbers are greater than {bound}: {_joined(numbers)}?",
        answer=str(len(above)),
        working=working,
    )


def _pose_sort(draw: Draw) -> Problem:
    ordered = _joined(sorted(draw))
    return Problem(
        question=f"Sort these numbers from smallest to largest: {_joined(draw)}.",
        answer=ordered,
        working=f"In order: {ordered}.",
    )


def _pose_median(draw: Draw) -> Problem:
    middle = statistics.median_low(draw)
    return Problem(
        question=f"What is the median of these numbers: {_joined(draw)}?",
        answer=str(middle),
        working=f"In order: {_joined(sorted(draw))}. The middle one is {middle}.",
    )


_NAMES = ("Ada", "Ben", "Chen", "Dina", "Emil", "Fatou", "Gita", "Hugo", "Ines", "Jomo", "Kim", "Lena")
_THINGS = ("apples", "books", "coins", "stamps", "shells", "marbles", "cards", "pencils")
_STORIES = (
    ("{a} has {x} {things}. {b} gives {a} {y} more. How many {things} does {a} have now?", "+"),
    ("{a} has {x} {things} and {b} has {y}. How many {things} do they have together?", "+"),
    ("{a} had {x} {things} and gave {y} of them to {b}. How many {things} does {a} have left?", "-"),
    ("{a} has {x} {things} and {b} has {y}. How many more {things} does {a} have than {b}?", "-"),
    ("{a} needs {x} {things} and {b} has brought {y}. How many {things} are still missing?", "-"),
)


def _pose_word(draw: Draw) -> Problem:
    story, a, b, thing, x, y = draw
    text, sign = _STORIES[story]
    result = x + y if sign == "+" else x - y
    return Problem(
        question=text.format(a=_NAMES[a], b=_NAMES[b], things=_THINGS[thing], x=x, y=y),
        answer=str(result),
        working=f"{x} {sign} {y} = {result}.",
    )


def _joined(numbers: tuple[int, ...] | list[int]) -> str:
    return ", ".join(map(str, numbers))


KINDS: Mapping[str, Kind] = {
    "add": Kind(draw=_pair, pose=_pose_add, judged_as="integer"),
    "chain": Kind(draw=_signed_terms, pose=_pose_chain, judged_as="integer"),
    "compare": Kind(draw=_different_pair, pose=_pose_compare),
    "count": Kind(draw=_list, pose=_pose_count),
    "count_above": Kind(draw=_list_with_bound, pose=_pose_count_above),
    "largest": Kind(draw=_list, pose=_pose_largest),
    "median": Kind(draw=_odd_list, pose=_pose_median),
    "multiply": Kind(draw=_pair, pose=_pose_multiply, judged_as="integer"),
    "second_largest": Kind(draw=_list, pose=_pose_second_largest),
    "smallest": Kind(draw=_list, pose=_pose_smallest),
    "sort": Kind(draw=_list, pose=_pose_sort, judged_as="text"),
    "subtract": Kind(draw=_falling_pair, pose=_pose_subtract, judged_as="integer"),
    "word": Kind(draw=_story, pose=_pose_word, judged_as="integer"),
}
