"""`multi`: several verifiers on one completion, as a weighted sum with gates.

verifier_args: {"verifiers": [{"name", "weight", "args", "answer", "gate", "required"}, ...]}. Only `name` must be given.
A gate that does not pass makes the value 0 and ends the scoring. The task counts as passed when every required part passes;
a part is required unless it says `"required": false`. A part that fails on our side (None) makes the whole None.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from rlvr_verifiers import registry
from rlvr_verifiers.arguments import ArgumentReader
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.types import Completion, Score, Task


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    label: str
    """Its name in the metrics; the second part of one name is `name#2`."""
    task: Task
    weight: float
    gate: bool
    required: bool


class Multi:
    def check_task(self, task: Task) -> str | None:
        for part in _parts(task):
            problem = registry.check_task(part.task)
            if problem is not None:
                return f"part {part.label!r}: {problem}"
        return None

    def required_verifiers(self, task: Task) -> Iterator[str]:
        for part in _parts(task):
            yield from registry.required_verifiers(part.task)

    def deadline_s(self, task: Task) -> float:
        return sum(registry.resolve(part.task.verifier).deadline_s(part.task) for part in _parts(task))

    def reasons(self, task: Task) -> frozenset[str]:
        declared = [registry.resolve(part.task.verifier).reasons_for(part.task) for part in _parts(task)]
        return frozenset({"ok"}).union(*(reasons for reasons in declared if reasons is not None))

    def value_range(self, task: Task) -> tuple[float, float]:
        low = high = 0.0  # a closed gate makes the sum 0
        for part in _parts(task):
            ends = [part.weight * end for end in registry.resolve(part.task.verifier).range_for(part.task)]
            low, high = low + min(0.0, *ends), high + max(0.0, *ends)
        return low, high

    async def score(self, task: Task, completion: Completion) -> Score:
        total = 0.0
        failed: tuple[str, Score] | None = None
        metrics: dict[str, float] = {}
        parsed: str | None = None
        for part in sorted(_parts(task), key=lambda part: not part.gate):  # gates first: a closed one saves the rest
            score = await registry.resolve(part.task.verifier).score(part.task, completion)
            if score.value is None:
                return dataclasses.replace(score, passed=False, explanation=f"part {part.label!r}: {score.explanation}")
            metrics[part.label] = score.value
            metrics.update({f"{part.label}/{name}": value for name, value in score.metrics.items()})
            total += part.weight * score.value
            parsed = score.parsed if parsed is None else parsed
            if part.required and not score.passed and failed is None:
                failed = part.label, score
            if part.gate and not score.passed:
                total = 0.0
                break
        return _summary(total, failed, metrics, parsed)


def _summary(total: float, failed: tuple[str, Score] | None, metrics: dict[str, float], parsed: str | None) -> Score:
    if failed is None:
        return Score(
            value=total, passed=True, reason="ok", explanation="every required part passed", parsed=parsed, metrics=metrics
        )
    label, score = failed
    explanation = f"part {label!r}: {score.explanation}"
    return Score(value=total, passed=False, reason=score.reason, explanation=explanation, parsed=parsed, metrics=metrics)


def _parts(task: Task) -> list[Part]:
    read = ArgumentReader("multi", task.verifier_args)
    items = read.items("verifiers")
    read.finish()
    parts: list[Part] = []
    for item in items:
        part = _part(task, item)
        same = sum(other.task.verifier == part.task.verifier for other in parts)
        parts.append(dataclasses.replace(part, label=f"{part.label}#{same + 1}") if same else part)
    if not any(part.required for part in parts):
        raise VerifierError(
            "verifier_args of 'multi': no part is required, so every completion would pass; require at least one"
        )
    return parts


def _part(task: Task, item: Any) -> Part:
    read = ArgumentReader("multi", item)
    name = read.text("name")
    weight = read.number("weight", 1.0)
    arguments = read.mapping("args")
    answer = read.text("answer")
    gate = read.flag("gate", False)
    required = read.flag("required", True)
    read.finish()
    if name is None:
        raise VerifierError("verifier_args of 'multi': a part has no name; give the verifier's")
    if gate and not required:
        raise VerifierError(f"verifier_args of 'multi': part {name!r} is a gate, and a gate is always required")
    part_task = dataclasses.replace(
        task, verifier=name, verifier_args=arguments, answer=task.answer if answer is None else answer
    )
    return Part(label=name, task=part_task, weight=weight, gate=gate, required=required)
