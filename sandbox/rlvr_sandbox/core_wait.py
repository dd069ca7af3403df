"""How long a process was ready to run and had to wait for a core: time that is the machine's fault and not the program's."""

from __future__ import annotations


def waited_s(pidfd: int) -> float:
    """Seconds, of its first thread, since it was made (`sched-stats.rst` of the kernel's documentation); 0 where nobody counts, and
    once it has been reaped."""
    try:
        with open(f"/proc/self/fdinfo/{pidfd}", "rb") as file:
            (pid,) = (int(line[4:]) for line in file if line.startswith(b"Pid:"))
        with open(f"/proc/{pid}/schedstat", "rb") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
