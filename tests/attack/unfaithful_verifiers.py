"""Verifiers that each break one rule of conformance, and one that keeps them all. Loaded by file path in test_conformance.py."""

from __future__ import annotations

import itertools
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from rlvr_verifiers.types import Completion, Score, Task

hoard: list[str] = []
local = threading.local()
judged = 0
groups = itertools.count()


def right(task: Task, completion: Completion) -> bool:
    return completion.content.strip() == task.answer


def faithful(task: Task, completion: Completion) -> bool:
    return right(task, completion)


def cases(task: Task, completion: Completion) -> bool:
    """Too generous."""
    return task.answer in completion.content


class Gold:
    """Refuses a good gold."""

    def check_task(self, task: Task) -> str | None:
        return "I do not like it" if task.answer == "42" else None

    def score(self, task: Task, completion: Completion) -> bool:
        return right(task, completion)


class Arguments:
    """Takes any verifier_args."""

    def check_task(self, task: Task) -> str | None:
        return None

    def score(self, task: Task, completion: Completion) -> bool:
        return right(task, completion)


def deterministic(task: Task, completion: Completion) -> Score:
    passed = right(task, completion)
    return Score(value=float(passed), passed=passed, reason="ok" if passed else "mismatch", parsed=str(time.monotonic_ns()))


class Batch:
    """The group changes what one is worth."""

    def score(self, task: Task, completion: Completion) -> bool:
        return right(task, completion)

    def score_batch(self, task: Task, completions: Sequence[Completion]) -> list[float]:
        passed = [right(task, completion) for completion in completions]
        return [each / max(1, sum(passed)) for each in passed]


def ranked(task: Task, completions: Sequence[Completion]) -> list[float]:
    """Faithful: who judges groups only may let the group decide."""
    passed = [right(task, completion) for completion in completions]
    return [each / max(1, sum(passed)) for each in passed]


def fickle(task: Task, completions: Sequence[Completion]) -> list[float]:
    """Says another thing of the same group each time."""
    passed = [float(right(task, completion)) for completion in completions]
    return passed if len(passed) == 1 or next(groups) % 2 else passed[::-1]


def threads(task: Task, completion: Completion) -> bool:
    """Keeps what it works on in a global."""
    global judged
    judged = len(completion.text)
    time.sleep(0.0005)
    return right(task, completion) and judged == len(completion.text)


def workers(task: Task, completion: Completion) -> Score:
    """Depends on the process it runs in."""
    passed = right(task, completion)
    return Score(value=float(passed), passed=passed, reason="ok" if passed else "mismatch", parsed=str(os.getpid()))


def survives(task: Task, completion: Completion) -> bool:
    """Raises on what cannot be encoded."""
    completion.text.encode("utf-8")
    return right(task, completion)


def survives_slowly(task: Task, completion: Completion) -> bool:
    """Quadratic."""
    text = completion.text
    return sum(text.count(text[n : n + 8]) for n in range(0, len(text), 16)) >= 0 and right(task, completion)


def nothing(task: Task, completion: Completion) -> bool:
    """An empty completion is contained in everything."""
    return completion.content.strip() in task.answer


def range_(task: Task, completion: Completion) -> float:
    return 10.0 if right(task, completion) else -1.0


class Reasons:
    reasons = frozenset({"ok", "mismatch"})

    def score(self, task: Task, completion: Completion) -> Score:
        passed = right(task, completion)
        return Score(value=float(passed), passed=passed, reason="ok" if passed else "no")


def effects_files(task: Task, completion: Completion) -> bool:
    Path(tempfile.gettempdir(), "rlvr-seen.txt").write_text(task.id)
    return right(task, completion)


def effects_network(task: Task, completion: Completion) -> bool:
    with socket.socket() as connection:
        connection.settimeout(0.1)
        connection.connect_ex(("127.0.0.1", 9))
    return right(task, completion)


def effects_processes(task: Task, completion: Completion) -> bool:
    subprocess.run([sys.executable, "-c", ""], check=True) if completion.text == "41" else None
    return right(task, completion)


def state(task: Task, completion: Completion) -> bool:
    random.seed(0)
    sys.setrecursionlimit(5_000)
    os.environ["LAST_TASK"] = str(judged_more())
    return right(task, completion)


def judged_more() -> int:
    global judged
    judged += 1
    return judged


def memory(task: Task, completion: Completion) -> bool:
    hoard.append(completion.text)
    return right(task, completion)


class TwoPartError(Exception):
    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} at {where}")


def errors(task: Task, completion: Completion) -> bool:
    if not task.answer:
        raise TwoPartError("no gold", task.id)
    return right(task, completion)


class ErrorsOfCheck:
    def check_task(self, task: Task) -> str | None:
        return "no arguments" if task.verifier_args else None if task.answer[0] else "empty"

    def score(self, task: Task, completion: Completion) -> bool:
        return right(task, completion)
