"""Turns a process just forked from the zygote into a box. Everything here happens before a byte of the program is read.

Order matters: mounts need rights that the uid change gives up, Landlock needs the final mounts. The seccomp filter is there already.
The calls are made ready in the zygote, once for each set of limits: what the child touches it has to copy, and that is what a box
costs. Every step raises OSError, and a process that was not confined completely runs nothing.
"""

from __future__ import annotations

import math
import os
import resource
import struct
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rlvr_sandbox import kernel, landlock
from rlvr_sandbox.line import CONTROL, READY
from rlvr_sandbox.rootfs import BOX_UID, WORK

_VIRTUAL_MB = 1024
"""Address space beyond the memory limit: reserved is not used (thread stacks, allocator arenas)."""
_DATA_MB = 256
_STACK_MB = 64
_DESCRIPTORS = 256


class Confinement(NamedTuple):
    """What the zygote found this machine to allow."""

    proc: bool
    switch_uid: int | None
    """Uid to change to; None where the zygote has the box's uid already."""
    uid_holders: int
    """Processes of the zygote itself that the kernel counts to the box's uid."""
    landlock_abi: int
    hard_limits: Mapping[int, int]
    """What the zygote itself may not exceed."""
    links: Mapping[str, str]
    """Paths below the box's /tmp that lead to somewhere else in its tree."""


def entrance(confinement: Confinement, limits: Mapping[str, Any], descriptors: Sequence[int]) -> list[kernel.Call]:
    """The calls that turn a fresh fork into a box. `descriptors`: what becomes 0, 1, 2 and the control channel."""
    calls = [*keep_only(descriptors), kernel.Call("setsid")]
    calls += [kernel.Call("unshare", kernel.NEWNS | kernel.NEWIPC), *_mounts(confinement, limits)]
    calls += set_limits(limits, confinement.hard_limits, limits["processes"] + confinement.uid_holders)
    if confinement.switch_uid is not None:
        calls += switch_user(confinement.switch_uid)
    if confinement.landlock_abi:
        free = CONTROL + 1
        calls += landlock.restrict(confinement.landlock_abi, readable=["/"], writable=[WORK], devices=["/dev"], free=free)
    return [*calls, kernel.drop_capabilities(), say_ready()]


def switch_user(uid: int) -> list[kernel.Call]:
    return [
        kernel.Call("setgroups", 0, 0),
        kernel.Call("setresgid", uid, uid, uid),
        kernel.Call("setresuid", uid, uid, uid),
        dumpable(),
    ]


def dumpable() -> kernel.Call:
    """Else /proc/self belongs to root, and open("/dev/stdin") fails."""
    return kernel.Call("prctl", kernel.PR_SET_DUMPABLE, 1, 0, 0, 0)


def say_ready() -> kernel.Call:
    """The last of all."""
    return kernel.Call("write", CONTROL, READY, len(READY), result=len(READY))


def _mounts(confinement: Confinement, limits: Mapping[str, Any]) -> list[kernel.Call]:
    owner = f"uid={BOX_UID},gid={BOX_UID}" if confinement.switch_uid in (None, BOX_UID) else f"uid={confinement.switch_uid}"
    links = _links(confinement.links)
    size = f"mode=700,size={limits['disk_mb']}m,nr_inodes={limits['files'] + 1 + len(links)},{owner}"
    calls = [kernel.Call("mount", "tmpfs", WORK, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, size)]
    if confinement.proc:
        flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
        calls.append(kernel.Call("mount", "proc", "/proc", "proc", flags, "subset=pid"))
    return [*calls, *links, kernel.Call("chdir", WORK)]


def _links(links: Mapping[str, str]) -> list[kernel.Call]:
    """Each makes a file or a folder."""
    above = {path[:end] for path in links for end in range(len(WORK) + 1, len(path)) if path[end] == "/"}
    folders = [kernel.Call("mkdirat", kernel.AT_FDCWD, folder, 0o755) for folder in sorted(above, key=len)]
    return [*folders, *(kernel.Call("symlinkat", place, kernel.AT_FDCWD, path) for path, place in links.items())]


def keep_only(descriptors: Sequence[int]) -> list[kernel.Call]:
    """They become 0, 1, 2 and the control channel, and every other descriptor is closed. All are above the channel's."""
    if min(descriptors) <= CONTROL:
        raise ValueError(f"descriptors {list(descriptors)} would overwrite each other; keep {CONTROL} in use in the zygote")
    flags = [0, 0, 0, os.O_CLOEXEC]
    calls = [kernel.Call("dup3", descriptor, place, flags[place]) for place, descriptor in enumerate(descriptors)]
    return [*calls, kernel.Call("close_range", CONTROL + 1, 2**32 - 1, 0)]


def lasting_rlimits() -> dict[int, int]:
    """Sets what is the same for every box, in the zygote, and returns the bounds that it may not exceed itself."""
    hard = {name: _hard(name) for name in _PER_BOX}
    # The kernel lets nobody pass a descriptor while more than this are under way anywhere between processes of the user.
    descriptors = min(hard[resource.RLIMIT_NOFILE], 2**20)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    lasting = {
        resource.RLIMIT_CORE: 1,  # 0 would still feed a core_pattern that is a pipe, on the host
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_STACK: _STACK_MB * 2**20,
    }
    for name, bound in lasting.items():
        bound = min(bound, _hard(name))
        resource.setrlimit(name, (bound, bound))
    return hard


_PER_BOX = (
    resource.RLIMIT_CPU,
    resource.RLIMIT_AS,
    resource.RLIMIT_DATA,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_NPROC,
    resource.RLIMIT_NOFILE,
)


def _hard(name: int) -> int:
    hard = resource.getrlimit(name)[1]
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def set_limits(limits: Mapping[str, Any], hard_limits: Mapping[int, int], processes: int | None) -> list[kernel.Call]:
    """`processes`: of the uid, as the kernel counts them; None: without a bound."""
    megabyte = 2**20
    wanted = {
        resource.RLIMIT_CPU: math.ceil(limits["cpu_s"]),
        resource.RLIMIT_AS: (limits["memory_mb"] + _VIRTUAL_MB) * megabyte,
        resource.RLIMIT_DATA: (limits["memory_mb"] + _DATA_MB) * megabyte,
        resource.RLIMIT_FSIZE: limits["fsize_mb"] * megabyte,
        resource.RLIMIT_NOFILE: _DESCRIPTORS,
    }
    if processes is not None:
        wanted[resource.RLIMIT_NPROC] = processes
    bounds = {name: min(bound, hard_limits[name]) for name, bound in wanted.items()}
    return [kernel.Call("prlimit64", 0, name, struct.pack("QQ", bound, bound), 0) for name, bound in bounds.items()]
