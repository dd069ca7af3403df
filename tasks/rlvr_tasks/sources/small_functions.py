"""Tiny functions to write: a few steps over a list, in words. Each with hidden cases and a demonstration, train and eval disjoint.

"Keep those greater than 3. Multiply each by 4. Return their sum." is `sum(v * 4 for v in values if v > 3)`. Small enough for a small
model to learn in minutes, and judged as all code is: by running it. Which side a problem belongs to is decided by a hash of its
steps, never by the seed. The cases hold every number of the steps and its neighbours, so that `>` for `>=` shows, and are drawn anew
until no shorter problem (a step left out, a number off by one) has the same answers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import random
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from rlvr_tasks.errors import TaskError
from rlvr_tasks.procedural import ProceduralTasks, Side, side_of
from rlvr_tasks.record import canonical_json
from rlvr_verifiers.types import Task

TRIES = 2_000
"""Draws for one new problem before the space counts as used up."""
CASES = 8
REDRAWS = 50
ASK = (
    "Write a Python function f(values) for a list of integers. {steps} Return {result}.\n"
    "Answer with one block that starts with ```python and ends with ```."
)


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """One step: in words, as Python over `{v}`, and as what it does. `{k}` is its number, where it has one."""

    words: tuple[str, ...]
    code: str
    does: Callable[[int, int], Any]

    @property
    def takes_number(self) -> bool:
        return "{k}" in self.code


KEEPS: dict[str, Operation] = {
    "above": Operation(
        ("Keep those greater than {k}.", "Drop those that are {k} or less."), "{v} > {k}", lambda v, k: v > k
    ),
    "below": Operation(("Keep those less than {k}.", "Drop those that are {k} or more."), "{v} < {k}", lambda v, k: v < k),
    "multiple": Operation(
        ("Keep those divisible by {k}.", "Drop those that {k} does not divide."), "{v} % {k} == 0", lambda v, k: v % k == 0
    ),
    "other": Operation(("Drop those equal to {k}.", "Keep those other than {k}."), "{v} != {k}", lambda v, k: v != k),
    "even": Operation(("Keep the even ones.", "Drop the odd ones."), "{v} % 2 == 0", lambda v, _: v % 2 == 0),
    "odd": Operation(("Keep the odd ones.", "Drop the even ones."), "{v} % 2 == 1", lambda v, _: v % 2 == 1),
}
MAPS: dict[str, Operation] = {
    "add": Operation(("Add {k} to each.", "Increase each by {k}."), "{v} + {k}", lambda v, k: v + k),
    "subtract": Operation(("Subtract {k} from each.", "Decrease each by {k}."), "{v} - {k}", lambda v, k: v - k),
    "multiply": Operation(("Multiply each by {k}.", "Take {k} times each."), "{v} * {k}", lambda v, k: v * k),
    "remainder": Operation(
        ("Take the remainder of each when divided by {k}.", "Take each modulo {k}."), "{v} % {k}", lambda v, k: v % k
    ),
    "square": Operation(("Square each.", "Multiply each by itself."), "{v} ** 2", lambda v, _: v**2),
    "negate": Operation(("Negate each.", "Change the sign of each."), "-{v}", lambda v, _: -v),
}
RESULTS: dict[str, tuple[str, str, Callable[[list[int]], Any]]] = {
    "list": ("the list", "[{items}]", lambda values: values),
    "sum": ("their sum", "sum({items})", sum),
    "sorted": ("the list in ascending order", "sorted({items})", sorted),
    "descending": (
        "the list in descending order",
        "sorted(({items}), reverse=True)",
        lambda values: sorted(values, reverse=True),
    ),
    "count": ("how many different values there are", "len(set({items}))", lambda values: len(set(values))),
    "largest": ("the largest, or 0 if there is none", "max(({items}), default=0)", lambda values: max(values, default=0)),
    "smallest": ("the smallest, or 0 if there is none", "min(({items}), default=0)", lambda values: min(values, default=0)),
}
OPERATIONS = {**KEEPS, **MAPS}
Step = tuple[str, int]
"""Name of an operation, and its number (0 where it takes none)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    steps: tuple[Step, ...]
    result: str

    @property
    def key(self) -> str:
        """64 hex digits, the same everywhere."""
        text = " ".join(f"{name}:{number}" for name, number in self.steps)
        return hashlib.sha256(f"{text} {self.result}".encode()).hexdigest()

    def answer(self, values: Sequence[int]) -> Any:
        found = list(values)
        for name, number in self.steps:
            operation = OPERATIONS[name]
            if name in KEEPS:
                found = [value for value in found if operation.does(value, number)]
            else:
                found = [operation.does(value, number) for value in found]
        return RESULTS[self.result][2](found)

    def program(self) -> str:
        item, conditions = "v", list[str]()
        for name, number in self.steps:
            inner = item if item == "v" else f"({item})"
            code = OPERATIONS[name].code.format(v=inner, k=number)
            if name in KEEPS:
                conditions.append(code)
            else:
                item = code
        items = f"{item} for v in values" + (f" if {' and '.join(conditions)}" if conditions else "")
        return f"def f(values):\n    return {RESULTS[self.result][1].format(items=items)}\n"


