"""`rlvr score`: existing completions through their verifiers, no model. A record plus `completion` in, the same plus its score out.

Streams: a bounded number of verifications is under way, and each row is written as soon as all rows before it are. So a file of
any length takes the same memory, a pipe is answered line by line, and what was scored stays when a later line is unusable.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import os
import sys
import threading
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rlvr.errors import RlvrError
from rlvr.pass_rates import PassRates
from rlvr_tasks.errors import TaskError
from rlvr_tasks.record import task_from_record
from rlvr_tasks.rows import Row
from rlvr_tasks.sources.jsonl import json_rows, read_rows
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.pool import VerifierPool, judges_groups
from rlvr_verifiers.registry import resolve
from rlvr_verifiers.types import Completion, Score, Task

UNDER_WAY = 32
"""Rows a worker has in hand, in its queue, or waiting to be written."""
ADDED = ("score", "passed", "reason", "parsed", "explanation", "seconds")
"""Columns of the output; where the input has them already, from an earlier scoring, they are replaced."""
FINISH_REASONS = ("stop", "length", "abort")


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """Completions that are scored together: one, unless the task's verifier judges groups."""

    task: Task
    rows: Sequence[Mapping[str, Any]]
    completions: Sequence[Completion]


@dataclasses.dataclass(kw_only=True, slots=True)
class ScoreSummary:
    """What was scored. Rows whose verifier failed (score null) are in `failures` and in no other figure but `rows`."""

    rows: int = 0
    failures: int = 0
    passed: int = 0
    opinions: int = 0
    """Scores that are a judge's opinion."""
    total: float = 0.0
    reasons: Counter[str] = dataclasses.field(default_factory=Counter[str])
    rates: PassRates = dataclasses.field(default_factory=PassRates)

    @property
    def mean(self) -> float | None:
        scored = self.rows - self.failures
        return self.total / scored if scored else None

    @property
    def pass_rate(self) -> float | None:
        scored = self.rows - self.failures
        return self.passed / scored if scored else None

    def add(self, task: Task, score: Score) -> None:
        self.rows += 1
        self.rates.add(task.id, task.data_source, score)
        self.reasons[score.reason] += 1
        self.opinions += score.is_opinion
        if score.value is None:
            self.failures += 1
            return
        self.total += score.value
        self.passed += score.passed

    def to_json(self, ks: Sequence[int] = ()) -> dict[str, Any]:
        """Plain data for pipes: totals, rates by source, and every problem that failed with its first failing case."""
        return {
            "completions": self.rows,
            "verifier_failures": self.failures,
            "mean_score": self.mean,
            "pass_rate": self.pass_rate,
            "reasons": dict(self.reasons.most_common()),
            **self.rates.to_json(ks),
        }


def score_records(
    records_path: Path | str,
    verifier: str | None = None,
    out: Path | None = None,
    workers: int = 0,
    deadline_s: float = 5.0,
    *,
    ks: Sequence[int] = (),
    failures: int = 10,
    as_json: bool = False,
    console: Console | None = None,
) -> ScoreSummary:
    """Scores every completion of a file (.jsonl, .jsonl.gz, .parquet; `-` is JSONL on standard input) and writes JSONL.

    `completion` is text, or a list of texts that gives one output row each, numbered in the column `sample`. `verifier` takes
    the place of the records' own; their `verifier_args` then apply only where the name is the same. Rows with one id are
    completions of one problem; a verifier that judges groups gets those that stand one after another together.

    Output goes to `out` or standard output, the summary to `console`, by default standard error:
    pass@k by source (`ks`, or powers of two) and the first `failures` problems that failed. With `as_json` the summary goes to
    standard output, as JSON. Raises RlvrError, with the line, at the first row that cannot be used; the rows before it are
    scored and written.
    """
    if as_json and out is None:
        raise RlvrError("rlvr score: --json prints the summary on standard output; name a file for the scored rows with -o")
    source = str(records_path)
    if source != "-" and not Path(source).is_file():
        raise RlvrError(
            f"rlvr score: no file {source} (looked from {Path.cwd()}); correct the path, or give - for standard input"
        )
    if out is not None and source != "-" and out.exists() and out.samefile(source):
        raise RlvrError(f"rlvr score: {out} is also the input; name another output file")
    summary = ScoreSummary()
    try:
        with _sink(out) as sink:
            asyncio.run(_score_all(_jobs(_read(source), verifier), sink, summary, workers, deadline_s))
    except TaskError as error:
        raise RlvrError(f"{error} ({summary.rows} rows before it are scored and written)") from None
    except BrokenPipeError:
        # Whoever read our output has seen enough (| head). Without this Python would complain again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        where = out or "standard output"
        raise RlvrError(
            f"rlvr score: stopped after {summary.rows} rows, reading {source} or writing {where}: {error}"
        ) from error
    finally:
        if not as_json:
            _show(summary, console or _stderr(), ks, failures)
    if as_json:
        print(json.dumps(summary.to_json(ks), ensure_ascii=False))  # noqa: T201 - this is the command's output
    return summary


Scoring = asyncio.Task[list[Score]]


