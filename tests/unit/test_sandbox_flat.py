"""The parts of the sandbox without namespaces that can be tried without a box."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from rlvr_sandbox import flat, rootfs, seccomp_flat, watch
from rlvr_sandbox.rootfs import Tree

ALLOW, EPERM, PRETEND, ENOSYS, KILL = 0x7FFF0000, 0x00050001, 0x00050000, 0x00050026, 0x80000000
LIMITS = {"processes": 100, "memory_mb": 1 << 20, "files": 10, "disk_mb": 1}


def verdict(program: bytes, number: int, *arguments: int, audit: int = 0xC000003E) -> int:
    """What the kernel's machine for such programs would answer."""
    data = struct.pack("=IIQ6Q", number, audit, 0, *(*arguments, 0, 0, 0, 0, 0, 0)[:6])
    code = list(struct.iter_unpack("HBBI", program))
    place = register = 0
    while True:
        operation, yes, no, operand = code[place]
        place += 1
        match operation:
            case 0x20:
                (register,) = struct.unpack_from("=I", data, operand)
            case 0x54:
                register &= operand
            case 0x06:
                return operand
            case _:
                true = {0x15: register == operand, 0x25: register > operand, 0x45: bool(register & operand)}[operation]
                place += yes if true else no


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ((0,), ALLOW),
        ((112,), PRETEND),  # setsid
        ((90, 0, 0o777), PRETEND),  # chmod
        ((92,), EPERM),  # chown
        ((302, 0, 7), ALLOW),  # prlimit64 of the caller
        ((302, 4242, 7), EPERM),
        ((141, 0, 0, 5), ALLOW),  # setpriority of the caller
        ((141, 2, 0, 5), EPERM),  # of its user
        ((141, 0, 4242, 5), EPERM),
        ((53, 1, 1), ALLOW),  # a pair of streams
        ((53, 1, 1 | 0o2000000), ALLOW),  # closed on exec
        ((53, 1, 2), EPERM),  # of datagrams
        ((53, 1, 5), EPERM),
        ((16, 0, 0x40086602), EPERM),  # FS_IOC_SETFLAGS
        ((16, 0, 0x5401), ALLOW),
        ((471,), ENOSYS),
    ],
)
def test_the_filter_knows_what_belongs_to_others(call: tuple[int, ...], expected: int) -> None:
    assert verdict(seccomp_flat.build_filter("x86_64"), *call) == expected


def test_the_filter_has_both_processors_and_no_foreign_convention() -> None:
    arm = seccomp_flat.build_filter("aarch64")
    assert verdict(arm, 157, audit=0xC00000B7) == PRETEND
    assert verdict(arm, 157) == KILL
    with pytest.raises(ValueError, match="riscv64"):
        seccomp_flat.build_filter("riscv64")


def test_a_folder_is_cleared_however_deep_and_whatever_its_modes(tmp_path: Path) -> None:
    deep = tmp_path
    for number in range(300):
        deep = deep / str(number % 10)
        os.mkdir(deep)
        (deep / "file").touch()
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked" / "file").touch()
    (tmp_path / "locked").chmod(0)
    (tmp_path / "root").symlink_to("/")
    watch.clear(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_files_are_counted_by_number_and_by_size(tmp_path: Path) -> None:
    def over() -> str:
        return watch.excess(LIMITS, [str(tmp_path)], separate=False)[0]

    assert over() == ""
    (tmp_path / "big").write_bytes(os.urandom(2 << 20))
    assert over() == "disk"
    (tmp_path / "big").unlink()
    (tmp_path / "sub").mkdir()
    for number in range(10):
        (tmp_path / "sub" / str(number)).touch()
    assert over() == "disk"


def test_what_cannot_be_mounted_over_is_left_out(tmp_path: Path) -> None:
    library = tmp_path / "lib"
    for name in ("json", "site-packages"):
        (library / name).mkdir(parents=True)
    (library / "os.py").touch()
    tree = Tree(shown=(str(library), "/etc/ld.so.cache"), hidden=(str(library / "site-packages"),))
    readable, listed = rootfs.visible(tree)
    assert set(readable) == {str(library / "json"), str(library / "os.py"), os.path.realpath("/etc/ld.so.cache")}
    assert listed == (str(library),)


@pytest.mark.parametrize(
    ("abi", "root", "said"),
    [(0, True, "no Landlock"), (2, True, "could empty files"), (2, False, "could empty files"), (5, False, "could signal")],
)
def test_a_landlock_that_leaves_something_open_is_refused(abi: int, root: bool, said: str) -> None:
    with pytest.raises(OSError, match=said):
        flat.check_version(abi, root=root)


def test_a_landlock_that_is_enough_is_taken() -> None:
    flat.check_version(3, root=True)
    flat.check_version(6, root=False)