def small_functions(
    size: Annotated[int, Field(ge=1, description="number of tasks")] = 1000,
    split: Annotated[Side, Field(description="train or eval; no problem is in both, whatever the seeds")] = "train",
    seed: Annotated[int, Field(description="draws other problems of the same side")] = 0,
    steps: Annotated[int | list[int], Field(description="steps of a function, 1 to 4, or [fewest, most]")] = 2,
    largest: Annotated[int, Field(ge=2, le=99, description="largest number in a step")] = 9,
    wording: Annotated[
        Literal["plain", "varied"],
        Field(description="plain: each step has one wording; varied: two, in turn by the problem"),
    ] = "varied",
    results: Annotated[str | list[str], Field(description=f"`all`, or some of {', '.join(RESULTS)}")] = "all",
) -> Sequence[Task]:
    """Small functions over a list to write in Python, with hidden cases and demonstrations."""
    bounds = (steps, steps) if isinstance(steps, int) else tuple(steps)
    if len(bounds) != 2 or not 1 <= bounds[0] <= bounds[1] <= 4:
        raise TaskError(f"small_functions: steps {steps!r}; give a number or [fewest, most] within 1 and 4")
    chosen = list(RESULTS) if results == "all" else [results] if isinstance(results, str) else list(results)
    for name in chosen:
        if name not in RESULTS:
            raise TaskError(f"small_functions: no result {name!r}; known: {', '.join(RESULTS)}")
    if not chosen:
        raise TaskError(f"small_functions: `results` is empty; name some of {', '.join(RESULTS)}")
    drawn = _distinct(size, split, seed, (bounds[0], bounds[1]), largest, chosen)
    return ProceduralTasks(lambda index: _task(drawn[index], split, wording), range(size))


def _task(problem: Problem, split: Side, wording: str) -> Task:
    variants = int(problem.key[8:16], 16) if wording == "varied" else 0
    words: list[str] = []
    for place, (name, number) in enumerate(problem.steps):
        options = OPERATIONS[name].words
        words.append(options[(variants >> place) % len(options)].format(k=number))
    prompt = ASK.format(steps=" ".join(words), result=RESULTS[problem.result][0])
    cases = [{"args": [values], "expected": problem.answer(values)} for values in cases_of(problem)]
    return Task(
        id=f"small-function-{problem.key[:16]}",
        prompt=({"role": "user", "content": prompt},),
        verifier="code",
        answer=canonical_json(
            {"style": "function", "entry_point": "f", "cases": cases, "limits": {"wall_s": 2, "cpu_s": 2}}
        ),
        data_source="small_functions",
        ability="code",
        split=split,
        info={"demonstration": f"```python\n{problem.program()}```"},
    )


def cases_of(problem: Problem) -> list[list[int]]:
    """Inputs that tell this problem from its neighbours, the same ones each time."""
    generator = random.Random(problem.key)
    numbers = [number + offset for _, number in problem.steps if number for offset in (-1, 0, 1)]
    inputs: list[list[int]] = []
    for _ in range(REDRAWS):
        inputs = [[], [*numbers, *(generator.randint(-12, 12) for _ in range(3))]]
        inputs += [[generator.randint(-12, 30) for _ in range(generator.randint(1, 7))] for _ in range(CASES - 2)]
        answers = [problem.answer(values) for values in inputs]
        if all([other.answer(values) for values in inputs] != answers for other in _neighbours(problem)):
            break
    return inputs


def _neighbours(problem: Problem) -> list[Problem]:
    """What a careless program would compute: a step left out, a number off by one."""
    steps = problem.steps
    shorter = [steps[:place] + steps[place + 1 :] for place in range(len(steps))]
    near = [
        (*steps[:place], (name, number + offset), *steps[place + 1 :])
        for place, (name, number) in enumerate(steps)
        for offset in (-1, 1)
        if number + offset > 1 and number
    ]
    return [dataclasses.replace(problem, steps=other) for other in (*shorter, *near)]


def _distinct(
    size: int, split: Side, seed: int, bounds: tuple[int, int], largest: int, results: Sequence[str]
) -> list[Problem]:
    generator = random.Random(f"small_functions/{split}/{seed}")
    drawn: dict[Problem, None] = {}
    while len(drawn) < size:
        for _ in range(TRIES):
            problem = _draw(generator, bounds, largest, results)
            if problem not in drawn and side_of(problem.key) == split and _means_something(problem):
                break
        else:
            raise TaskError(
                f"small_functions: only {len(drawn)} of {size} tasks on the {split} side with steps {list(bounds)}, largest "
                f"{largest} and results {', '.join(results)}; raise steps or largest, or lower size"
            )
        drawn[problem] = None
    return list(drawn)


def _draw(generator: random.Random, bounds: tuple[int, int], largest: int, results: Sequence[str]) -> Problem:
    steps: list[Step] = []
    for _ in range(generator.randint(*bounds)):
        kinds = MAPS if steps and steps[-1][0] in KEEPS else OPERATIONS  # two conditions in a row are one
        name = generator.choice([name for name in kinds if not steps or name != steps[-1][0]])
        steps.append((name, generator.randint(2, largest) if OPERATIONS[name].takes_number else 0))
    return Problem(tuple(steps), generator.choice(results))


def _means_something(problem: Problem) -> bool:
    """Whether leaving a step out changes an answer, and the answers differ among themselves."""
    inputs = cases_of(problem)
    answers = [problem.answer(values) for values in inputs]
    neighbours = [[other.answer(values) for values in inputs] for other in _neighbours(problem)]
    return answers not in neighbours and len({str(answer) for answer in answers}) >= 3
