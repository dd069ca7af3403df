"""The few Linux calls that Python has no name for, each raising OSError. Numbers for x86-64 and aarch64."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import struct
from collections.abc import Iterable
from typing import Any, cast

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 24, 38
PR_SET_CHILD_SUBREAPER, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 36, 47, 4
AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
SIGKILL = 9
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4
_SECCOMP_MODE_FILTER = 2
_SET_MODE_FILTER, _NEW_LISTENER = 1, 8
_CAPABILITY_VERSION_3 = 0x20080522

MACHINE = os.uname().machine
_OF_PROCESSOR = {
    "x86_64": {
        "capset": 126, "pivot_root": 155, "setsid": 112, "unshare": 272, "mount": 165, "chdir": 80, "setgroups": 116,
        "setresgid": 119, "setresuid": 117, "prctl": 157, "prlimit64": 302, "setns": 308, "openat": 257, "close": 3, "dup3": 292,
        "write": 1, "wait4": 61, "seccomp": 317, "ioctl": 16, "mkdirat": 258, "symlinkat": 266,
    },
    "aarch64": {
        "capset": 91, "pivot_root": 41, "setsid": 157, "unshare": 97, "mount": 40, "chdir": 49, "setgroups": 159,
        "setresgid": 149, "setresuid": 147, "prctl": 167, "prlimit64": 261, "setns": 268, "openat": 56, "close": 57, "dup3": 24,
        "write": 64, "wait4": 260, "seccomp": 277, "ioctl": 29, "mkdirat": 34, "symlinkat": 36,
    },
}.get(MACHINE, {})  # fmt: skip
_NUMBERS = _OF_PROCESSOR | {
    "close_range": 436,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
}
_MOUNT_SETATTR = 442
LANDLOCK_CREATE = _NUMBERS["landlock_create_ruleset"]

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_raw = _libc.syscall
_holding = ctypes.PyDLL(None)  # keeps the interpreter's lock, which a child of a fork needs to have


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def syscall(number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None, what: str = "syscall") -> int:
    """Integers are passed as 64-bit words."""
    words = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *words), what)


class Call:
    """A system call made ready before a fork, so that the child can make it without touching memory that it would have to copy.

    result: what it has to return, if that matters. keep: what an argument points to, in its turn.

    Texts and bytes are kept for as long as the call.
    """

    __slots__ = ("_also_kept", "_kept", "name", "result", "run")

    def __init__(self, name: str, *arguments: int | str | bytes, result: int | None = None, keep: object = None) -> None:
        self.name = name
        self.result = result
        self._also_kept = keep
        self._kept = [
            None if isinstance(word, int) else ctypes.create_string_buffer(os.fsencode(word)) for word in arguments
        ]
        words = [
            word if isinstance(word, int) else ctypes.addressof(cast("ctypes.Array[ctypes.c_char]", kept))
            for word, kept in zip(arguments, self._kept, strict=True)
        ]
        made = (ctypes.c_long.from_param(cast(Any, word)) for word in (_NUMBERS[name], *words))
        self.run = functools.partial(_raw, *made)

    def __call__(self) -> None:
        """Raises OSError."""
        make([self])


def make(calls: Iterable[Call]) -> None:
    """Raises OSError at the first that fails."""
    for call in calls:
        result = call.run()
        if result < 0:
            _checked(result, call.name)
        if call.result is not None and result != call.result:
            raise OSError(errno.EBADF, f"{call.name}: {result}, where {call.result} was expected")


class Wait:
    """wait4 for any child, without what `os.wait4` imports and builds each time."""

    def __init__(self) -> None:
        self._answer = ctypes.create_string_buffer(4)
        self._usage = ctypes.create_string_buffer(144)
        words = (_NUMBERS["wait4"], -1, ctypes.addressof(self._answer), 0, ctypes.addressof(self._usage))
        self._words = tuple(ctypes.c_long.from_param(cast(Any, word)) for word in words)

    def __call__(self) -> tuple[int, int, float, int]:
        """Its pid, exit status or minus the signal, seconds of CPU time, and kilobytes of its largest resident set."""
        pid = _checked(_raw(*self._words), "wait4")
        user_s, user_us, system_s, system_us, resident = _USAGE.unpack_from(self._usage)
        status = os.waitstatus_to_exitcode(_STATUS.unpack(self._answer)[0])
        return pid, status, user_s + system_s + (user_us + system_us) / 1e6, resident


_USAGE, _STATUS = struct.Struct("=qqqqq"), struct.Struct("i")


def unshare(flags: int) -> None:
    _checked(_libc.unshare(ctypes.c_int(flags)), "unshare")


def fork() -> int:
    """As `os.fork`, without Python's own handlers, which cost a third of a box: for a process with one thread, and none of whose
    modules wants to know."""
    return _checked(_holding.fork(), "fork")


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, options)]
    result = _libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3])
    if result < 0:
        _checked(result, f"mount {kind or source} on {target}")


def detach(target: str) -> None:
    _checked(_libc.umount2(os.fsencode(target), ctypes.c_int(MNT_DETACH)), f"umount {target}")


def make_read_only(target: str, *, devices: bool = False) -> None:
    """The mount and all below it, whatever flags they have."""
    attributes = struct.pack("QQQQ", _ATTR_RDONLY | _ATTR_NOSUID | (0 if devices else _ATTR_NODEV), 0, 0, 0)
    what = f"mount_setattr {target}"
    syscall(_MOUNT_SETATTR, AT_FDCWD, os.fsencode(target), _AT_RECURSIVE, attributes, len(attributes), what=what)


def pivot_root(new: str, old: str) -> None:
    syscall(_NUMBERS["pivot_root"], os.fsencode(new), os.fsencode(old), what="pivot_root")


def prctl(option: int, *arguments: int) -> None:
    words = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    _checked(_libc.prctl(ctypes.c_int(option), *words), f"prctl {option}")


def drop_bounding_set() -> None:
    """No capability can be gained by exec any more. Needs CAP_SETPCAP."""
    with open("/proc/sys/kernel/cap_last_cap") as file:
        last = int(file.read())
    for capability in range(last + 1):
        prctl(PR_CAPBSET_DROP, capability)


def drop_ambient() -> None:
    """What is executed from now on inherits no capability."""
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)


def drop_capabilities() -> Call:
    """Effective, permitted and inheritable."""
    return Call("capset", struct.pack("Ii", _CAPABILITY_VERSION_3, 0), bytes(24))


def install_seccomp(program: bytes) -> Call:
    """`program`: an array of struct sock_filter. For the thread that makes the call and all it starts, for ever."""
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    return Call("prctl", PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header, 0, 0, keep=buffer)


def listen_seccomp(program: bytes) -> int:
    """As `install_seccomp`, for a program that asks: the descriptor that is told. Raises OSError where somebody listens already."""
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    return syscall(_NUMBERS["seccomp"], _SET_MODE_FILTER, _NEW_LISTENER, header, what="seccomp")


def number(name: str) -> int:
    return _NUMBERS[name]
