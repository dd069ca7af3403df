"""A folder in memory (tmpfs) for what one process hands to another, which a killed owner does not leave there for ever.

Its owner holds a lock on it (flock, which ends with the process, whatever ends it); the next owner removes what nobody holds.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

SHARED = Path("/dev/shm")  # noqa: S108 - only private folders are made in it
PREFIX = "rlvr-policy-"
ROOM = 2
"""Free memory that is wanted, in sizes of what will be written: others write to tmpfs as well."""
_NEW_S = 60.0
"""Between being made and being locked a folder is nobody's, for a moment."""


class MemoryFolder:
    """In `shared` where it has room for `size` bytes (containers often get 64 MiB), else in `otherwise`, else where temporary files go."""

    def __init__(self, size: int, otherwise: Path, shared: Path = SHARED) -> None:
        place = otherwise.resolve() if otherwise.is_dir() else None
        if os.access(shared, os.W_OK):
            remove_abandoned(shared)
            if shutil.disk_usage(shared).free >= ROOM * size:
                place = shared
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        self._lock = os.open(self.path, os.O_RDONLY)
        with contextlib.suppress(OSError):  # some network file systems have none
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def close(self) -> None:
        """Removes it and all that is in it. Raises nothing; safe to call twice."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def remove_abandoned(shared: Path) -> None:
    """Folders of this user whose owners have died."""
    for folder in shared.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            state = folder.lstat()
            if state.st_uid == os.geteuid() and time.time() - state.st_mtime > _NEW_S and _is_free(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_free(folder: Path) -> bool:
    """Raises OSError where that cannot be found out."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
