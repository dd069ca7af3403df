"""Requests for an engine that may still come while it samples others: the later turns of rollouts that use tools."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Literal

from rlvr.engines.protocol import GenerationRequest


class RequestFeed:
    """One caller puts requests in, one engine takes them out, both in the same event loop.

    A feed that is `closed` gets no more requests: an engine is done when it has sampled what was put in before.
    """

    def __init__(self, requests: Iterable[GenerationRequest] = (), *, closed: bool = False) -> None:
        self._waiting = list(requests)
        self._closed = closed
        self._changed = asyncio.Event()

    @property
    def waiting(self) -> tuple[GenerationRequest, ...]:
        """What was put in and not yet taken, oldest first."""
        return tuple(self._waiting)

    def put(self, request: GenerationRequest) -> None:
        if self._closed:
            raise RuntimeError(f"request {request.index} came after the feed was closed")
        self._waiting.append(request)
        self._changed.set()

    def close(self) -> None:
        self._closed = True
        self._changed.set()

    async def more(self) -> bool:
        """Waits until there is a request to take; False where there will be none."""
        while not self._waiting and not self._closed:
            self._changed.clear()
            await self._changed.wait()
        return bool(self._waiting)

    def take(self, weights: Literal["policy", "base"] | None = None) -> list[GenerationRequest]:
        """Takes out all requests, or all that ask for these weights; never waits."""
        taken = [request for request in self._waiting if weights in (None, request.weights)]
        self._waiting = [request for request in self._waiting if weights not in (None, request.weights)]
        return taken
