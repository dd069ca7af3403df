"""System calls that only a box without namespaces may not make, as a second BPF program on top of that of `seccomp`.

A box with namespaces has a process table, a mount tree and IPC objects of its own. One without could still reach what belongs to
its user: the modes and times of files, which Landlock does not guard, limits and priorities of processes, IPC objects, sockets
with a name. Some calls are answered with success and not carried out, since honest programs make them in passing and check for
errors: moving to another session or process group, which would part a process from the signal that ends the box, and changes of
modes and times.
"""

from __future__ import annotations

from rlvr_sandbox.seccomp import AND, ARCH, ARG0, ARG1, JUMP_EQ, JUMP_GT, LOAD, NEWEST, NR, Instruction, assemble

# name: (x86-64, aarch64); None where the processor has no such call.
PRETENDED: dict[str, tuple[int | None, int | None]] = {
    "setsid": (112, 157),
    "setpgid": (109, 154),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
}
DENIED: dict[str, tuple[int | None, int | None]] = {
    # files of others
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
    "inotify_add_watch": (254, 27),
    # processes of others
    "sched_setattr": (314, 274),
    "ioprio_set": (251, 30),
    # objects of others
    "shmctl": (31, 195),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "semop": (65, 193),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "mq_unlink": (241, 181),
    # namespaces, which nothing of ours has to make here
    "mount": (165, 40),
    "unshare": (272, 97),
    "setns": (308, 268),
}
OWN_ONLY: dict[str, tuple[int, int]] = {
    "prlimit64": (302, 261),
    "sched_setaffinity": (203, 122),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
}
"""Allowed where the first argument, a process, is 0: the caller itself."""

# column, audit code; setpriority, socketpair, ioctl
_ARCHITECTURES = {"x86_64": (0, 0xC000003E, 141, 53, 16), "aarch64": (1, 0xC00000B7, 140, 199, 29)}
_TYPE_OF_SOCKET, _STREAM = 0xF, 1
_FILE_FLAGS = (0x40086602, 0x401C5820)  # FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR: on any file that can be read


def build_filter(machine: str) -> bytes:
    """The program for this processor, as an array of struct sock_filter. Raises ValueError on an unknown one."""
    if machine not in _ARCHITECTURES:
        raise ValueError(f"no table of system calls for {machine}; known: {', '.join(_ARCHITECTURES)}")
    column, audit, setpriority, socketpair, ioctl = _ARCHITECTURES[machine]

    def numbers(table: dict[str, tuple[int | None, int | None]]) -> list[int]:
        return sorted(number for pair in table.values() if (number := pair[column]) is not None)

    code: list[Instruction] = [
        (LOAD, 0, 0, ARCH),
        (JUMP_EQ, 0, "kill", audit),
        (LOAD, 0, 0, NR),
        (JUMP_GT, "absent", 0, NEWEST),
        (JUMP_EQ, "setpriority", 0, setpriority),
        (JUMP_EQ, "socketpair", 0, socketpair),
        (JUMP_EQ, "ioctl", 0, ioctl),
        *((JUMP_EQ, "own", 0, pair[column]) for pair in OWN_ONLY.values()),
        *((JUMP_EQ, "denied", 0, number) for number in numbers(DENIED)),
        *((JUMP_EQ, "pretended", 0, number) for number in numbers(PRETENDED)),
        (JUMP_EQ, "allow", "allow", 0),
    ]
    labels = {"setpriority": len(code)}  # which: a process; and who: itself
    code += [(LOAD, 0, 0, ARG0), (JUMP_EQ, 0, "denied", 0), (LOAD, 0, 0, ARG1), (JUMP_EQ, "allow", "denied", 0)]
    labels["own"] = len(code)
    code += [(LOAD, 0, 0, ARG0), (JUMP_EQ, "allow", "denied", 0)]
    labels["socketpair"] = len(code)  # of another type they could send to sockets with a name
    code += [(LOAD, 0, 0, ARG1), (AND, 0, 0, _TYPE_OF_SOCKET), (JUMP_EQ, "allow", "denied", _STREAM)]
    labels["ioctl"] = len(code)
    code += [(LOAD, 0, 0, ARG1), *((JUMP_EQ, "denied", 0, request) for request in _FILE_FLAGS)]
    return assemble(code, labels)
