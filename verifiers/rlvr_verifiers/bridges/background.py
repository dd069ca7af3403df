"""A verifier pool for callers without an event loop: it starts with the first call, in a thread of its own."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Sequence

from rlvr_verifiers.pool import VerifierPool
from rlvr_verifiers.types import Completion, Score, Task


class BackgroundPool:
    """Its workers end with this process, or with `close`. A forked child starts its own."""

    def __init__(self, workers: int, deadline_s: float, verifier: str) -> None:
        self._make = lambda: VerifierPool(workers, deadline_s, verifiers=[verifier])
        self._lock = threading.Lock()
        self._pool: VerifierPool | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._owner = 0

    def score_group(self, task: Task, completions: Sequence[Completion]) -> list[Score]:
        """Raises VerifierError as the pool does."""
        with self._lock:
            if self._pool is None or self._loop is None or self._owner != os.getpid():
                self._loop, self._pool = self._start()
                self._owner = os.getpid()
            loop, pool = self._loop, self._pool
        return asyncio.run_coroutine_threadsafe(pool.score_group(task, completions), loop).result()

    def close(self) -> None:
        with self._lock:
            loop, pool = self._loop, self._pool
            self._loop = self._pool = None
        if loop is None or pool is None or self._owner != os.getpid():
            return
        asyncio.run_coroutine_threadsafe(pool.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)

    def _start(self) -> tuple[asyncio.AbstractEventLoop, VerifierPool]:
        loop, pool = asyncio.new_event_loop(), self._make()

        def run() -> None:
            loop.run_forever()
            loop.close()

        threading.Thread(target=run, name="verifiers", daemon=True).start()
        try:
            asyncio.run_coroutine_threadsafe(pool.__aenter__(), loop).result()
        except BaseException:
            loop.call_soon_threadsafe(loop.stop)
            raise
        atexit.register(self.close)
        return loop, pool
