"""Ctrl-C as a request: the run stops at the next safe point, saves, and exits with 130.

A second Ctrl-C stops at once, without saving; the last checkpoint is always intact.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class Interrupted(Exception):  # noqa: N818 - a request, not an error
    """The user asked to stop; raised only where nothing is half done."""


class StopRequest:
    """Becomes true at the first SIGINT or SIGTERM."""

    def __init__(self) -> None:
        self.requested = False

    def check(self) -> None:
        """Raises `Interrupted` if a stop was asked for."""
        if self.requested:
            raise Interrupted

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Within the block, signals set the flag; outside main thread or nested use this must not be entered."""
        previous = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
