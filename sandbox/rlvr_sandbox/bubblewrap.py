"""The zygote inside bubblewrap, for machines whose policy lets `bwrap` make namespaces and nobody else.

bubblewrap makes the outer namespaces once: user (for an ordinary user), pid, network, ipc, uts and mount, with everything
read-only. The zygote narrows that to the box's file tree and makes a box for each program, as it does everywhere.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil

from rlvr_sandbox.errors import SandboxError
from rlvr_sandbox.launch import Interpreter, Launched, Making, start_local
from rlvr_sandbox.rootfs import BOX_UID

_NAMESPACES = ("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
# Run by root, bubblewrap covers parts of its /proc, and the kernel lets a user namespace mount one only where a whole one is seen.
_WHOLE_PROC = ("--bind", "/proc", "/mnt/proc")
# /mnt is where the zygote puts the tree of a box together. No --die-with-parent: that would be the thread that starts it.
_TREE = ("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/mnt", "--chdir", "/")
_OF_ZYGOTE = ("CAP_SYS_ADMIN", "CAP_SETPCAP")
_OF_ROOT = ("CAP_SETUID", "CAP_SETGID", "CAP_SETFCAP", "CAP_CHOWN", "CAP_DAC_OVERRIDE")
"""For the user namespace, into which the zygote maps root and the uid of its boxes. No box has any."""


def start_bwrap(interpreter: Interpreter) -> Launched:
    """Raises SandboxError where bubblewrap is not installed."""
    program = shutil.which("bwrap")
    if program is None:
        raise SandboxError("bubblewrap is not installed; Debian and Ubuntu: apt-get install bubblewrap")
    root = os.geteuid() == 0
    making: Making = "namespaces" if root else "given"
    user = _WHOLE_PROC if root else ("--unshare-user", "--uid", str(BOX_UID), "--gid", str(BOX_UID))
    capabilities = ["--cap-drop", "ALL"]
    for name in (*_OF_ZYGOTE, *(_OF_ROOT if root else ())):
        capabilities += ["--cap-add", name]
    reading, writing = os.pipe()
    command = [
        program,
        *_NAMESPACES,
        *_TREE,
        *user,
        "--as-pid-1",
        "--new-session",
        *capabilities,
        "--info-fd",
        str(writing),
        "--",
    ]
    with open(reading) as info:
        try:
            launched = start_local(interpreter, making=making, prefix=command, inside="bubblewrap", passing=(writing,))
        finally:
            os.close(writing)
        return _joined(launched, info.read())  # which ends when bubblewrap has started the zygote, or has died


def _joined(launched: Launched, info: str) -> Launched:
    """With the zygote in its control group before it has been told what to do; bubblewrap itself stays outside."""
    if launched.group is None or not info:
        return launched
    try:
        launched.group.add(json.loads(info)["child-pid"])
    except OSError:
        launched.group.close()
        return dataclasses.replace(launched, group=None)
    return launched
