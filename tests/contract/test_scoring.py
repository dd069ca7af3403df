"""Scoring in a thread of its own goes on while this thread computes, and ends with the block."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from rlvr.scoring import ScoringThread
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.pool import VerifierPool
from rlvr_verifiers.types import Completion, Task

TASK = Task(id="t", prompt=({"role": "user", "content": "?"},), verifier="exact", answer="57")


def scoring_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "scoring"]


def test_a_score_arrives_although_the_event_loop_was_busy() -> None:
    async def main(scorer: ScoringThread) -> tuple[float | None, float]:
        pending = asyncio.create_task(scorer.score(TASK, Completion(text="57")))
        await asyncio.sleep(0)  # as engines do between two steps
        time.sleep(2.0)  # the engine computes
        started = time.perf_counter()
        return (await pending).value, time.perf_counter() - started

    with ScoringThread(VerifierPool(workers=1, deadline_s=5.0)) as scorer:
        value, waited = asyncio.run(main(scorer))
    assert value == 1.0
    assert waited < 0.5
    assert not scoring_threads()


def test_cancelling_one_leaves_the_others() -> None:
    async def main(scorer: ScoringThread) -> float | None:
        cancelled = asyncio.create_task(scorer.score(TASK, Completion(text="57")))
        await asyncio.sleep(0)
        cancelled.cancel()
        return (await scorer.score(TASK, Completion(text="58"))).value

    with ScoringThread(VerifierPool(workers=1, deadline_s=5.0)) as scorer:
        assert asyncio.run(main(scorer)) == 0.0


def test_a_pool_that_cannot_open_says_why_and_leaves_no_thread() -> None:
    scorer = ScoringThread(VerifierPool(workers=1, deadline_s=5.0, verifiers=["nowhere_to_be_found"]))
    with pytest.raises(VerifierError, match="nowhere_to_be_found"), scorer:
        pass
    assert not scoring_threads()
