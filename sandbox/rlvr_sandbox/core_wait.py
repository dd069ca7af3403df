"""How long a process was ready to run and had to wait for a core: time that is the machine's fault and not the program's."""

from __future__ import annotations

BRIEF_S = 0.1
"""What takes less is not asked how long it has waited."""
WORTH_S = 0.001
"""Waiting of less is not worth putting a deadline off."""


def waited_s(pid: int) -> float:
    """Seconds, of its first thread, since it was made (`sched-stats.rst` of the kernel's documentation); 0 where nobody counts, and
    once it has been reaped."""
    try:
        with open(f"/proc/{pid}/schedstat", "rb") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def pid_of(pidfd: int) -> int:
    """As this process sees it; -1 once it has been reaped, and where that cannot be known."""
    try:
        with open(f"/proc/self/fdinfo/{pidfd}", "rb") as file:
            return next((int(line[4:]) for line in file if line.startswith(b"Pid:")), -1)
    except OSError:
        return -1
