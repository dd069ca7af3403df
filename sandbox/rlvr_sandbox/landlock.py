"""Landlock rules by which a box reads its own tree and writes its own folder only.

The second wall behind the mount namespace, and the first where there is none.

TCP and (where the kernel knows how) abstract sockets and signals to processes outside are refused as well.
"""

from __future__ import annotations

import contextlib
import os
import stat
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
    abi: int, *, readable: Sequence[str], writable: Sequence[str], devices: Sequence[str] = (), listed: Sequence[str] = ()
) -> None:
    """For this process and all it starts, for ever: files and folders to read, to do anything in, to read and write what is there,
    and to list.

    Needs no_new_privs. Raises OSError where one is missing.
    """
    handled = (1 << {1: 13, 2: 14}.get(abi, 15)) - 1
    attributes = struct.pack("Q", handled)
    if abi >= 4:
        attributes += struct.pack("Q", 0b11)  # bind and connect of TCP
    if abi >= 6:
        attributes += struct.pack("Q", 0b11)  # abstract sockets and signals
    ruleset = kernel.syscall(kernel.LANDLOCK_CREATE, attributes, len(attributes), 0, what="landlock_create_ruleset")
    try:
        reading, using = _EXECUTE | _READ_FILE | _READ_DIR, _READ_FILE | _WRITE_FILE | _TRUNCATE
        for paths, rights in ((readable, reading), (writable, handled), (devices, using), (listed, _READ_DIR)):
            for path in paths:
                _allow(ruleset, path, rights & handled)
        kernel.syscall(kernel.LANDLOCK_RESTRICT, ruleset, 0, what="landlock_restrict_self")
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
        rights &= _EXECUTE | _READ_FILE | _WRITE_FILE | _TRUNCATE  # the kernel takes no others for a file
    try:
        rule = struct.pack("=Qi", rights, descriptor)
        kernel.syscall(kernel.LANDLOCK_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0, what=f"landlock_add_rule {path}")
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)
