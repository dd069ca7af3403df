"""The system calls that a box may not make, as a BPF program written by hand.

The filter is installed once, in the zygote, and every box inherits it: making it anew would be a fifth of a box's cost. The zygote
still has to mount, to join and to leave namespaces (never to make a user namespace), so those three calls pass the filter; in a
box, which has no capability and no way to one, the kernel refuses them.

Refused with EPERM and not by killing, because honest programs try things: what reaches other processes, namespaces, mounts,
sockets, kernel objects that outlive the box or are not counted by its limits. clone3 is ENOSYS, so that the C library falls
back to clone, whose flags a filter can read. Calls newer than this table and foreign calling conventions (x32, 32-bit) do
not exist.
"""

from __future__ import annotations

import errno
import struct

# name: (x86-64, aarch64); None where the processor has no such call.
DENIED: dict[str, tuple[int | None, int | None]] = {
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # namespaces, mounts, files by handle
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "statmount": (457, 457),
    "listmount": (458, 458),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "nfsservctl": (180, 42),
    "acct": (163, 89),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "lookup_dcookie": (212, 18),
    "uselib": (134, None),
    # sockets; socketpair stays, asyncio lives on it
    "socket": (41, 198),
    "bind": (49, 200),
    "listen": (50, 201),
    "connect": (42, 203),
    "accept": (43, 202),
    "accept4": (288, 242),
    # kernel machinery with a history of holes
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "personality": (135, 92),
    "modify_ldt": (154, None),
    "iopl": (172, None),
    "ioperm": (173, None),
    "vhangup": (153, 58),
    # memory that no limit of the box counts
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    # the machine
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "syslog": (103, 116),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
}
NEWEST = 470
"""Last number that was looked at for this table, on both processors."""

# column of the table, audit code, clone, unshare, ioctl
_ARCHITECTURES = {"x86_64": (0, 0xC000003E, 56, 272, 16), "aarch64": (1, 0xC00000B7, 220, 97, 29)}
_CLONE3 = 435
_NAMESPACE_FLAGS = 0x7E020000
_USER_NAMESPACE = 0x10000000
_TERMINAL_TRICKS = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX: typing into somebody's terminal

LOAD, AND, JUMP_EQ, JUMP_GT, JUMP_SET, RETURN = 0x20, 0x54, 0x15, 0x25, 0x45, 0x06
Instruction = tuple[int, int | str, int | str, int]
"""Operation, where to go if so and if not (a distance or a label), operand."""
_ALLOW, _KILL, _ERRNO, _ASK = 0x7FFF0000, 0x80000000, 0x00050000, 0x7FC00000
NR, ARCH, ARG0, ARG1 = 0, 4, 16, 24  # offsets in struct seccomp_data; the low words of the arguments


def build_filter(machine: str, *, asking: bool = False) -> bytes:
    """The program for this processor, as an array of struct sock_filter. Raises ValueError on an unknown one.

    asking: a listener says no to what is denied, and can count it.
    """
    if machine not in _ARCHITECTURES:
        raise ValueError(f"no table of system calls for {machine}; known: {', '.join(_ARCHITECTURES)}")
    column, audit, clone, unshare, ioctl = _ARCHITECTURES[machine]
    denied = sorted(number for numbers in DENIED.values() if (number := numbers[column]) is not None)
    code: list[Instruction] = [
        (LOAD, 0, 0, ARCH),
        (JUMP_EQ, 0, "kill", audit),
        (LOAD, 0, 0, NR),
        (JUMP_GT, "absent", 0, NEWEST),
        (JUMP_EQ, "absent", 0, _CLONE3),
        (JUMP_EQ, "clone", 0, clone),
        (JUMP_EQ, "unshare", 0, unshare),
        (JUMP_EQ, "ioctl", 0, ioctl),
        *((JUMP_EQ, "denied", 0, number) for number in denied),
        (RETURN, 0, 0, _ALLOW),
    ]
    labels = {"clone": len(code)}
    code += [(LOAD, 0, 0, ARG0), (JUMP_SET, "denied", "allow", _NAMESPACE_FLAGS)]
    labels["unshare"] = len(code)
    code += [(LOAD, 0, 0, ARG0), (JUMP_SET, "denied", "allow", _USER_NAMESPACE)]
    labels["ioctl"] = len(code)
    code += [(LOAD, 0, 0, ARG1), *((JUMP_EQ, "denied", 0, trick) for trick in _TERMINAL_TRICKS)]
    return assemble(code, labels, denial=_ASK if asking else _ERRNO | errno.EPERM)


def assemble(code: list[Instruction], labels: dict[str, int], *, denial: int = _ERRNO | errno.EPERM) -> bytes:
    """Puts the verdicts at the end and distances in place of names. `labels`: places in the code, which is changed."""
    for name, verdict in (
        ("allow", _ALLOW),
        ("denied", denial),
        ("pretended", _ERRNO | 0),
        ("absent", _ERRNO | errno.ENOSYS),
        ("kill", _KILL),
    ):
        labels[name] = len(code)
        code.append((RETURN, 0, 0, verdict))

    def distance(target: int | str, place: int) -> int:
        return labels[target] - place - 1 if isinstance(target, str) else target

    return b"".join(
        struct.pack("HBBI", operation, distance(yes, place), distance(no, place), operand)
        for place, (operation, yes, no, operand) in enumerate(code)
    )
