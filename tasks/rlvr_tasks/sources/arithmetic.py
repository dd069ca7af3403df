"""Our own procedural problems: no dependency, a demonstration for each, and train and eval disjoint by construction.

Which side a problem belongs to is decided by a hash of its kind and numbers, never by the seed: whatever the seeds, sizes and
other arguments of a train and an eval set, no problem can be in both. Within a set all problems are different, and the first
n of a longer set are the set of size n. (For kinds that take a list, the hash ignores its order, so that a list and its
permutation stay on one side.)
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from rlvr_tasks.answer_forms import exact_integer, exact_text, stated
from rlvr_tasks.errors import TaskError
from rlvr_tasks.mapping import Template
from rlvr_tasks.procedural import ProceduralTasks, Side, side_of
from rlvr_tasks.sources.problems import KINDS, Draw, Numbers
from rlvr_verifiers.types import Message, Task

TRIES = 2_000
"""Draws for one new problem before the space counts as used up."""

DEFAULT_TEMPLATE = '{question}\nEnd with "Answer: " and the result.'
BOXED_TEMPLATE = "{question}\nPut the result in \\boxed{{}}."


def arithmetic(
    kinds: Annotated[str | list[str], Field(description=f"`all`, or one or more of {', '.join(KINDS)}")] = "all",
    size: Annotated[int, Field(ge=1, description="number of tasks")] = 1000,
    split: Annotated[Side, Field(description="train or eval; no problem is in both, whatever the seeds")] = "train",
    seed: Annotated[int, Field(description="draws other problems of the same side")] = 0,
    digits: Annotated[int | list[int], Field(description="digits of every number, or [fewest, most]")] = 2,
    terms: Annotated[int | list[int], Field(description="numbers in a list or chain, or [fewest, most]")] = [4, 7],  # noqa: B006
    boxed: Annotated[bool, Field(description="answers as \\boxed{57} instead of `Answer: 57`")] = False,
    template: Annotated[
        str | None, Field(description="the prompt around {question}; default asks for the answer form")
    ] = None,
    system: Annotated[str | None, Field(description="system message put before every prompt")] = None,
) -> Sequence[Task]:
    """Arithmetic, comparison, list and word problems with demonstrations."""
    names = _kinds(kinds)
    verifiers: dict[str, tuple[str, dict[str, Any]]] = {
        "number": ("math", {}),
        "integer": ("exact", exact_integer(boxed=boxed)),
        "text": ("exact", exact_text(boxed=boxed)),
    }
    numbers = Numbers(digits=_bounds("digits", digits, 1, 12), terms=_bounds("terms", terms, 2, 100))
    shape = Template.parse(template or (BOXED_TEMPLATE if boxed else DEFAULT_TEMPLATE), "template")
    if not any(column == "question" for _, column in shape.parts):
        raise TaskError("arithmetic: `template` has no {question}; put it where the question belongs")
    drawn = _distinct(names, size, split, seed, numbers)

    def make(index: int) -> Task:
        name, draw = drawn[index]
        problem = KINDS[name].pose(draw)
        verifier, verifier_args = verifiers[KINDS[name].judged_as]
        user: Message = {"role": "user", "content": shape.fill({"question": problem.question})}
        return Task(
            id=f"{name}-{_key(name, draw)[:16]}",
            prompt=({"role": "system", "content": system}, user) if system else (user,),
            verifier=verifier,
            verifier_args=verifier_args,
            answer=problem.answer,
            data_source=f"arithmetic/{name}",
            ability="arithmetic",
            split=split,
            info={"demonstration": f"{problem.working}\n{stated(problem.answer, boxed=boxed)}"},
        )

    return ProceduralTasks(make, range(size))


def _distinct(names: Sequence[str], size: int, split: Side, seed: int, numbers: Numbers) -> list[tuple[str, Draw]]:
    """`size` different problems of one side, the kinds in turn."""
    generator = random.Random(f"arithmetic/{split}/{seed}")
    drawn: list[tuple[str, Draw]] = []
    seen: set[tuple[str, Draw]] = set()
    while len(drawn) < size:
        name = names[len(drawn) % len(names)]
        for _ in range(TRIES):
            problem = name, KINDS[name].draw(generator, numbers)
            if problem[1] and problem not in seen and _side(name, problem[1]) == split:
                break
        else:
            raise TaskError(
                f"arithmetic: only {len(drawn)} of {size} tasks: no new {name!r} problem for the {split} side with digits "
                f"{list(numbers.digits)} and terms {list(numbers.terms)}; raise digits or terms, or lower size"
            )
        seen.add(problem)
        drawn.append(problem)
    return drawn


def _side(name: str, draw: Draw) -> Side:
    """The side of a problem. Order does not count, so 13 + 29 and 29 + 13 are on one side."""
    return side_of(_key(name, tuple(sorted(draw))))


def _key(name: str, draw: Draw) -> str:
    return hashlib.sha256(f"{name}:{','.join(map(str, draw))}".encode()).hexdigest()


def _kinds(kinds: str | Sequence[str]) -> Sequence[str]:
    names = list(KINDS) if kinds == "all" else [kinds] if isinstance(kinds, str) else list(kinds)
    if not names:
        raise TaskError(f"arithmetic: `kinds` is empty; name some of {', '.join(KINDS)}")
    for name in names:
        if name not in KINDS:
            raise TaskError(f"arithmetic: no kind {name!r}; known: {', '.join(KINDS)}")
    return names


def _bounds(name: str, value: int | Sequence[int], lowest: int, highest: int) -> tuple[int, int]:
    bounds = (value, value) if isinstance(value, int) else tuple(value)
    if len(bounds) != 2 or not lowest <= bounds[0] <= bounds[1] <= highest:
        raise TaskError(f"arithmetic: {name} {value!r}; give a number or [fewest, most] within {lowest} and {highest}")
    return bounds[0], bounds[1]
