"""Scores completions in worker processes that can be killed: the one place where a verifier's deadline is kept.

Outcomes of a verification that does not simply end:

    it runs past its deadline           its process group is killed   value 0, reason `timeout`
    its process dies (segfault, memory) tried once more, fresh worker  value 0, reason `crash`
    it raises                           the worker goes on             value None, reason `verifier_error`
    it cannot be imported               (as above)                     value None, reason `verifier_error`
    it keeps its own deadlines, and     (killed, as the first)         value None, reason `verifier_error`
      runs past the one it promised

The clock is the worker's own and starts when the verifier starts running: waiting in the queue, importing it and a busy
event loop on our side cost nothing, and what the worker waits for a core puts its deadline off, to three times itself at most. A
pool stops hangs and survives crashes. It is not a sandbox.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
import time
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

from rlvr_sandbox.core_wait import BRIEF_S, WORTH_S
from rlvr_sandbox.types import PATIENCE
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.process import WorkerProcess, WorkerSettings
from rlvr_verifiers.registry import resolve
from rlvr_verifiers.types import Completion, Score, Task
from rlvr_verifiers.wire import completion_to_wire, pack, task_to_wire

QUICK_S = 0.002
"""Verifications quicker than this are handed over several at a time, so that the worker never waits for us."""
MAX_BATCH = 16
LONGEST_DEADLINE_S = 900.0
"""Bound on the deadline that a verifier may ask for itself."""


@dataclasses.dataclass(eq=False, slots=True)
class _Job:
    number: int
    verifier: str
    frame: bytes
    deadline_s: float
    size: int
    """Completions in it."""
    answer: asyncio.Future[list[Score]]
    deaths: int = 0

    def settle(self, scores: list[Score]) -> None:
        if not self.answer.done():  # whoever asked may have been cancelled
            self.answer.set_result(scores)


@dataclasses.dataclass(frozen=True, slots=True)
class _Outcome:
    scores: list[Score] | None
    """None: the worker died; try again."""
    worker_alive: bool


class _Clock:
    """Of one verification: it stands still while the worker waits for a core."""

    def __init__(self, process: WorkerProcess, started: float, deadline_s: float) -> None:
        self._process = process
        self._due = started + deadline_s
        self._most_s = PATIENCE * deadline_s
        self._before: float | None = None
        self.until = min(self._due, started + BRIEF_S)
        """When it should be looked at."""

    def put_off(self) -> bool:
        """At `until`, whether there is more time now."""
        if self._before is None:  # asked as late as this, since most verifications are over by now
            self._before, until = self._process.waited_s(), self._due
        else:
            until = self._due + self.waited_s()
        later = until > self.until + WORTH_S
        self.until = until
        return later

    def waited_s(self) -> float:
        """Seconds, within the bounds of patience; where we were too busy to ask before, rather too many than too few."""
        return min(self._process.waited_s() - (self._before or 0.0), self._most_s)


class VerifierPool:
    """Use as `async with VerifierPool(workers=4, deadline_s=5.0) as pool: score = await pool.score(task, completion)`.

    workers: processes; 0 takes one per core, at most 8.
    deadline_s: seconds a verification may run; `score` can give another. Verifiers that keep their own deadlines (`code`,
        by the limits of its task) may take longer.
    verifiers: names that every worker imports at its start, so that a broken one is an error before training begins.
    load_deadline_s: seconds an import may take.
    memory_mb: private writable memory of a worker (RLIMIT_DATA: address space that is only reserved does not count, so
        libraries with large reservations work). A verifier that needs more counts as crashed. None: no limit.
    log: file that takes what verifiers print; None sends it to this process's standard error.

    Entering raises VerifierError where a worker does not start or a verifier named in `verifiers` cannot be imported.
    """

    def __init__(
        self,
        workers: int,
        deadline_s: float,
        *,
        verifiers: Iterable[str] = (),
        load_deadline_s: float = 120.0,
        memory_mb: int | None = 4096,
        log: Path | None = None,
    ) -> None:
        if workers < 0 or deadline_s <= 0 or load_deadline_s <= 0:
            raise VerifierError(
                f"a pool needs workers >= 0 and positive deadlines, not {workers} workers, {deadline_s} s and {load_deadline_s} s"
            )
        self.workers = workers or min(8, len(os.sched_getaffinity(0)))
        self.restarts = 0
        """Workers replaced after a deadline or a crash."""
        self._deadline_s = deadline_s
        self._settings = WorkerSettings(tuple(verifiers), load_deadline_s, memory_mb, log)
        self._numbers = itertools.count()
        self._queue: asyncio.Queue[_Job] = asyncio.Queue()
        self._open: dict[int, _Job] = {}
        self._servers: list[asyncio.Task[None]] = []
        self._processes: set[WorkerProcess] = set()
        self._broken: BaseException | None = VerifierError("the verifier pool is not open; use `async with`")

    async def __aenter__(self) -> VerifierPool:
        try:
            started = await asyncio.gather(*(self._start() for _ in range(self.workers)), return_exceptions=True)
            first = [process for process in started if not isinstance(process, BaseException)]
            for error in started:
                if isinstance(error, BaseException):
                    raise error
        except BaseException:
            await self._kill_all()
            raise
        self._broken = None
        self._servers = [asyncio.create_task(self._serve(process)) for process in first]
        for server in self._servers:
            server.add_done_callback(self._server_ended)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._fail_open(VerifierError("the verifier pool was closed"))
        for server in self._servers:
            server.cancel()
        await asyncio.gather(*self._servers, return_exceptions=True)
        await self._kill_all()

    async def score(self, task: Task, completion: Completion, *, deadline_s: float | None = None) -> Score:
        """The verifier's score, or one of the outcomes above; `deadline_s` replaces the pool's.

        Raises VerifierError where the pool is closed or the task is not plain JSON data (`check_task` finds that earlier).
        """
        return (await self._judge(task, (completion,), self._deadline_s if deadline_s is None else deadline_s))[0]

    async def score_group(
        self, task: Task, completions: Sequence[Completion], *, deadline_s: float | None = None
    ) -> list[Score]:
        """The scores of all completions of a task, in their order. A verifier that judges groups gets them at once, with the
        deadline of each times their number, and an outcome above is then that of all; any other gets them one by one.

        Raises VerifierError as `score` does, and where the verifier cannot be loaded.
        """
        deadline_s = self._deadline_s if deadline_s is None else deadline_s
        if judges_groups(task):
            return await self._judge(task, completions, deadline_s * len(completions)) if completions else []
        each = (self.score(task, completion, deadline_s=deadline_s) for completion in completions)
        return list(await asyncio.gather(*each))

    async def _judge(self, task: Task, completions: Sequence[Completion], deadline_s: float) -> list[Score]:
        if self._broken is not None:
            raise VerifierError(str(self._broken)) from self._broken
        job = self._job(task, completions, deadline_s)
        self._open[job.number] = job
        self._queue.put_nowait(job)
        try:
            return await job.answer
        finally:
            self._open.pop(job.number, None)

    def _job(self, task: Task, completions: Sequence[Completion], deadline_s: float) -> _Job:
        number = next(self._numbers)
        plain = [completion_to_wire(completion) for completion in completions]
        try:
            frame = pack({"job": number, "task": task_to_wire(task), "completions": plain})
        except (TypeError, ValueError, RecursionError) as error:
            raise VerifierError(f"task {task.id!r} cannot be sent to a worker: {error}; keep it plain JSON data") from error
        answer = asyncio.get_running_loop().create_future()
        return _Job(number, task.verifier, frame, deadline_s, len(completions), answer)

    # -- one server a worker --------------------------------------------------------------------------------------

    async def _serve(self, first: WorkerProcess) -> None:
        process: WorkerProcess | None = first
        quick = False
        while True:
            jobs = await self._take(quick)
            begin = time.monotonic()
            served = 0
            while jobs:
                if process is None:
                    process = await self._start()
                    self.restarts += 1
                process.send(b"".join(job.frame for job in jobs))
                while jobs:
                    outcome = await self._watch(process, jobs[0])
                    if outcome.scores is not None:
                        jobs.popleft().settle(outcome.scores)
                        served += 1
                    if not outcome.worker_alive:
                        await self._discard(process)
                        process = None
                        self._give_back(jobs, keep_first=outcome.scores is None)
                        break
            quick = process is not None and served > 0 and (time.monotonic() - begin) / served < QUICK_S

    async def _take(self, quick: bool) -> deque[_Job]:
        """The next job, and a fair share of the waiting ones where verifications are quick."""
        jobs = deque[_Job]()
        while not jobs:
            jobs.append(await self._queue.get())
            share = min(MAX_BATCH - 1, self._queue.qsize() // self.workers) if quick else 0
            jobs.extend(self._queue.get_nowait() for _ in range(share))
            jobs = deque(job for job in jobs if not job.answer.done())
        return jobs

    def _give_back(self, jobs: deque[_Job], *, keep_first: bool) -> None:
        """Jobs behind one that killed the worker never started; another worker may take them."""
        while len(jobs) > keep_first:
            self._queue.put_nowait(jobs.pop())

    async def _watch(self, process: WorkerProcess, job: _Job) -> _Outcome:
        """Follows one job through import and execution."""
        started: float | None = None
        own: float | None = None
        clock: _Clock | None = None
        until = time.monotonic() + self._settings.load_deadline_s
        while True:
            try:
                frame = await process.receive(until if clock is None else clock.until)
            except TimeoutError:
                if process.has_exited():  # a child it left may hold the channel open
                    return self._lost(job, await process.kill(), started)
                if clock is None:
                    return self._late(job, own)
                if clock.put_off():
                    continue
                return _Outcome(_timed_out(job, clock.waited_s()), False)
            except EOFError:
                return self._lost(job, await process.kill(), started)
            if frame.get("job") != job.number:
                return self._lost(job, "sent something else than its result", started)
            if "started" in frame:
                started = float(frame["started"])
                job.deadline_s = max(job.deadline_s, min(LONGEST_DEADLINE_S, float(frame.get("deadline_s", 0.0))))
                own = frame.get("own_deadline_s")
                if own is None:
                    clock = _Clock(process, started, job.deadline_s)
                else:
                    until = started + max(job.deadline_s, own)
            elif "scores" in frame:
                scores = [Score.from_json(score) for score in frame["scores"]]
                over_s = sum(score.seconds for score in scores) - job.deadline_s
                if clock is not None and over_s > 0 and over_s > clock.waited_s():
                    # Our event loop may have been too busy to kill it in time.
                    return _Outcome(_timed_out(job, clock.waited_s()), True)
                return _Outcome(scores, True)

    def _late(self, job: _Job, own_deadline_s: float | None) -> _Outcome:
        if own_deadline_s is not None:
            promised = max(own_deadline_s, job.deadline_s)
            what = f"verifier {job.verifier!r} ran past {promised:g} s, by which it ends itself; see its output"
            return _Outcome(_not_ours(job, what), False)
        seconds = self._settings.load_deadline_s
        what = f"importing verifier {job.verifier!r} took over {seconds:g} s; raise load_deadline_s or mend it"
        return _Outcome(_not_ours(job, what), False)

    def _lost(self, job: _Job, how: str, started: float | None) -> _Outcome:
        job.deaths += 1
        if job.deaths < 2:
            return _Outcome(None, False)
        if started is None:
            return _Outcome(_not_ours(job, f"the worker {how} twice while it imported verifier {job.verifier!r}"), False)
        explanation = f"verifier {job.verifier!r}: the worker {how} twice on this completion"
        return _Outcome([Score(value=0.0, passed=False, reason="crash", explanation=explanation)] * job.size, False)

    # -- life and death -------------------------------------------------------------------------------------------

    async def _start(self) -> WorkerProcess:
        process = WorkerProcess(self._settings)
        self._processes.add(process)
        await process.start()
        return process

    async def _discard(self, process: WorkerProcess) -> None:
        await process.kill()
        self._processes.discard(process)

    async def _kill_all(self) -> None:
        await asyncio.gather(*(process.kill() for process in self._processes))
        self._processes.clear()

    def _server_ended(self, server: asyncio.Task[None]) -> None:
        """A server only ends by itself when no worker can be started any more; then nobody should wait for ever."""
        if not server.cancelled() and (error := server.exception()) is not None:
            self._fail_open(error)

    def _fail_open(self, error: BaseException) -> None:
        self._broken = error
        for job in self._open.values():
            if not job.answer.done():
                job.answer.set_exception(VerifierError(str(error)))


def judges_groups(task: Task) -> bool:
    """Whether the task's verifier wants its completions together. Raises VerifierError where it cannot be loaded."""
    return resolve(task.verifier).wants_group(task)


def _timed_out(job: _Job, waited_s: float) -> list[Score]:
    waited = f" and {waited_s:.1f} s more, which it waited for a core" if waited_s >= BRIEF_S else ""
    explanation = f"verifier {job.verifier!r} was stopped after {job.deadline_s:g} s{waited}"
    seconds = job.deadline_s / job.size
    return [Score(value=0.0, passed=False, reason="timeout", explanation=explanation, seconds=seconds)] * job.size


def _not_ours(job: _Job, explanation: str) -> list[Score]:
    return [Score(value=None, passed=False, reason="verifier_error", explanation=explanation)] * job.size
