"""`VerifiersEnv`: an environment of PrimeIntellect's `verifiers`, run in a process of an interpreter that has it.

    {"environment": "my_env", "python": "/path/to/venv/bin/python", "args": {...}}      in verifier_args

environment: the name of an installed one, `module:name` or `file.py:name`; version 0 (a data set and a rubric) or a taskset of
version 1, of one turn and without tools. python: the interpreter, by default this one. The task source `verifiers` makes such tasks;
`info.verifiers` says which row each is. The process starts with the first score, ends with the worker, and is killed with it.

The interpreter and the environment that a task names run with this process's rights, as any verifier does.
"""

from __future__ import annotations

import atexit
import dataclasses
import functools
import json
import math
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from rlvr_verifiers.arguments import ArgumentReader, clip
from rlvr_verifiers.bridges.prime import score_of
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.types import Completion, Score, Task

HOST = Path(__file__).with_name("prime_host.py")


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Which environment, and whose interpreter."""

    environment: str
    python: str
    args: str
    """JSON text."""

    @classmethod
    def of(cls, environment: str, python: str | None, args: Mapping[str, Any]) -> Place:
        return cls(environment, python or sys.executable, json.dumps(dict(args), sort_keys=True))


class VerifiersEnv:
    value_range = (-math.inf, math.inf)
    reasons = frozenset({"ok", "mismatch", "crash"})
    effects = frozenset({"processes", "files", "network"})  # whatever the environment does

    def check_task(self, task: Task) -> str | None:
        place, (index, key) = _place(task), _row(task)
        if not Path(place.python).is_file():
            return f"python: found {place.python!r}, which is no file; give the interpreter of the environment's own installation"
        return (
            None if index >= 0 and key else "info.verifiers names no row; make such tasks with the task source `verifiers`"
        )

    def prepare_task(self, task: Task) -> None:
        """The other interpreter may take longer to import its environment, and to read it up to this row, than a score may take."""
        place = _place(task)
        host(place.python).open(place, _row(task)[0])

    def whole_group(self, task: Task) -> bool:
        return bool(task.info.get("verifiers", {}).get("group"))

    def score_batch(self, task: Task, completions: Sequence[Completion]) -> list[Score]:
        place, (index, key) = _place(task), _row(task)
        asked = [{"content": each.content, "finish_reason": _finish(each)} for each in completions]
        question = {"index": index, "key": key, "completions": asked}
        told = _scores(place, question)
        if told is None:
            what = f"{place.python} ended twice while it judged this; its output says why"
            return [Score(value=0.0, passed=False, reason="crash", explanation=what)] * len(completions)
        return [score_of(float(each["value"]), {name: float(n) for name, n in each["metrics"].items()}) for each in told]


class _EndedError(VerifierError):
    """The process is gone."""


def _scores(place: Place, question: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """None where the process died of it twice, as for a pool's own workers."""
    for _ in range(2):
        try:
            return host(place.python).ask("score", place, question)["scores"]
        except _EndedError:
            continue
    return None


def rows_of(place: Place, limit: int | None) -> list[dict[str, Any]]:
    """Every row: key, id, prompt, answer, group. Raises VerifierError where the environment cannot be loaded or has turns or tools."""
    own = Host(place.python)  # of its own: tasks are loaded once, and the trainer should not keep it
    try:
        return own.ask("load", place, {"limit": limit})["rows"]
    finally:
        own.close()


class Host:
    """One process of the other interpreter."""

    def __init__(self, python: str) -> None:
        self._python = python
        self._lock = threading.Lock()
        self._opened: dict[Place, int] = {}
        """The last row of each that has been read."""
        try:
            self._process = subprocess.Popen(  # noqa: S603
                [python, str(HOST)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
            )
        except OSError as error:
            raise VerifierError(f"cannot start {python}: {error}; name the interpreter that has the environment") from error

    def ask(self, verb: str, place: Place, question: Mapping[str, Any]) -> dict[str, Any]:
        where = {"environment": place.environment, "args": json.loads(place.args)}
        reply = ""
        with self._lock:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            try:
                self._process.stdin.write(json.dumps({verb: {**where, **question}}) + "\n")
                self._process.stdin.flush()
                reply = self._process.stdout.readline()
            except BrokenPipeError:
                pass
        if not reply:
            self.close()
            raise _EndedError(f"{self._python} ended while it ran {place.environment!r}; its output says why")
        answer = cast("dict[str, Any]", json.loads(reply))
        if "error" in answer:
            raise VerifierError(f"environment {place.environment!r} in {self._python}: {clip(str(answer['error']), 300)}")
        return answer

    def open(self, place: Place, index: int) -> None:
        """Has the environment imported and read up to the row, once. Raises VerifierError where that cannot be."""
        if self._opened.get(place, -1) < index:
            self.ask("open", place, {"index": index})
            self._opened[place] = index

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None


_hosts: dict[str, Host] = {}
_starting = threading.Lock()


def host(python: str) -> Host:
    """This process's host in that interpreter; a new one where the last has died."""
    with _starting:
        found = _hosts.get(python)
        if found is None or not found.alive:
            found = _hosts[python] = Host(python)
            atexit.register(found.close)
        return found


def _place(task: Task) -> Place:
    return _read_place(json.dumps(dict(task.verifier_args), sort_keys=True))


@functools.lru_cache(maxsize=64)
def _read_place(arguments: str) -> Place:
    read = ArgumentReader("VerifiersEnv", json.loads(arguments))
    environment, python, args = read.text("environment"), read.text("python"), read.mapping("args")
    read.finish()
    if environment is None:
        raise VerifierError(
            "verifier_args of 'VerifiersEnv': 'environment' is missing; name one, as module:name for example"
        )
    return Place.of(environment, python, args)


def _row(task: Task) -> tuple[int, str]:
    row: Any = task.info.get("verifiers")
    if not isinstance(row, Mapping):
        return -1, ""
    found = cast("Mapping[str, Any]", row)
    return int(found.get("index", -1)), str(found.get("key", ""))


def _finish(completion: Completion) -> str:
    return "length" if completion.finish_reason == "length" else "stop"
