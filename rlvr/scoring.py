"""Verifiers at work while the engine samples: a pool whose event loop has a thread of its own.

The main thread does all tensor work, engine and learner alike. (A second thread that computes would cost both of them dearly on
CPU: OpenMP keeps a team of workers for each, and sends all of them to sleep after every operator once there are more than cores.)
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from types import TracebackType

from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.pool import VerifierPool, judges_groups
from rlvr_verifiers.types import Completion, Score, Task


class ScoringThread:
    """Use as `with ScoringThread(pool) as scorer: score = await scorer.score(task, completion)`, from any event loop.

    Entering raises what opening the pool raises. Cancelling `score` or `score_group` cancels the verification.
    """

    def __init__(self, pool: VerifierPool) -> None:
        self._pool = pool
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="scoring", daemon=True)

    def __enter__(self) -> ScoringThread:
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._pool.__aenter__(), self._loop).result()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            asyncio.run_coroutine_threadsafe(self._pool.__aexit__(kind, error, trace), self._loop).result()
        finally:
            self._end()

    async def score(self, task: Task, completion: Completion) -> Score:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._pool.score(task, completion), self._loop))

    async def score_group(self, task: Task, completions: Sequence[Completion]) -> list[Score]:
        """As `VerifierPool.score_group`."""
        scoring = self._pool.score_group(task, completions)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(scoring, self._loop))

    def wants_group(self, task: Task) -> bool:
        """Whether a task's completions are to be scored together."""
        try:
            return judges_groups(task)
        except VerifierError:  # the pool says so in each score
            return False

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
