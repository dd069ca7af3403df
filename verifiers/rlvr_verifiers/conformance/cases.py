"""Cases: completions of which it is known what the verifier must say. One JSON object a line.

    {"prompt": "13 + 29 = ?", "answer": "42", "completion": "\\\\boxed{42}", "passed": true}
    {"prompt": "13 + 29 = ?", "answer": "42", "completion": "42?", "passed": false, "reason": "no_answer", "why": "no box"}
    {"prompt": "13 + 29 = ?", "answer": "", "refused": true, "why": "an empty gold"}

`refused` says that `check_task` must refuse the task. `value` and `reason` are compared where they are given. Further fields
of a task (verifier_args, tools, environment, env_args, info) may be given as JSON.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.registry import BUILT_IN, file_of
from rlvr_verifiers.types import Completion, Task

_TASK = ("verifier_args", "tools", "environment", "env_args", "info", "data_source")
_EXPECTED = ("completion", "messages", "finish_reason", "passed", "value", "reason", "refused", "why")
_KNOWN = frozenset(("id", "prompt", "answer", *_TASK, *_EXPECTED))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    task: Task
    completion: Completion
    passed: bool = False
    value: float | None = None
    """None: not compared."""
    reason: str | None = None
    """None: not compared."""
    refused: bool = False
    why: str = ""

    @property
    def title(self) -> str:
        return f"{self.task.id}{f' ({self.why})' if self.why else ''}"


def find_cases(verifier: str) -> Path:
    """The cases file that belongs to a verifier: of a package `cases.jsonl` beside the module, of a single file FILE.py
    `FILE_cases.jsonl`. Raises VerifierError, with both places, where there is none."""
    if verifier in BUILT_IN:
        places = [Path(__file__).parent / "cases" / f"{verifier}.jsonl"]
    else:
        file = file_of(verifier)
        places = [file.with_name(f"{file.stem}_cases.jsonl"), file.with_name("cases.jsonl")]
    for place in places:
        if place.is_file():
            return place
    listed = " or ".join(str(place) for place in places)
    raise VerifierError(f"verifier {verifier!r} has no cases file; write {listed}, or name one with --cases")


def read_cases(path: Path, verifier: str) -> list[Case]:
    """Raises VerifierError, with the line, where the file is no list of cases or lacks one that passes or one that does not."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise VerifierError(f"cases file {path} cannot be read: {error.strerror}; mend the path") from error
    cases = [_case(line, f"{path}:{number}", verifier) for number, line in enumerate(lines, 1) if line.strip()]
    judged = [case.passed for case in cases if not case.refused]
    if True not in judged or False not in judged:
        raise VerifierError(f"cases file {path} needs a completion that passes and one that does not")
    return cases


def _case(line: str, where: str, verifier: str) -> Case:
    try:
        row: Any = json.loads(line)
    except ValueError as error:
        raise VerifierError(f"{where}: not JSON: {error}") from None
    if not isinstance(row, dict):
        raise VerifierError(f"{where}: found {type(row).__name__}; a case is a JSON object")
    row = cast("dict[str, Any]", row)
    unknown = row.keys() - _KNOWN
    if unknown:
        raise VerifierError(f"{where}: unknown keys {sorted(unknown)}; known: {', '.join(sorted(_KNOWN))}")
    refused = row.get("refused") is True
    wanted = () if refused else ("completion", "passed")
    for name, kind in {"prompt": (str, list), "answer": str, "completion": str, "passed": bool}.items():
        value = row.get(name)
        if not isinstance(value, kind) and (name in ("prompt", "answer", *wanted) or value is not None):
            raise VerifierError(f"{where}: {name}: found {value!r:.60}; a case needs prompt, answer, completion and passed")
    return Case(
        task=_task(row, where, verifier),
        completion=Completion(
            text=row.get("completion", ""),
            messages=tuple(row.get("messages", ())),
            finish_reason=row.get("finish_reason", "stop"),
        ),
        passed=row.get("passed", False),
        value=row.get("value"),
        reason=row.get("reason"),
        refused=refused,
        why=row.get("why", ""),
    )


def _task(row: Mapping[str, Any], where: str, verifier: str) -> Task:
    prompt = row["prompt"]
    fields = {name: row[name] for name in _TASK if row.get(name) is not None}
    for name in ("verifier_args", "env_args", "info", "tools"):
        if isinstance(fields.get(name), str):  # as in a record
            fields[name] = json.loads(fields[name])
    if "tools" in fields:
        fields["tools"] = tuple(fields["tools"])
    messages = ({"role": "user", "content": prompt},) if isinstance(prompt, str) else tuple(prompt)
    name = row.get("id") or f"case-{where.rpartition(':')[2]}"
    return Task(id=name, prompt=messages, verifier=verifier, answer=row["answer"], **fields)
