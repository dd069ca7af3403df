"""Turns: what rollouts ask of the engine one at a time, while it samples many of them together."""

from __future__ import annotations

import asyncio
import hashlib

from rlvr.engines.feed import RequestFeed
from rlvr.engines.protocol import Generation, GenerationRequest


class Turns:
    """Joins rollouts, each of which waits for its own next turn, to one engine, which samples whatever is in the feed."""

    def __init__(self, rollouts: int) -> None:
        self.feed = RequestFeed()
        self._awaited: dict[int, asyncio.Future[Generation]] = {}
        self._sampling = rollouts
        if not rollouts:
            self.feed.close()

    async def next(self, request: GenerationRequest) -> Generation:
        """The request's generation. `request.index` is the rollout's number: one request of it at a time."""
        answer = asyncio.get_running_loop().create_future()
        self._awaited[request.index] = answer
        self.feed.put(request)
        return await answer

    def deliver(self, generation: Generation) -> None:
        answer = self._awaited.pop(generation.index)
        if not answer.done():  # its rollout may have been cancelled
            answer.set_result(generation)

    def leave(self) -> None:
        """A rollout has taken its last turn; with the last rollout's the engine is done."""
        self._sampling -= 1
        if not self._sampling:
            self.feed.close()


def sample_seed(seed: int, occasion: str, task_id: str, sample: int, turn: int = 0) -> int:
    """One seed per (run, occasion, task, sample, turn): 63 bits of a hash, so that no two draws share a stream."""
    named = f"{seed}\0{occasion}\0{task_id}\0{sample}" + (f"\0{turn}" if turn else "")
    return int.from_bytes(hashlib.blake2b(named.encode(), digest_size=8).digest(), "little") >> 1
