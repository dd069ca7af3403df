"""A control group for one zygote and its box: what the whole box uses together, however many processes it becomes.

Made once for each zygote, since it has one box at a time; cgroup v2 or v1, whichever lets this process make a group below its
own. Without one, each process of a box is limited by itself.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from pathlib import Path

from rlvr_sandbox.spawner import OutOfMemory
from rlvr_sandbox.types import Limits

_ZYGOTE_MB = 64
_ZYGOTE_PROCESSES = 2
_PREFIX = "rlvr-box-"
_ASIDE = "rlvr-aside"
_NEAR = 4 * 2**20
"""Bytes: the kernel counts pages by the dozen, and large ones."""
_PASSES = 10
"""Over the processes of a group, which may start others meanwhile."""
_CONTROLLERS = ("memory", "pids", "cpuacct")
_counter = itertools.count()


class Group:
    """Folders of one group: one with cgroup v2, up to three with v1.

    cpu: with v1 the folder that counts CPU time, where there is one.
    """

    def __init__(self, memory: Path, pids: Path, cpu: Path | None = None) -> None:
        self.version = 2 if memory == pids else 1
        self._memory, self._pids = memory, pids
        self._folders = {memory, pids, *([cpu] if cpu else [])}
        counts = memory / "cpu.stat" if self.version == 2 else cpu / "cpuacct.usage" if cpu else None
        self._cpu = os.open(counts, os.O_RDONLY | os.O_CLOEXEC) if counts else -1
        self._limits: tuple[int, int] | None = None
        self._met = self._count_met()
        self._events = os.open(
            memory / ("memory.events" if self.version == 2 else "memory.oom_control"), os.O_RDONLY | os.O_CLOEXEC
        )
        self._kills = 0

    def add(self, pid: int) -> None:
        """Moves a process in; what it starts from now on is in, too."""
        for folder in self._folders:
            (folder / "cgroup.procs").write_text(str(pid))

    def limit(self, limits: Limits) -> None:
        """Raises OSError where the kernel refuses."""
        wanted = (limits.memory_mb, limits.processes)
        if wanted != self._limits:
            name = "memory.max" if self.version == 2 else "memory.limit_in_bytes"
            (self._memory / name).write_text(str((limits.memory_mb + _ZYGOTE_MB) * 2**20))
            (self._pids / "pids.max").write_text(str(limits.processes + _ZYGOTE_PROCESSES))
            self._limits = wanted

    def out_of_memory(self) -> OutOfMemory:
        """Why the kernel has killed a process of the group for memory since this was asked last."""
        kills = _count(os.pread(self._events, 4096, 0), b"oom_kill")
        if kills == self._kills:
            return ""
        self._kills = kills
        return "box" if self._met_its_limit() else "machine"

    def _met_its_limit(self) -> bool:
        """Since this was asked last."""
        if self.version == 2:
            before, self._met = self._met, self._count_met()
            return self._met > before
        # Kernels have stopped to count how often, so what it has used at most has to tell.
        most = self._memory / "memory.max_usage_in_bytes"
        met = int(most.read_text()) > int((self._memory / "memory.limit_in_bytes").read_text()) - _NEAR
        with contextlib.suppress(OSError):  # of somebody else's group: then it has met it for good
            most.write_text("0")  # the kernel takes what is used now
        return met

    def _count_met(self) -> int:
        return _count((self._memory / "memory.events").read_bytes(), b"oom") if self.version == 2 else 0

    def cpu_s(self) -> float | None:
        """Seconds of CPU time that everything in the group has used so far; None where that is not counted."""
        if self._cpu < 0:
            return None
        counted = os.pread(self._cpu, 4096, 0).split()
        return int(counted[1]) / 1e6 if self.version == 2 else int(counted[0]) / 1e9  # `usage_usec N ...`, or nanoseconds

    def forget(self) -> None:
        """Of a group that is somebody else's."""
        for descriptor in (self._events, self._cpu):
            if descriptor >= 0:
                os.close(descriptor)
        self._events = self._cpu = -1

    def close(self) -> None:
        """Safe to call twice."""
        self.forget()
        for folder in self._folders:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _count(events: bytes, wanted: bytes) -> int:
    for line in events.splitlines():
        name, _, count = line.partition(b" ")
        if name == wanted:
            return int(count)
    return 0


