"""What a box without namespaces uses, and how all of it is ended and removed. Everything here may be hostile but the kernel.

All descendants of this process belong to one box.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

PAUSE_S = 0.01
"""Between two looks, unless looking takes a tenth of that."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


def descendants() -> list[int]:
    """Of this process, at one moment or near it."""
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting:
        pid = waiting.pop()
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children") as file:
                    waiting += [int(child) for child in file.read().split()]
        found.append(pid)
    return found[1:]


def threads_of_user(uid: int) -> int:
    """Threads that the kernel counts to a user."""
    count = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                folder = os.stat(f"/proc/{name}/task")
                count += (folder.st_nlink - 2) * (folder.st_uid == uid)
    return count


def excess(limits: Mapping[str, Any], folders: Sequence[str], *, separate: bool) -> tuple[str, float]:
    """Which limit the box is over, or nothing; and the seconds until the next look.

    separate: whether each folder is a file system of its own.
    """
    begin = time.monotonic()
    pids = descendants()
    over = ""
    if _threads(pids) > limits["processes"]:
        over = "processes"
    elif _memory(pids, limits["memory_mb"] * 2**20):
        over = "memory"
    else:
        count, size = _of_file_systems(folders) if separate else _of_folder(folders[0], limits["files"])
        if not separate:
            size += _deleted(pids)
        if count > limits["files"] or size > limits["disk_mb"] * 2**20:
            over = "disk"
    return over, max(PAUSE_S, 10 * (time.monotonic() - begin))


def _threads(pids: Sequence[int]) -> int:
    count = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            count += max(1, os.stat(f"/proc/{pid}/task").st_nlink - 2)
    return count


def _memory(pids: Sequence[int], most: int) -> bool:
    """Whether they use more together. Pages that several share are counted once, which takes longer to find out."""
    resident = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/statm") as file:
            resident += int(file.read().split()[1]) * _PAGE
    return resident > most and (len(pids) > 1 or resident > most + 256 * 2**20) and sum(map(_share, pids)) > most


def _share(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError), open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _of_file_systems(folders: Sequence[str]) -> tuple[int, int]:
    count = size = 0
    for folder in folders:
        state = os.statvfs(folder)
        count += state.f_files - state.f_ffree - 1
        size += (state.f_blocks - state.f_bfree) * state.f_frsize
    return count, size


def _of_folder(folder: str, most: int) -> tuple[int, int]:
    """Files below a folder, up to one more than `most`, and the bytes that they occupy."""
    count = size = 0
    waiting = [folder]
    while waiting and count <= most:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                count += 1
                if count > most:
                    break
                with contextlib.suppress(OSError):
                    state = entry.stat(follow_symlinks=False)
                    size += state.st_blocks * 512
                    if stat.S_ISDIR(state.st_mode):
                        waiting.append(entry.path)
    return count, size


def _deleted(pids: Sequence[int]) -> int:
    """Bytes of files that have no name any more and are held open."""
    sizes: dict[tuple[int, int], int] = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            for name in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    state = os.stat(f"/proc/{pid}/fd/{name}")
                    if stat.S_ISREG(state.st_mode) and state.st_nlink == 0:
                        sizes[state.st_dev, state.st_ino] = state.st_blocks * 512
    return sum(sizes.values())


# -- ending it ------------------------------------------------------------------------------------------------------------


def kill(pid: int, *, grouped: bool) -> None:
    """grouped: all of it is in the process group of its first process, and cannot leave it, so one signal reaches everything."""
    targets = [pid] if grouped else descendants()
    if grouped:
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGKILL)
    for target in targets:
        with contextlib.suppress(OSError):
            os.kill(target, signal.SIGKILL)


def reap_all(group: int, *, grouped: bool) -> Iterator[resource.struct_rusage]:
    """Until this process has no child any more; what each used."""
    while True:
        try:
            pid, _, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid:
            yield usage
            continue
        if grouped:
            with contextlib.suppress(OSError):
                os.killpg(group, signal.SIGKILL)
        else:
            kill(group, grouped=False)
        time.sleep(0.0005)


def clear(folder: str) -> None:
    """Removes everything in it, however deep, and whatever its modes are. Nobody else writes there any more. Raises OSError."""
    number, name = 0, os.urandom(8).hex()  # which nothing in it has
    while entries := list(os.scandir(folder)):
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            os.chmod(entry.path, 0o700)
            for inner in os.scandir(entry.path):
                if inner.is_dir(follow_symlinks=False):  # moved up, so that no path becomes too long
                    os.chmod(inner.path, 0o700)
                    os.rename(inner.path, f"{folder}/{name}{number}")
                    number += 1
                else:
                    os.unlink(inner.path)
            os.rmdir(entry.path)
