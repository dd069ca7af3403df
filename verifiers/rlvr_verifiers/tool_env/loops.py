"""Event loops of environments: each instance has its own for what it does asynchronously, and none runs inside another."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")


class OwnLoop:
    """One loop from first to last, so that what is bound to it (a lock, a connection) works in the next call, too."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None

    def finished(self, value: object) -> object:
        """The value, or what it comes to where it has to be awaited. Not where another loop runs: see `where_no_loop_runs`."""
        if not inspect.isawaitable(value):
            return value
        if self._runner is None:
            self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        return self._runner.run(_awaited(cast("Awaitable[object]", value)))

    def close(self) -> None:
        if self._runner is not None:
            self._runner.close()


async def _awaited(value: Awaitable[object]) -> object:
    return await value


def where_no_loop_runs(function: Callable[P, R]) -> Callable[P, R]:
    """Lets a function be called anywhere: where an event loop runs (a part of `multi`, a server), it goes to a thread of its own, and the
    caller waits as it would have. Else no method of an environment could finish anything asynchronous there."""

    @functools.wraps(function)
    def call(*arguments: P.args, **keywords: P.kwargs) -> R:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return function(*arguments, **keywords)
        with ThreadPoolExecutor(1, thread_name_prefix="environment") as thread:
            return thread.submit(function, *arguments, **keywords).result()

    return call