async def _score_all(jobs: Iterator[Job], sink: IO[str], summary: ScoreSummary, workers: int, deadline_s: float) -> None:
    """One coroutine reads and starts verifications, this one writes what they give, in the order of reading."""
    async with VerifierPool(workers, deadline_s) as pool:
        started: asyncio.Queue[tuple[Job, Scoring] | Exception | None] = asyncio.Queue(UNDER_WAY * pool.workers)
        under_way: set[Scoring] = set()

        async def start() -> None:
            end: Exception | None = None
            try:
                async for job in _off_loop(jobs):
                    scoring = asyncio.create_task(pool.score_group(job.task, job.completions))
                    under_way.add(scoring)
                    await started.put((job, scoring))
            except Exception as error:  # handed over, so that the rows before it are written first
                end = error
            await started.put(end)

        starting = asyncio.create_task(start())
        try:
            while not isinstance(item := await started.get(), Exception | None):
                job, scoring = item
                scores = await scoring
                under_way.discard(scoring)
                for row, score in zip(job.rows, scores, strict=True):
                    sink.write(json.dumps({**row, **_columns(score)}, ensure_ascii=False) + "\n")
                    summary.add(job.task, score)
                sink.flush()
            if item is not None:
                raise item
        finally:
            for left in (starting, *under_way):
                left.cancel()
            await asyncio.gather(starting, *under_way, return_exceptions=True)


async def _off_loop(jobs: Iterator[Job]) -> AsyncIterator[Job]:
    """Reads in a thread: a slow pipe must not hold up the loop that watches the workers. A daemon, so that Ctrl-C need not wait
    for the next line."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    room = threading.Semaphore(UNDER_WAY)
    read: deque[Job | Exception | None] = deque()

    def hand_over(item: Job | Exception | None) -> None:
        read.append(item)
        with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits for it
            loop.call_soon_threadsafe(ready.set)

    def run() -> None:
        try:
            for job in jobs:
                hand_over(job)
                room.acquire()
            hand_over(None)
        except Exception as error:
            hand_over(error)

    threading.Thread(target=run, name="rlvr-score-reader", daemon=True).start()
    while True:
        await ready.wait()
        ready.clear()
        while read:
            item = read.popleft()
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            room.release()
            yield item


def _read(source: str) -> Iterator[Row]:
    if source != "-":
        return read_rows(Path(source))
    # Not sys.stdin: the interpreter could not close that at its end while our thread still waits for a line.
    return json_rows(open(0, encoding="utf-8", closefd=False), "standard input")


def _jobs(rows: Iterator[Row], verifier: str | None) -> Iterator[Job]:
    """Raises TaskError, with the place, at a row that cannot be used."""
    for task, samples in itertools.groupby(_samples(rows, verifier), key=lambda sample: sample[0]):
        if judges_groups(task):
            _, columns, completions = zip(*samples, strict=True)
            yield Job(task, columns, completions)
        else:  # each as soon as it is read
            yield from (Job(task, (row,), (completion,)) for _, row, completion in samples)


def _samples(rows: Iterator[Row], verifier: str | None) -> Iterator[tuple[Task, Mapping[str, Any], Completion]]:
    """Task, output columns and completion, one for each completion."""
    for where, row in rows:
        if isinstance(row, TaskError):
            raise row
        task = _task(row, where, verifier)
        for columns, text in _completions(row, where):
            finish = row.get("finish_reason") or "stop"
            if finish not in FINISH_REASONS:
                raise TaskError(f"{where}: finish_reason: found {finish!r}; use one of {', '.join(FINISH_REASONS)}")
            yield task, columns, Completion(text=text, finish_reason=finish)


def _task(row: Mapping[str, Any], where: str, verifier: str | None) -> Task:
    record = {name: value for name, value in row.items() if name not in ("completion", "finish_reason", *ADDED)}
    if verifier is not None:
        same = record.get("verifier") == verifier
        record = {**record, "verifier": verifier, "verifier_args": record.get("verifier_args") if same else None}
    task = task_from_record(record, where)
    if not task.verifier:
        raise TaskError(f"{where}: verifier: missing; add it to the row or give --verifier")
    try:
        resolve(task.verifier)
    except VerifierError as error:
        raise TaskError(f"{where}: {error}") from None
    return task


def _completions(row: Mapping[str, Any], where: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    completion = row.get("completion")
    if isinstance(completion, str):
        yield row, completion
    elif isinstance(completion, list) and completion and all(isinstance(text, str) for text in completion):
        for number, text in enumerate(completion):
            yield {**row, "completion": text, "sample": number}, text
    else:
        found = "nothing" if completion is None else f"{completion!r:.60}"
        raise TaskError(f"{where}: completion: found {found}; give the text that was written, or a list of texts")


def _columns(score: Score) -> dict[str, Any]:
    values = (score.value, score.passed, score.reason, score.parsed, score.explanation, round(score.seconds, 6))
    opinion = {"opinion": True} if score.is_opinion else {}
    return {**dict(zip(ADDED, values, strict=True)), **opinion}


@contextlib.contextmanager
def _sink(out: Path | None) -> Iterator[IO[str]]:
    if out is None:
        yield sys.stdout
        return
    try:
        file = out.open("w", encoding="utf-8")
    except OSError as error:
        raise RlvrError(f"rlvr score: cannot write {out} ({error.strerror}); name another output file") from None
    with file:
        yield file


def _stderr() -> Console:
    """A pipe has no width of its own, and rich would wrap tables to 80 columns."""
    return Console(stderr=True, soft_wrap=True, width=None if sys.stderr.isatty() else 160)


def _show(summary: ScoreSummary, console: Console, ks: Sequence[int], failures: int) -> None:
    if summary.mean is None or summary.pass_rate is None:
        console.print(f"{summary.rows} completions, none scored", highlight=False)
    else:
        console.print(
            f"{summary.rows} completions, mean score {summary.mean:.4f}, pass rate {summary.pass_rate:.2%}, "
            f"{summary.failures} verifier failures",
            highlight=False,
        )
    if summary.opinions:
        console.print(f"{summary.opinions} of the scores are opinions of a judge, which verify nothing", highlight=False)
    if summary.reasons:
        table = Table("reason", "completions", box=None)
        for reason, count in summary.reasons.most_common():
            table.add_row(Text(reason), str(count))
        console.print(table)
        summary.rates.show(console, ks=ks, failures=failures)
