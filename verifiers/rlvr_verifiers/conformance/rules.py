"""The rules that are tried inside one process of the verifier's own. A rule returns one line that says what was broken, or None.

Rules about deadlines, crashes and agreement between processes are in `suite.py`, which watches from outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import decimal
import gc
import itertools
import json
import locale
import logging
import os
import pickle
import random
import signal
import socket
import sys
import tempfile
import threading
import time
import tracemalloc
import warnings
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rlvr_verifiers.arguments import clip
from rlvr_verifiers.conformance.cases import Case
from rlvr_verifiers.conformance.hostile import hostile_texts
from rlvr_verifiers.effects import Effect, watch
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.protocol import LoadedVerifier
from rlvr_verifiers.registry import check_task
from rlvr_verifiers.scoring import run_batch, run_verifier
from rlvr_verifiers.types import Completion, Score, Task

THREADS = 16
LEAK_BYTES = 4_096
"""Growth per call, completions being 20 kB and new each time, from which memory counts as leaking."""
SMALL = 10_000
"""Hostile texts up to this length are tried by every rule; the long ones by those that need them."""

OPENED_ONCE = frozenset({"open files", "threads", "warning filters", "logging level", "logging disabled"})
"""What the first round of calls may change by what it imports or starts, and no later one."""


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    verifier: LoadedVerifier
    cases: tuple[Case, ...]
    """Those with a completion."""
    refused: tuple[Case, ...]
    figures: dict[str, float]
    """What a rule measured; shown in the report."""

    def score(self, task: Task, completion: Completion) -> Score:
        return without_clocks(run_verifier(self.verifier, task, completion, wait))

    def tasks(self) -> list[Task]:
        return some_tasks(self.cases)

    def trials(self, longest: int = SMALL) -> Iterator[tuple[str, Task, Completion]]:
        """The cases, and the hostile texts on some of their tasks."""
        for case in self.cases:
            yield case.title, case.task, case.completion
        for task in self.tasks():
            for name, text in hostile_texts().items():
                if len(text) <= longest:
                    yield f"{name} on {task.id}", task, Completion(text=text)


def gold(subject: Subject) -> str | None:
    for case in subject.cases:
        problem = check_task(case.task)
        if problem is not None:
            return f"check_task refuses {case.title}: {problem}"
    for case in subject.refused:
        if check_task(case.task) is None:
            return f"check_task accepts {case.title}, which the cases file says is unusable"
    return None


def arguments(subject: Subject) -> str | None:
    for task in subject.tasks():
        surprised = dataclasses.replace(task, verifier_args={**task.verifier_args, "surprise_key": 1})
        if check_task(surprised) is None:
            return "check_task accepts the unknown key 'surprise_key' in verifier_args; a misspelt key would go unnoticed"
    return None


def deterministic(subject: Subject) -> str | None:
    for title, task, completion in subject.trials():
        scores = [subject.score(task, completion) for _ in range(3)]
        if scores.count(scores[0]) < 3:
            return f"{title}: {differing(scores)}"
    return None


def batch(subject: Subject) -> str | None:
    if subject.verifier.batch is None:
        return None
    for task in subject.tasks():
        completions = 2 * [each for _, _, each in subject.trials()]
        if subject.verifier.relative:  # alone it may say something else: then at least the same of the same group
            again = [
                [without_clocks(score) for score in run_batch(subject.verifier, task, completions, wait)] for _ in range(2)
            ]
            if again[0] != again[1]:
                return f"{task.id}: says two things of one group"
            continue
        alone = [subject.score(task, completion) for completion in completions]
        together = [without_clocks(score) for score in run_batch(subject.verifier, task, completions, wait)]
        for one, other, completion in zip(alone, together, completions, strict=True):
            if one != other:
                return f"{task.id}, {clip(completion.text, 40)!r}: alone and in a batch differ: {differing([one, other])}"
    return None


def threads(subject: Subject) -> str | None:
    trials = [(task, completion) for _, task, completion in subject.trials()]
    trials = (trials * (1 + 64 // len(trials)))[:256]
    serial = [subject.score(*trial) for trial in trials]
    with ThreadPoolExecutor(THREADS) as pool:
        parallel = list(pool.map(subject.score, *zip(*trials, strict=True)))
    for one, other, (task, completion) in zip(serial, parallel, trials, strict=True):
        if one != other:
            where = f"{task.id}, {clip(completion.text, 40)!r}"
            return f"{where}: one thread and {THREADS} threads differ: {differing([one, other])}"
    return None


def effects(subject: Subject) -> str | None:
    allowed = subject.verifier.effects
    seen: list[tuple[str, Effect]] = []
    title = ""

    def tell(effect: Effect) -> None:
        seen.append((title, effect))

    home = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            with watch(tell):
                for title, task, completion in subject.trials(longest=10**9):  # noqa: B007 - read by tell
                    subject.score(task, completion)
        finally:
            os.chdir(home)
        left = sorted(path.name for path in Path(folder).iterdir())
    for title, effect in seen:
        if effect.kind not in allowed:
            return f"{title}: {effect.what}; declare it (effects = {{{effect.kind!r}}}) or do without"
    if left and "files" not in allowed:
        return f"it left {', '.join(left[:3])} in the working folder"
    return None


def state(subject: Subject) -> str | None:
    """Meant for a fresh process: a setting that each call makes is a change in the first only."""
    before = snapshot()

    def work() -> None:
        for _, task, completion in subject.trials():
            subject.score(task, completion)

    work()
    before |= {name: value for name, value in snapshot().items() if name in OPENED_ONCE}
    work()
    settle = time.monotonic() + 0.5  # a thread that is about to end may do so
    while (changed := _changes(before, snapshot())) and time.monotonic() < settle:
        time.sleep(0.05)
    return f"changed for the whole process: {', '.join(changed)}" if changed else None


def memory(subject: Subject) -> str | None:
    """Twice the same work, with new completions each time; what still grows in the second half would grow for ever."""
    numbers = itertools.count()
    filler = "and so on, as before; " * 900

    def work(seconds: float, calls: int) -> int:
        end, done = time.monotonic() + seconds, 0
        for case in itertools.cycle(subject.cases):
            text = f"{case.completion.text}\n{next(numbers)} {filler}"
            subject.score(case.task, Completion(text=text))
            done += 1
            if done >= calls or (done >= 20 and time.monotonic() > end):
                return done
        return done

    work(1.5, 150)
    tracemalloc.start()
    try:
        work(1.5, 50)
        gc.collect()
        begin, _ = tracemalloc.get_traced_memory()
        calls = work(5.0, 300)
        gc.collect()
        end, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    grown = (end - begin) / calls
    subject.figures["memory_growth_bytes"] = max(0.0, grown)
    return (
        f"memory grows by {grown / 1024:.1f} KB a call, over {calls} calls with new completions"
        if grown > LEAK_BYTES
        else None
    )


def errors(subject: Subject) -> str | None:
    """Whatever it raises for an unusable task must survive the way between processes, and check_task raises nothing else than
    VerifierError."""
    for task in subject.tasks():
        spoilt = {
            "an empty gold": dataclasses.replace(task, answer=""),
            "a gold of nonsense": dataclasses.replace(task, answer="\x00{\\]<\ud800"),
            "an unknown argument": dataclasses.replace(task, verifier_args={**task.verifier_args, "surprise_key": object}),
            "arguments of the wrong type": dataclasses.replace(
                task, verifier_args={key: [[]] for key in task.verifier_args}
            ),
        }
        for what, broken in spoilt.items():
            try:
                subject.verifier.check_task(broken)
            except VerifierError:
                pass  # means the same as the line it holds
            except Exception as error:
                said = f"{type(error).__name__}: {clip(str(error), 80)}"
                return f"on {what} check_task raises {said}; it must return one line, or raise VerifierError"
            try:
                judgement = subject.verifier.function(broken, Completion(text="text"))
                if isinstance(judgement, Awaitable):
                    wait(judgement)
            except Exception as error:
                problem = _unpicklable(error)
                if problem:
                    return f"on {what} it raises {type(error).__name__}, which cannot be pickled and read back: {problem}"
    return None


def speed(subject: Subject) -> str | None:
    """Measures; never broken. One completion at a time, of the cases file, in this process."""
    times: list[float] = []
    end = time.perf_counter() + 1.0
    for case in itertools.cycle(subject.cases):
        begin = time.perf_counter()
        run_verifier(subject.verifier, case.task, case.completion, wait)
        now = time.perf_counter()
        times.append(now - begin)
        if now > end or len(times) >= 20_000:
            break
    times.sort()
    subject.figures["per_second"] = len(times) / sum(times)
    subject.figures["median_ms"] = 1_000 * times[len(times) // 2]
    subject.figures["p99_ms"] = 1_000 * times[min(len(times) - 1, int(len(times) * 0.99))]
    return None


RULES: Mapping[str, Callable[[Subject], str | None]] = {
    "gold": gold,
    "arguments": arguments,
    "deterministic": deterministic,
    "batch": batch,
    "threads": threads,
    "effects": effects,
    "state": state,
    "memory": memory,
    "errors": errors,
    "speed": speed,
}


def wait(judgement: Awaitable[Any]) -> Any:
    async def finish() -> Any:
        return await judgement

    return asyncio.run(finish())


def without_clocks(score: Score) -> Score:
    """The score without what was measured with a clock or a gauge, and what asking a service cost: the second time nothing."""
    changing = ("_s", "_mb", "_tokens", "calls", "cached", "cost")
    metrics = {name: value for name, value in score.metrics.items() if not name.endswith(changing)}
    return dataclasses.replace(score, seconds=0.0, metrics=metrics)


def some_tasks(cases: tuple[Case, ...]) -> list[Task]:
    """At most three tasks that differ, for rules that multiply them."""
    distinct: dict[str, Task] = {}
    for case in cases:
        distinct.setdefault(json.dumps([case.task.answer, case.task.verifier_args], sort_keys=True), case.task)
    tasks = list(distinct.values())
    return tasks[:: max(1, len(tasks) // 3)][:3]


def differing(scores: list[Score]) -> str:
    other = next(score for score in scores if score != scores[0])
    names = [f.name for f in dataclasses.fields(Score) if getattr(scores[0], f.name) != getattr(other, f.name)]
    return ", ".join(
        f"{name} {clip(repr(getattr(scores[0], name)), 60)} then {clip(repr(getattr(other, name)), 60)}" for name in names
    )


def snapshot() -> dict[str, Any]:
    """What every part of a process shares, and a verifier must leave alone."""
    numpy: Any = sys.modules.get("numpy")
    return {
        "working folder": os.getcwd(),
        "environment variables": dict(os.environ),
        "sys.path": list(sys.path),
        "recursion limit": sys.getrecursionlimit(),
        "integer digits limit": sys.get_int_max_str_digits(),
        "signal handlers": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "alarm": signal.getitimer(signal.ITIMER_REAL)[0] > 0,
        "random state": random.getstate(),
        "numpy random state": repr(numpy.random.get_state()) if numpy else None,
        "locale": locale.setlocale(locale.LC_ALL),
        "decimal context": repr(decimal.getcontext().prec),
        "warning filters": len(warnings.filters),
        "logging level": logging.getLogger().level,
        "logging disabled": logging.root.manager.disable,
        "socket timeout": socket.getdefaulttimeout(),
        "garbage collection": gc.isenabled(),
        "standard streams": (id(sys.stdout), id(sys.stderr), id(sys.stdin)),
        "umask": _umask(),
        "open files": _open_files(),
        "threads": {thread.name for thread in threading.enumerate()},
    }


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return [
        name for name in before if before[name] != after[name] and not (before[name] is None and name.startswith("numpy"))
    ]


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _open_files() -> list[str]:
    links: list[str] = []
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own
            links.append(os.readlink(f"/proc/self/fd/{descriptor}").split(":")[0])
    return sorted(links)


def _unpicklable(error: Exception) -> str | None:
    try:
        same = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes, made one line above
    except Exception as problem:
        return clip(f"{type(problem).__name__}: {problem}", 120)
    return None if str(same) == str(error) else f"it says {clip(str(same), 60)!r} for {clip(str(error), 60)!r}"
