"""`multi`: several verifiers on one completion, as a weighted sum with gates.

verifier_args: {"verifiers": [{"name", "weight", "args", "answer", "gate", "required"}, ...]}. Only `name` must be given.
A gate that does not pass makes the value 0 and ends the scoring. The task counts as passed when every required part passes;
a part is required unless it says `"required": false`. A part that fails on our side (None) makes the whole None.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
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

    def prepare_task(self, task: Task) -> None:
        for part in _parts(task):
            prepare = registry.resolve(part.task.verifier).prepare_task
            if prepare is not None:
                prepare(part.task)

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

    def whole_group(self, task: Task) -> bool:
        return any(registry.resolve(part.task.verifier).wants_group(part.task) for part in _parts(task))

    async def score(self, task: Task, completion: Completion) -> Score:
        return (await self.score_batch(task, (completion,)))[0]

    async def score_batch(self, task: Task, completions: Sequence[Completion]) -> list[Score]:
        """A part that wants groups gets the completions that passed every gate before it."""
        tallies = [_Tally() for _ in completions]
        for part in sorted(_parts(task), key=lambda part: not part.gate):  # gates first: a closed one saves the rest
            going_on = [(tally, each) for tally, each in zip(tallies, completions, strict=True) if not tally.closed]
            judged = await registry.resolve(part.task.verifier).score_group(part.task, [each for _, each in going_on])
            for (tally, _), score in zip(going_on, judged, strict=True):
                tally.add(part, score)
        return [tally.summary() for tally in tallies]


@dataclasses.dataclass(slots=True)
class _Tally:
    """What the parts have said of one completion so far."""

    total: float = 0.0
    failed: tuple[str, Score] | None = None
    metrics: dict[str, float] = dataclasses.field(default_factory=dict[str, float])
    parsed: str | None = None
    unjudged: Score | None = None
    closed: bool = False
    """By a gate, or by a failure of ours: nothing behind it runs."""

    def add(self, part: Part, score: Score) -> None:
        if score.value is None:
            explanation = f"part {part.label!r}: {score.explanation}"
            self.unjudged = dataclasses.replace(score, passed=False, explanation=explanation)
            self.closed = True
            return
        self.metrics[part.label] = score.value
        self.metrics.update({f"{part.label}/{name}": value for name, value in score.metrics.items()})
        self.total += part.weight * score.value
        self.parsed = score.parsed if self.parsed is None else self.parsed
        if part.required and not score.passed and self.failed is None:
            self.failed = part.label, score
        if part.gate and not score.passed:
            self.total = 0.0
            self.closed = True

    def summary(self) -> Score:
        if self.unjudged is not None:
            return self.unjudged
        explanation, reason = "every required part passed", "ok"
        if self.failed is not None:
            label, score = self.failed
            explanation, reason = f"part {label!r}: {score.explanation}", score.reason
        return Score(
            value=self.total,
            passed=self.failed is None,
            reason=reason,
            explanation=explanation,
            parsed=self.parsed,
            metrics=self.metrics,
        )


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
