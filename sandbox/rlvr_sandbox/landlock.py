"""Landlock rules by which a box reads its own tree and writes its own folder only.

The second wall behind the mount namespace, and the first where there is none.

TCP and (where the kernel knows how) abstract sockets and signals to processes outside are refused as well.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence

from rlvr_sandbox import kernel

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
_RULE_PATH_BENEATH = 1
_VERSION_FLAG = 1


def version() -> int:
    """The kernel's Landlock ABI; 0 where there is none."""
    try:
        return kernel.syscall(kernel.LANDLOCK_CREATE, 0, 0, _VERSION_FLAG, what="landlock")
    except OSError:
        return 0


def restrict(
    abi: int,
    *,
    readable: Sequence[str],
    writable: Sequence[str],
    devices: Sequence[str] = (),
    listed: Sequence[str] = (),
    free: int,
) -> list[kernel.Call]:
    """For the process that makes these calls and all it starts, for ever: files and folders to read, to do anything in, to read and
    write what is there, and to list. It needs no_new_privs, and `free` and the descriptor after that have to be its lowest free
    ones."""
    handled = (1 << {1: 13, 2: 14}.get(abi, 15)) - 1
    attributes = struct.pack("Q", handled)
    if abi >= 4:
        attributes += struct.pack("Q", 0b11)  # bind and connect of TCP
    if abi >= 6:
        attributes += struct.pack("Q", 0b11)  # abstract sockets and signals
    calls = [kernel.Call("landlock_create_ruleset", attributes, len(attributes), 0, result=free)]
    reading, using = _EXECUTE | _READ_FILE | _READ_DIR, _READ_FILE | _WRITE_FILE | _TRUNCATE
    of_files = _EXECUTE | using
    for paths, rights in ((readable, reading), (writable, handled), (devices, using), (listed, _READ_DIR)):
        for path in paths:
            taken = rights & handled if os.path.isdir(path) else rights & handled & of_files  # as the kernel insists
            rule = struct.pack("=Qi", taken, free + 1)
            calls += [
                kernel.Call("openat", kernel.AT_FDCWD, path, os.O_PATH | os.O_CLOEXEC, 0, result=free + 1),
                kernel.Call("landlock_add_rule", free, _RULE_PATH_BENEATH, rule, 0),
                kernel.Call("close", free + 1),
            ]
    return [*calls, kernel.Call("landlock_restrict_self", free, 0), kernel.Call("close", free)]
