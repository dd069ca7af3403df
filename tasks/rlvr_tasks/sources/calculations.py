"""Calculations that are long for the head and short for a computer: the policy is offered the `python` tool and states the result.

Numbers and kinds are drawn by seed; train and eval are disjoint by a hash of the question, whatever the seeds.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from rlvr_tasks.answer_forms import exact_integer, stated
from rlvr_tasks.procedural import Side
from rlvr_tasks.sources.tools import Errand, Pose, calling, distinct, errand_key, taught
from rlvr_verifiers.tool_call import Call
from rlvr_verifiers.tool_env import offered
from rlvr_verifiers.types import Message, Task

ASK = '{question}\nCompute it with python. End with "Answer: " and the result.'


def calculations(
    size: Annotated[int, Field(ge=1, description="number of tasks")] = 1000,
    split: Annotated[Side, Field(description="train or eval; no question is in both")] = "train",
    seed: Annotated[int, Field(description="draws other questions of the same side")] = 0,
    demonstrate: Annotated[bool, Field(description="solved conversations for SFT, instead of tasks to solve")] = False,
) -> Sequence[Task]:
    """Integer calculations with the `python` tool: products, remainders, sums of squares, sums of digits."""
    tasks: list[Task] = []
    for errand in distinct("calculations", KINDS, size, split, seed):
        (answer,) = errand.outputs
        task = Task(
            id=f"calculation-{errand_key('calculations', errand.question)[:16]}",
            prompt=({"role": "user", "content": ASK.format(question=errand.question)},),
            verifier="exact",
            verifier_args=exact_integer(boxed=False),
            answer=answer,
            environment="python",
            data_source="calculations",
            ability="arithmetic",
            split=split,
        )
        task = dataclasses.replace(task, tools=offered(task))
        tasks.append(taught(task, _solved(errand, answer)) if demonstrate else task)
    return tuple(tasks)


def _solved(errand: Errand, answer: str) -> tuple[Message, ...]:
    identity = "call00000"
    (call,) = errand.calls
    shown = {"role": "tool", "tool_call_id": identity, "name": call.name, "content": f"{answer}\n"}
    reply = {"role": "assistant", "content": stated(answer, boxed=False)}
    return calling((dataclasses.replace(call, id=identity),)), shown, reply


def _product(source: random.Random) -> Errand:
    a, b, c = source.randint(100, 9999), source.randint(100, 999), source.randint(1000, 99999)
    return _errand(f"What is {a} * {b} + {c}?", f"{a} * {b} + {c}", a * b + c)


def _remainder(source: random.Random) -> Errand:
    a, b = source.randint(10_000, 999_999), source.randint(13, 997)
    return _errand(f"What is the remainder when {a} is divided by {b}?", f"{a} % {b}", a % b)


def _squares(source: random.Random) -> Errand:
    a = source.randint(2, 60)
    b = a + source.randint(3, 40)
    code = f"sum(n * n for n in range({a}, {b} + 1))"
    return _errand(f"What is the sum of the squares of {a} to {b}?", code, sum(n * n for n in range(a, b + 1)))


def _digits(source: random.Random) -> Errand:
    a, b = source.randint(100, 9999), source.randint(100, 9999)
    code = f"sum(int(d) for d in str({a} * {b}))"
    return _errand(f"What is the sum of the digits of {a} * {b}?", code, sum(map(int, str(a * b))))


def _errand(question: str, code: str, answer: int) -> Errand:
    call = Call(name="python", arguments={"code": f"print({code})"})
    return Errand(question=question, calls=(call,), outputs=(str(answer),))


KINDS: tuple[Pose, ...] = (_product, _remainder, _squares, _digits)
