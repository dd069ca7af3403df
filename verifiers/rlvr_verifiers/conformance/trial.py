"""One rule of `rules.py` as a verifier, so that the pool runs it in a process that can be killed.

verifier_args: {"rule": name, "target": verifier}; the cases are in the task's `info`.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

from rlvr_verifiers.conformance.cases import Case
from rlvr_verifiers.conformance.rules import RULES, Subject
from rlvr_verifiers.registry import required_verifiers, resolve
from rlvr_verifiers.types import Completion, Score, Task


class Trial:
    def required_verifiers(self, task: Task) -> list[str]:
        names = [str(task.verifier_args["target"])]
        for case in _cases(task):
            names += required_verifiers(case.task) if not case.refused else ()
        return list(dict.fromkeys(names))

    def score(self, task: Task, completion: Completion) -> Score:
        sys.dont_write_bytecode = True  # a late import is not the verifier's own writing
        rule = str(task.verifier_args["rule"])
        cases = _cases(task)
        subject = Subject(
            verifier=resolve(str(task.verifier_args["target"])),
            cases=tuple(case for case in cases if not case.refused),
            refused=tuple(case for case in cases if case.refused),
            figures={},
        )
        broken = RULES[rule](subject)
        return Score(
            value=float(broken is None),
            passed=broken is None,
            reason="ok" if broken is None else "broken",
            explanation=broken or "",
            metrics=subject.figures,
        )


def trial_task(rule: str, verifier: str, cases: list[Case]) -> Task:
    info = {"cases": [{**dataclasses.asdict(case), "task": case.task.to_json()} for case in cases]}
    arguments = {"rule": rule, "target": verifier}
    name = f"{__name__}:Trial"
    return Task(id=f"trial-{rule}", prompt=(), verifier=name, answer="", verifier_args=arguments, info=info)


def _cases(task: Task) -> list[Case]:
    return [_case(row) for row in task.info["cases"]]


def _case(row: dict[str, Any]) -> Case:
    rest = {name: value for name, value in row.items() if name not in ("task", "completion")}
    return Case(task=Task.from_json(row["task"]), completion=Completion.from_json(row["completion"]), **rest)
