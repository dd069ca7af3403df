"""Runs one verifier on one completion in this process, without a deadline.

A verifier that raises is our failure, not the policy's: the score is None with reason `verifier_error`.
"""

from __future__ import annotations

import dataclasses
import time
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from rlvr_verifiers.arguments import clip
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.protocol import LoadedVerifier, as_score, as_scores
from rlvr_verifiers.registry import resolve
from rlvr_verifiers.types import Completion, Score, Task


def score_now(task: Task, completion: Completion) -> Score:
    """Scores here and now; for quick verifiers that are trusted to end. Never raises for what a verifier does.

    Raises VerifierError where the verifier cannot be loaded, or is asynchronous and this thread already runs an event loop.
    """
    return run_verifier(resolve(task.verifier), task, completion, _wait)


def score_group_now(task: Task, completions: Sequence[Completion]) -> list[Score]:
    """As `score_now`, for all completions of a task."""
    return run_batch(resolve(task.verifier), task, completions, _wait)


def run_verifier(
    verifier: LoadedVerifier, task: Task, completion: Completion, wait: Callable[[Awaitable[Any]], Any]
) -> Score:
    """Calls the verifier and makes a Score of what it says, `seconds` included. `wait` finishes an asynchronous one.

    Raises MemoryError (what to do about it depends on whose process this is) and what `wait` raises as VerifierError.
    """
    begin = time.perf_counter()
    try:
        judgement = verifier.function(task, completion)
        if isinstance(judgement, Awaitable):
            judgement = wait(judgement)
        score = as_score(judgement, verifier.name)
    except (MemoryError, LoopRunningError):
        raise
    except (Exception, SystemExit) as error:
        score = failure(verifier.name, error)
    return dataclasses.replace(score, seconds=time.perf_counter() - begin)


def run_batch(
    verifier: LoadedVerifier, task: Task, completions: Sequence[Completion], wait: Callable[[Awaitable[Any]], Any]
) -> list[Score]:
    """As `run_verifier`, for all completions of a task at once; its time is shared out evenly.

    A verifier that does not want them together judges them one by one.
    """
    if verifier.batch is None or not verifier.wants_group(task):
        return [run_verifier(verifier, task, completion, wait) for completion in completions]
    begin = time.perf_counter()
    try:
        judgements = verifier.batch(task, completions)
        if isinstance(judgements, Awaitable):
            judgements = wait(judgements)
        scores = as_scores(judgements, len(completions), verifier.name)
    except (MemoryError, LoopRunningError):
        raise
    except (Exception, SystemExit) as error:
        scores = [failure(verifier.name, error)] * len(completions)
    seconds = (time.perf_counter() - begin) / max(1, len(completions))
    return [dataclasses.replace(score, seconds=seconds) for score in scores]


def failure(name: str, error: BaseException) -> Score:
    """A verifier's exception as a score: None, with what it was and where."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name})" if frames else ""
    what = f"{type(error).__name__}: {clip(str(error), 300)}"
    return Score(value=None, passed=False, reason="verifier_error", explanation=f"verifier {name!r} raised {what}{where}")


class LoopRunningError(VerifierError):
    """The caller's mistake, not the verifier's, so it must not become a score."""


def _wait(judgement: Awaitable[Any]) -> Any:
    import asyncio  # only asynchronous verifiers pay for it

    async def finish() -> Any:
        return await judgement

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(finish())
    if isinstance(judgement, Coroutine):
        judgement.close()
    raise LoopRunningError("score_now met an asynchronous verifier inside an event loop; use a VerifierPool there")
