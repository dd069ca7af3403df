"""The warm interpreter that boxes are forked from. It holds no task, no answer, no secret and no program.

Started by its controller as a fresh process with an empty environment. It imports what programs commonly import, moves into
namespaces of its own, and then answers two requests on a sequenced-packet socket: `spawn` (with four descriptors) makes a box
and returns its pidfd; `reap` waits for it and returns how it ended and what it used. Programs and values never pass through
here, since a later box is a copy of this memory.

It is PID 1 of its pid namespace: when it ends, for whatever reason, the kernel kills every box. It ends when the controller's
end of the socket closes.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import json
import os
import signal
import socket
import sys
from typing import Any

from rlvr_sandbox import confine, kernel, landlock, program, rootfs, seccomp, serving

PRELOAD = (
    "abc",
    "array",
    "ast",
    "bisect",
    "collections",
    "collections.abc",
    "contextlib",
    "copy",
    "dataclasses",
    "datetime",
    "enum",
    "functools",
    "heapq",
    "inspect",
    "io",
    "itertools",
    "json",
    "linecache",
    "math",
    "operator",
    "random",
    "re",
    "string",
    "struct",
    "textwrap",
    "threading",
    "time",
    "traceback",
    "types",
    "typing",
)
"""What programs commonly import. A box has to copy the tables of what is here, so rare modules are left to those that want them."""


def main(channel_descriptor: int) -> None:
    """Reads its settings from the channel, says `ready` or `failed`, and serves until the controller hangs up."""
    channel = socket.socket(fileno=channel_descriptor)
    settings = json.loads(channel.recv(1 << 20))
    try:
        _warm(settings)
        if settings["walls"] in ("landlock", "none"):
            from rlvr_sandbox import flat  # what is loaded here is copied for every box

            flat.serve(channel, settings)
            return
        confinement, own_namespace = _settle(settings)
        listener = _filter_calls()
    except (OSError, ImportError, ValueError) as error:
        channel.send(json.dumps({"failed": f"{type(error).__name__}: {error}"}).encode())
        return
    said = {
        "namespaces": True,
        "proc": confinement.proc,
        "landlock_abi": confinement.landlock_abi,
        "seccomp": True,
    }
    channel.send(json.dumps({"ready": said, "python": sys.version.split()[0]}).encode())
    serving.serve(channel, own_namespace, confinement, listener)


def _warm(settings: dict[str, Any]) -> None:
    sys.path[:] = [folder for folder in sys.path if folder]
    sys.dont_write_bytecode = True
    for name in (*PRELOAD, *settings["preload"]):
        importlib.import_module(name)
    if not hasattr(builtins, "exit"):  # started without `site`; programs do call exit()
        import site

        site.setquit()
        site.setcopyright()
        site.sethelper()
    serving.handlers_matter = bool(settings["preload"])
    program.rehearse()
    for name in ("PWD", "HOSTNAME"):  # what bubblewrap and engines add
        os.environ.pop(name, None)
    del os.environ["LD_BIND_NOW"]  # spares each box the look-ups of a C library that it would have to copy
    sys.executable = os.path.realpath(sys.executable)
    sys.argv = ["main.py"]


def _settle(settings: dict[str, Any]) -> tuple[confine.Confinement, int]:
    """Into the namespaces; returns in their PID 1, with a descriptor of its pid namespace. Raises OSError where refused."""
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    with contextlib.suppress(OSError):  # when the machine runs out of memory, boxes and what makes them go first
        _write("/proc/self/oom_score_adj", "1000")
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
        _write("/proc/sys/user/max_user_namespaces", "0")
    kernel.drop_bounding_set()
    kernel.unshare(kernel.NEWNS | kernel.NEWIPC | kernel.NEWUTS | kernel.NEWNET | kernel.NEWPID)
    _become_init()
    own_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    socket.sethostname("box")
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


def _filter_calls() -> int:
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
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{rootfs.BOX_UID} {uid} 1")
    _write("/proc/self/gid_map", f"{rootfs.BOX_UID} {gid} 1")


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
                _write(f"/proc/{parent}/{kind}", f"0 0 1\n{rootfs.BOX_UID} {host_uid} 1\n")
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


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _become_init() -> None:
    """The caller's process stays outside and only passes the exit status on."""
    pid = os.fork()
    if pid:
        for descriptor in range(3, 64):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        status = os.waitpid(pid, 0)[1]
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
