"""Turns a process just forked from the zygote into a box. Everything here happens before a byte of the program is read.

Order matters: mounts need rights that the uid change gives up, Landlock needs the final mounts, seccomp refuses all the rest.
Every step raises OSError, and a process that was not confined completely runs nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import resource
from collections.abc import Mapping
from typing import Any

from rlvr_sandbox import kernel, landlock
from rlvr_sandbox.rootfs import BOX_UID, WORK

CONTROL = 3
"""Descriptor of the channel to the controller; 0, 1 and 2 are the program's own."""
_VIRTUAL_MB = 1024
"""Address space beyond the memory limit: reserved is not used (thread stacks, allocator arenas)."""
_DATA_MB = 256
_STACK_MB = 64


@dataclasses.dataclass(frozen=True, slots=True)
class Confinement:
    """What the zygote found this machine to allow."""

    namespaces: bool
    proc: bool
    switch_uid: int | None
    """Uid to change to; None where the zygote has the box's uid already."""
    uid_holders: int | None
    """Processes of the zygote itself that the kernel counts to the box's uid. None: too many to tell, so that processes
    cannot be limited."""
    landlock_abi: int
    seccomp: bytes | None


def enter(confinement: Confinement, limits: Mapping[str, Any], descriptors: list[int]) -> None:
    """`descriptors`: what becomes 0, 1, 2 and the control channel."""
    os.setsid()
    if confinement.namespaces:
        kernel.unshare(kernel.NEWNS | kernel.NEWIPC)
        _mounts(confinement, limits)
    _keep_only(descriptors)
    with contextlib.suppress(OSError):  # no /proc, no preference: the limits hold all the same
        _prefer_for_oom()
    _rlimits(limits, confinement.uid_holders)
    if confinement.switch_uid is not None:
        os.setgroups([])
        os.setresgid(confinement.switch_uid, confinement.switch_uid, confinement.switch_uid)
        os.setresuid(confinement.switch_uid, confinement.switch_uid, confinement.switch_uid)
        kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # else /proc/self belongs to root, and open("/dev/stdin") fails
    if confinement.landlock_abi:
        writable = [WORK, "/dev/null", "/dev/zero", "/dev/full"]
        landlock.restrict(confinement.landlock_abi, readable=["/"], writable=writable)
    if confinement.namespaces:
        kernel.drop_capabilities()
    if confinement.seccomp is not None:
        kernel.install_seccomp(confinement.seccomp)


def _mounts(confinement: Confinement, limits: Mapping[str, Any]) -> None:
    owner = f"uid={BOX_UID},gid={BOX_UID}" if confinement.switch_uid in (None, BOX_UID) else f"uid={confinement.switch_uid}"
    size = f"mode=700,size={limits['disk_mb']}m,nr_inodes={limits['files'] + 1},{owner}"
    kernel.mount("tmpfs", WORK, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, size)
    if confinement.proc:
        flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
        kernel.mount("proc", "/proc", "proc", flags, "subset=pid")
    os.chdir(WORK)


def _keep_only(descriptors: list[int]) -> None:
    for place, descriptor in enumerate(descriptors):
        if descriptor != place:
            os.dup2(descriptor, place)
        else:
            os.set_inheritable(place, True)
    os.set_inheritable(CONTROL, False)
    os.closerange(len(descriptors), resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def _prefer_for_oom() -> None:
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def _rlimits(limits: Mapping[str, Any], uid_holders: int | None) -> None:
    megabyte = 2**20
    wanted = {
        resource.RLIMIT_CPU: math.ceil(limits["cpu_s"]),
        resource.RLIMIT_AS: (limits["memory_mb"] + _VIRTUAL_MB) * megabyte,
        resource.RLIMIT_DATA: (limits["memory_mb"] + _DATA_MB) * megabyte,
        resource.RLIMIT_FSIZE: limits["fsize_mb"] * megabyte,
        resource.RLIMIT_NOFILE: 256,
        resource.RLIMIT_CORE: 1,  # 0 would still feed a core_pattern that is a pipe, on the host
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_STACK: _STACK_MB * megabyte,
    }
    if uid_holders is not None:
        wanted[resource.RLIMIT_NPROC] = limits["processes"] + uid_holders
    for name, bound in wanted.items():
        hard = resource.getrlimit(name)[1]
        bound = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(name, (bound, bound))
