"""The zygote inside bubblewrap, for machines whose policy lets `bwrap` make namespaces and nobody else.

bubblewrap makes the outer namespaces once: user (for an ordinary user), pid, network, ipc, uts and mount, with everything
read-only. The zygote narrows that to the box's file tree and makes a box for each program, as it does everywhere.
"""

from __future__ import annotations

import os
import shutil

from rlvr_sandbox.errors import SandboxError
from rlvr_sandbox.launch import Interpreter, Launched, start_local
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
    user = _WHOLE_PROC if root else ("--unshare-user", "--uid", str(BOX_UID), "--gid", str(BOX_UID))
    capabilities = ["--cap-drop", "ALL"]
    for name in (*_OF_ZYGOTE, *(_OF_ROOT if root else ())):
        capabilities += ["--cap-add", name]
    command = [program, *_NAMESPACES, *_TREE, *user, "--as-pid-1", "--new-session", *capabilities, "--"]
    return start_local(interpreter, making="namespaces" if root else "given", prefix=command, inside="bubblewrap")
