"""The completions of one task meet before they are scored: for verifiers that judge them together, as relative rewards do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from rlvr_verifiers.types import Completion, Score

GroupJudge = Callable[[Sequence[Completion]], Awaitable[Sequence[Score]]]


class ScoredTogether:
    """Each of `size` rollouts brings its completion and gets its own score back. The last one to arrive has them all judged, in the
    order of the samples, whichever was finished first."""

    def __init__(self, size: int, judge: GroupJudge) -> None:
        self._missing = size
        self._judge = judge
        self._completions: dict[int, Completion] = {}
        self._scores: dict[int, Score] = {}
        self._settled = asyncio.Event()
        self._error: BaseException | None = None

    async def score(self, sample: int, completion: Completion | None) -> Score | None:
        """None brings nothing to judge, and gets None. Raises what judging raises, in every rollout of the group."""
        self._missing -= 1
        if completion is not None:
            self._completions[sample] = completion
        if self._missing:
            await self._settled.wait()
        else:
            await self._judge_all()
        if self._error is not None:
            raise self._error
        return self._scores.get(sample)

    def give_up(self, error: BaseException) -> None:
        """A rollout will never arrive: nobody should wait for it."""
        self._error = self._error or error
        self._settled.set()

    async def _judge_all(self) -> None:
        order = sorted(self._completions)
        try:
            scores = await self._judge([self._completions[sample] for sample in order]) if order else ()
        except BaseException as error:
            self.give_up(error)
            raise
        self._scores = dict(zip(order, scores, strict=True))
        self._settled.set()
