"""How a zygote goes into namespaces of its own, before its first box. See `zygote.py`."""

from __future__ import annotations

import _socket
import contextlib
import os
from typing import Any

from rlvr_sandbox import confine, kernel, landlock, rootfs, seccomp


def into_namespaces(settings: dict[str, Any]) -> tuple[confine.Confinement, int]:
    """Returns in their PID 1, with a descriptor of its pid namespace. Raises OSError where refused."""
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    with contextlib.suppress(OSError):  # when the machine runs out of memory, boxes and what makes them go first
        rootfs.write("/proc/self/oom_score_adj", "1000")
    abi = landlock.version()
    host_uid: int = settings["host_uid"]
    tree = rootfs.interpreter_tree(site_packages=settings["site_packages"], extra=settings["read_only"])
    privileged = os.geteuid() == 0
    if settings["walls"] == "given":
        kernel.drop_ambient()
    elif privileged:
        _map_from_outside(host_uid)
    else:
        _map_self()
    with contextlib.suppress(OSError):  # the filter refuses user namespaces, too
        rootfs.write("/proc/sys/user/max_user_namespaces", "0")
    kernel.drop_bounding_set()
    kernel.unshare(kernel.NEWNS | kernel.NEWIPC | kernel.NEWUTS | kernel.NEWNET | kernel.NEWPID)
    _become_init()
    own_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    _socket.sethostname("box")
    proc = rootfs.enter(tree)
    confinement = confine.Confinement(
        proc=proc,
        switch_uid=rootfs.BOX_UID if privileged else None,
        uid_holders=0 if privileged else 2,
        landlock_abi=abi,
        hard_limits=confine.lasting_rlimits(),
        links=rootfs.below_work(tree),
    )
    return confinement, own_namespace


def filter_calls() -> int:
    """The descriptor that is told of calls that boxes were refused; -1 where somebody around us listens already."""
    try:
        return kernel.listen_seccomp(seccomp.build_filter(kernel.MACHINE, asking=True))
    except OSError:
        kernel.install_seccomp(seccomp.build_filter(kernel.MACHINE))()
        return -1


def _map_self() -> None:
    """An ordinary user may map one id, its own."""
    uid, gid = os.geteuid(), os.getegid()
    kernel.unshare(kernel.NEWUSER)
    rootfs.write("/proc/self/setgroups", "deny")
    rootfs.write("/proc/self/uid_map", f"{rootfs.BOX_UID} {uid} 1")
    rootfs.write("/proc/self/gid_map", f"{rootfs.BOX_UID} {gid} 1")


def _map_from_outside(host_uid: int) -> None:
    """Root maps itself, to read its files, and a host uid that nothing else has, for the boxes: a process that is still
    outside has to write that."""
    reading, writing = os.pipe()
    parent = os.getpid()
    helper = os.fork()
    if helper == 0:
        status = 1
        with contextlib.suppress(OSError):
            os.close(writing)
            os.read(reading, 1)
            for kind in ("uid_map", "gid_map"):
                rootfs.write(f"/proc/{parent}/{kind}", f"0 0 1\n{rootfs.BOX_UID} {host_uid} 1\n")
            status = 0
        os._exit(status)
    os.close(reading)
    try:
        kernel.unshare(kernel.NEWUSER)
    finally:
        os.close(writing)
        status = os.waitpid(helper, 0)[1]
    if status:
        raise OSError("the uid map of a user namespace cannot be written")


def _become_init() -> None:
    """The caller's process stays outside and only passes the exit status on."""
    pid = os.fork()
    if pid:
        for descriptor in range(3, 64):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        status = os.waitpid(pid, 0)[1]
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, kernel.SIGKILL)