def make_group() -> Group | None:
    """A new group with memory and process limits, or None where this process may not make one."""
    for make in (_make_v2, _make_v1):
        with contextlib.suppress(OSError, KeyError, ValueError):
            return make()
    return None


def _make_v2() -> Group:
    """Below the folder that this process is in, or beside it: but for the root, one with processes can have no limited folders below."""
    own = _own_folders()[""]
    for folder in (own, own.parent):
        with contextlib.suppress(OSError, ValueError):
            return _make_below(folder)
    _step_aside(own)
    return _make_below(own)


def _make_below(folder: Path) -> Group:
    if not (folder / "cgroup.subtree_control").exists() or not os.access(folder / "cgroup.procs", os.W_OK):
        raise ValueError("no control group that can be seen from here, or one that no process can be moved below")
    _sweep(folder)
    with contextlib.suppress(OSError):
        (folder / "cgroup.subtree_control").write_text("+memory +pids")
    new = _new(folder)
    if not (new / "memory.max").exists() or not (new / "pids.max").exists():
        new.rmdir()
        raise ValueError("controllers are not delegated")
    with contextlib.suppress(OSError):
        (new / "memory.swap.max").write_text("0")
    return Group(new, new)


def _step_aside(folder: Path) -> None:
    """Moves all processes of a container's own group, which has nothing beside it, to a folder below. Raises ValueError, and moves
    none, where the group is anything else."""
    delegated = (folder / "cgroup.controllers").read_text().split()
    of_the_machine = not (folder / "cgroup.type").exists()
    if of_the_machine or (folder.parent / "cgroup.procs").exists() or not {"memory", "pids"} <= {*delegated}:
        raise ValueError("not a container's own group, or one without controllers")
    aside = folder / _ASIDE
    aside.mkdir(exist_ok=True)
    for _ in range(_PASSES):
        pids = (folder / "cgroup.procs").read_text().split()
        if not pids:
            return
        for pid in pids:
            if pid == "0":
                raise ValueError("a process of the group is not to be seen from here")
            with contextlib.suppress(ProcessLookupError):
                (aside / "cgroup.procs").write_text(pid)


def _make_v1() -> Group:
    folders = _own_folders()
    made: list[Path] = []
    try:
        for name in ("memory", "pids"):
            _sweep(folders[name])
            made.append(_new(folders[name]))
        with contextlib.suppress(OSError, KeyError):  # CPU time need not be counted
            _sweep(folders["cpuacct"])
            made.append(_new(folders["cpuacct"]))
        return Group(*made)
    except BaseException:
        for folder in made:
            folder.rmdir()
        raise


def _new(folder: Path) -> Path:
    new = folder / f"{_PREFIX}{os.getpid()}-{next(_counter)}"
    new.mkdir()
    return new


def _sweep(folder: Path) -> None:
    """Groups of controllers that were killed; a group with a process in it cannot be removed."""
    for old in folder.glob(f"{_PREFIX}*"):
        owner = old.name.removeprefix(_PREFIX).partition("-")[0]
        if not Path("/proc", owner).exists():
            with contextlib.suppress(OSError):
                old.rmdir()


def group_of(pid: int) -> Group | None:
    """The group that a process is in, to ask what happened in it; None where its files are not to be seen."""
    with contextlib.suppress(OSError, KeyError, ValueError):
        folders = _own_folders(str(pid))
        if "memory" in folders:
            group = Group(folders["memory"], folders["pids"], folders.get("cpuacct"))
        else:
            group = Group(folders[""], folders[""])
        group.out_of_memory()
        return group
    return None


def _own_folders(pid: str = "self") -> dict[str, Path]:
    """Controller to a process's folder; v2 under the empty name. Raises OSError or ValueError where it is not to be seen."""
    own: dict[str, str] = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own.update(dict.fromkeys(controllers.split(","), path))
    folders: dict[str, Path] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        kind, options = fields[fields.index("-") + 1], fields[-1].split(",")
        names = [""] if kind == "cgroup2" else [name for name in options if kind == "cgroup" and name in _CONTROLLERS]
        for name in names:
            root, mounted = fields[3], Path(fields[4])
            below = os.path.relpath(own[name], root) if name in own else ""
            if below and not below.startswith(".."):
                folders[name] = Path(os.path.normpath(mounted / below))
    return folders
