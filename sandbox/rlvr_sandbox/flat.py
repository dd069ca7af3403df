"""The zygote where no namespace can be made: boxes are ordinary processes behind Landlock, seccomp and resource limits.

What the kernel does for a box with namespaces is done here, by hand. One box lives at a time, and every descendant of this process
belongs to it: orphans come back here. In a box `setsid` and `setpgid` do nothing, so that one signal to its process group, which
the kernel delivers as a whole, ends all of it. While it lives its processes, memory and files are counted, and too many end it;
afterwards its files are removed.

The same loop serves the backend that has no walls at all.
"""

from __future__ import annotations

import _socket
import contextlib
import os
import resource
import select
import signal
import struct
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rlvr_sandbox import confine, kernel, landlock, rootfs, seccomp, seccomp_flat, serving, watch
from rlvr_sandbox.codec import encode
from rlvr_sandbox.line import CONTROL, DESCRIPTORS, ENDING, told

_TRUNCATE = 3
"""From this version on Landlock keeps a box from emptying files that everybody may write."""
_SIGNAL_SCOPE = 6
"""From this version on Landlock keeps a box from signalling processes outside."""
_SHARED_MEMORY = "/dev/shm"  # noqa: S108
_OTHERS = 256
"""Processes that the user may start while a box lives, before the box can start no more."""


class Ground(NamedTuple):
    """Where boxes live, and behind what."""

    walls: bool
    folders: tuple[str, ...]
    """What a box may write in; it starts in the first."""
    contained: bool
    """Whether a container's own pid namespace and file systems hold nothing but boxes."""
    switch_uid: int | None
    readable: tuple[str, ...]
    listed: tuple[str, ...]
    landlock_abi: int
    hard_limits: Mapping[int, int]


class Running:
    """The box that lives now."""

    def __init__(self, pid: int, limits: Mapping[str, Any]) -> None:
        self.pid = pid
        self.limits = limits
        self.over = ""
        self.pause_s = watch.PAUSE_S
        """Until it is looked at again."""


def serve(channel: _socket.socket, settings: dict[str, Any]) -> None:
    """Says `ready` and serves until the controller hangs up. Raises OSError where a wall cannot be made."""
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    ground = _walled(settings) if settings["walls"] == "landlock" else _open()
    os.environ.update(HOME=ground.folders[0], TMPDIR=ground.folders[0])
    said = {"namespaces": False, "proc": True, "landlock_abi": ground.landlock_abi, "seccomp": ground.walls}
    try:
        channel.send(encode({"ready": said, "python": sys.version.split()[0]}))
        _serve(channel, ground)
    finally:
        if not ground.contained:
            os.chdir("/")
            watch.clear(ground.folders[0])
            os.rmdir(ground.folders[0])


def _open() -> Ground:
    folder = _folder("unsafe")
    return Ground(False, (folder,), False, None, (), (), 0, confine.lasting_rlimits())


def _walled(settings: dict[str, Any]) -> Ground:
    """Before the first box: what all of them inherit."""
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
    abi, root, contained = landlock.version(), os.geteuid() == 0, os.getpid() == 1
    if not contained:
        check_version(abi, root=root)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)  # or a box of the same user could open our memory
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    tree = rootfs.interpreter_tree(site_packages=settings["site_packages"], extra=settings["read_only"])
    readable, listed = rootfs.visible(tree)
    uid: int | None = settings["host_uid"] if root else None
    if uid is not None:
        _check_readable(uid)
        kernel.drop_bounding_set()
    hard = confine.lasting_rlimits()
    kernel.install_seccomp(seccomp.build_filter(kernel.MACHINE))()
    folders = (rootfs.WORK, _SHARED_MEMORY) if contained else (_folder("landlock"),)
    if uid is not None:
        os.chown(folders[0], uid, uid)
    return Ground(True, folders, contained, uid, readable, listed, abi, hard)


def check_version(abi: int, *, root: bool) -> None:
    """Raises OSError where Landlock is too old to keep boxes from this machine; in a container there is nothing to keep them from."""
    if not abi:
        raise OSError("this kernel has no Landlock, which keeps boxes from the files of this machine; use another backend")
    if abi < _TRUNCATE:
        raise OSError(
            f"Landlock here is version {abi}; before {_TRUNCATE} (Linux 6.2) boxes could empty files that all may write"
        )
    if abi < _SIGNAL_SCOPE and not root:  # boxes of root are another user's
        raise OSError(
            f"Landlock here is version {abi}; before {_SIGNAL_SCOPE} (Linux 6.12) boxes could signal processes of their user"
        )


def _check_readable(uid: int) -> None:
    """Boxes of root run as another user, whom nobody may have thought of when the interpreter was installed."""
    for file in (sys.executable, str(os.__file__)):
        folder = file
        while (folder := os.path.dirname(folder)) != "/":
            if not os.stat(folder).st_mode & 1:
                raise OSError(
                    f"other users cannot enter {folder}, so boxes (uid {uid}) cannot use {file}; give `interpreter`"
                )


