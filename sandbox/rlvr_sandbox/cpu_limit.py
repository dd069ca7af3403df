"""CPU time of a whole box against its limit, looked at as seldom as can be: it grows by as many seconds a second as there are cores."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

_CORES = os.cpu_count() or 1
_PAUSE_S = 0.01
"""At least this long between two looks, so that a program cannot be much further over than that times the cores."""


class CpuLimit:
    """used_s: CPU time so far; None: nobody counts, so each process is held to the limit by the kernel, and the box is not."""

    def __init__(self, used_s: Callable[[], float] | None, limit_s: float, processes: int) -> None:
        self._used_s = used_s
        self._limit_s = limit_s
        self._growth = min(_CORES, processes)
        self._next = time.monotonic() + limit_s / self._growth

    def pause_s(self) -> float:
        """Seconds until `over` should be asked; infinite where there is nothing to ask."""
        return max(0.0, self._next - time.monotonic()) if self._used_s is not None else float("inf")

    def over(self) -> bool:
        if self._used_s is None or time.monotonic() < self._next:
            return False
        left_s = self._limit_s - self._used_s()
        self._next = time.monotonic() + max(_PAUSE_S, left_s / self._growth)
        return left_s <= 0