# -- serving --------------------------------------------------------------------------------------------------------------


def _serve(channel: _socket.socket, ground: Ground) -> None:
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    entrances: dict[tuple[bytes, bytes], list[kernel.Call]] = {}
    serving.settle_down(channel)
    box: Running | None = None
    while True:
        if not poll.poll(None if box is None or box.over else box.pause_s * 1000):
            assert box is not None
            _look(box, ground)
            continue
        key = data, passed = serving.receive(channel)
        if not data:
            break
        if passed:
            limits, descriptors = told(data), DESCRIPTORS.unpack(passed)
            if key not in entrances:
                entrances.clear()  # they hold hundreds of calls each, and a verifier has few kinds of limits
                entrances[key] = _entrance(ground, limits, descriptors)
            pid = serving.spawn(channel, [], [*_processes(ground, limits["processes"]), *entrances[key]], descriptors)
            box = None if pid is None else Running(pid, limits)
        elif box is not None:
            channel.send(_finish(box, ground))
            box = None
    if box is not None:
        _finish(box, ground)


def _processes(ground: Ground, wanted: int) -> list[kernel.Call]:
    """The bound that the kernel keeps for the uid of a box, which has to count what else the uid has."""
    if not ground.walls:
        return []
    if ground.contained:
        wanted += 1  # this process
    elif ground.switch_uid is None:
        wanted += watch.threads_of_user(os.getuid()) + _OTHERS
    bound = min(wanted, ground.hard_limits[resource.RLIMIT_NPROC])
    return [kernel.Call("prlimit64", 0, resource.RLIMIT_NPROC, struct.pack("QQ", bound, bound), 0)]


def _entrance(ground: Ground, limits: Mapping[str, Any], descriptors: Sequence[int]) -> list[kernel.Call]:
    """The calls that turn a fresh fork into a box. The uid before the signal at our end, which it would take back."""
    calls = [*confine.keep_only(descriptors), kernel.Call("setsid"), kernel.Call("chdir", ground.folders[0])]
    calls += confine.set_limits(limits, ground.hard_limits, None)
    if ground.switch_uid is not None:
        calls += confine.switch_user(ground.switch_uid)
    calls.append(kernel.Call("prctl", kernel.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    if ground.walls:
        calls.append(confine.dumpable())
        calls += _landlock(ground)
        calls += [kernel.drop_capabilities(), kernel.install_seccomp(seccomp_flat.build_filter(kernel.MACHINE))]
    return [*calls, confine.say_ready()]


def _landlock(ground: Ground) -> list[kernel.Call]:
    if not ground.landlock_abi:
        return []
    return landlock.restrict(
        ground.landlock_abi,
        readable=(*ground.readable, "/proc/self"),
        writable=ground.folders,
        devices=[f"/dev/{name}" for name in rootfs.DEVICES],
        listed=ground.listed,
        free=CONTROL + 1,
    )


# -- keeping watch, and afterwards ----------------------------------------------------------------------------------------


def _look(box: Running, ground: Ground) -> None:
    """Ends the box where it is over a limit that the kernel does not hold it to."""
    if ground.walls:
        box.over, box.pause_s = watch.excess(box.limits, ground.folders, separate=ground.contained)
        if box.over:
            watch.kill(box.pid, grouped=True)


def _finish(box: Running, ground: Ground) -> bytes:
    """Nothing that the box started lives on, and no file stays. The controller has killed its first process or seen it end."""
    watch.kill(box.pid, grouped=ground.walls)
    _, status, usage = os.wait4(box.pid, 0)
    cpu_s = usage.ru_utime + usage.ru_stime
    for orphan in watch.reap_all(box.pid, grouped=ground.walls):
        cpu_s += orphan.ru_utime + orphan.ru_stime
    for folder in ground.folders:
        watch.clear(folder)
    return ENDING.pack(os.waitstatus_to_exitcode(status), cpu_s, usage.ru_maxrss / 1024, 0) + box.over.encode()


def _sweep() -> None:
    """Folders of zygotes that were killed."""
    parent = _parent()
    for name in os.listdir(parent):
        match name.split("-"):
            case ["rlvr", "landlock" | "unsafe", owner, _] if owner.isdigit() and not os.path.exists(f"/proc/{owner}"):
                with contextlib.suppress(OSError):  # of another user
                    watch.clear(f"{parent}/{name}")
                    os.rmdir(f"{parent}/{name}")
            case _:
                pass


def _folder(kind: str) -> str:
    _sweep()
    folder = f"{_parent()}/rlvr-{kind}-{os.getpid()}-{os.urandom(8).hex()}"
    os.mkdir(folder, 0o700)
    return folder


def _parent() -> str:
    """`tempfile` would be in the memory of every box. Raises OSError where there is no such folder."""
    for folder in ("/tmp", "/var/tmp"):  # noqa: S108
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise OSError("neither /tmp nor /var/tmp can be written")
