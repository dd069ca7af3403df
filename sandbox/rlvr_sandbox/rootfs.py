"""The file tree that every box sees: the interpreter's library and the system's, read-only, and nothing else of this machine.

Made once, in the zygote's own mount namespace. A box adds a fresh /tmp and its own /proc on top.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from rlvr_sandbox import kernel


def _matching(folder: str, start: str) -> list[str]:
    """Shared libraries in it whose names start like this."""
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [os.path.join(folder, name) for name in names if name.startswith(start) and ".so" in name]


BOX_UID = 1000
WORK = "/tmp"  # noqa: S108 - of the box, never of the host
_MULTIARCH = str(getattr(sys.implementation, "_multiarch", "none"))
_LIBRARIES = (f"/usr/lib/{_MULTIARCH}", "/usr/lib/locale") if os.path.isdir(f"/usr/lib/{_MULTIARCH}") else ("/usr/lib",)
"""Debian and its kin keep shared libraries apart from whole applications, which are nobody's business."""
_LOADERS = tuple(_matching("/usr/lib", "ld-"))
"""What starts a program is named by its path, on aarch64 one that is in none of these folders."""
_SYSTEM = (
    "/lib",
    "/lib64",
    *_LIBRARIES,
    *_LOADERS,
    "/usr/lib64",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
    "/etc/localtime",
)
_KEPT = "/kept"
DEVICES = ("null", "zero", "full", "random", "urandom")
_MOUNT_POINTS = ("/mnt", "/srv", "/media", "/run", "/sys")  # the tree is put together on one of these, seen by nobody else


class Tree(NamedTuple):
    shown: tuple[str, ...]
    """Files and folders of the host that can be read in the box, under the same path."""
    hidden: tuple[str, ...]
    """Folders below those that are empty in the box."""


def interpreter_tree(*, site_packages: bool, extra: Iterable[str]) -> Tree:
    """What the running interpreter needs. Installed packages are hidden unless asked for: data sets among them hold answers."""
    executable = os.path.realpath(sys.executable)
    libraries = os.path.join(os.path.dirname(os.path.dirname(executable)), "lib")
    library = os.path.dirname(os.__file__)
    compiled = [os.path.dirname(folder) for folder in sys.path if os.path.basename(folder) == "lib-dynload"]
    shown = [executable, library, *compiled, *_matching(libraries, "libpython")]
    installed = [folder for folder in sys.path if os.path.basename(folder) in ("site-packages", "dist-packages")]
    hidden: list[str] = []
    if site_packages:
        shown += [folder for folder in installed if os.path.isdir(folder)]
    else:
        hidden = [f"{library}/site-packages", f"{library}/dist-packages", "/usr/lib/python3/dist-packages"]
    wanted = (*_SYSTEM, *shown, *map(os.path.normpath, extra))
    return Tree(tuple(path for path in wanted if os.path.lexists(path)), tuple(hidden))


def below_work(tree: Tree) -> dict[str, str]:
    """What a box's own /tmp would cover, an environment made there for example: path to the place where it is kept instead. The box
    links to it."""
    kept: dict[str, str] = {}
    for path in sorted(tree.shown, key=len):
        if path.startswith(f"{WORK}/") and _place(kept, path) == path:
            kept[path] = f"{_KEPT}/{len(kept)}"
    return kept


def _place(kept: Mapping[str, str], path: str) -> str:
    """Where a path of the tree is, before links."""
    above = next((old for old in kept if path == old or path.startswith(f"{old}/")), None)
    return path if above is None else kept[above] + path[len(above) :]


def visible(tree: Tree) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The tree where nothing can be mounted: what may be read, all the way down, and folders of which the names may be listed."""
    readable: list[str] = []
    listed: list[str] = []
    for path in tree.shown:
        if os.path.dirname(path) == "/" and os.path.islink(path):
            continue  # it leads to more than is shown
        real = os.path.realpath(path)
        hidden = {os.path.realpath(folder) for folder in tree.hidden}
        if any(folder.startswith(real + "/") for folder in hidden if os.path.isdir(folder)):
            listed.append(real)
            readable += [entry.path for entry in os.scandir(real) if entry.path not in hidden]
        else:
            readable.append(real)
    return tuple(dict.fromkeys(readable)), tuple(listed)


def enter(tree: Tree) -> bool:
    """Replaces this process's root by the tree; needs a mount namespace of its own. True where the tree has a /proc.

    Raises OSError where the kernel refuses a step; the process is then good for nothing but to exit.
    """
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    root = _mount_point(tree)
    kernel.mount("tmpfs", root, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755,size=1m,nr_inodes=1024")
    kept = below_work(tree)
    for path in sorted(tree.shown, key=len):
        _show(path, root + _place(kept, path))
    for path in tree.hidden:
        target = root + _place(kept, path)
        if os.path.isdir(target):
            kernel.mount("tmpfs", target, "tmpfs", kernel.MS_RDONLY, "mode=755,size=4k,nr_inodes=2")
    _devices(root)
    _files(root)
    proc = _proc(root)
    old = root + WORK
    kernel.pivot_root(root, old)
    os.chdir("/")
    kernel.detach(WORK)
    flags = kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("none", "/", None, flags)
    return proc


def _mount_point(tree: Tree) -> str:
    for folder in _MOUNT_POINTS:
        if os.path.isdir(folder) and not any(os.path.realpath(path).startswith(folder + "/") for path in tree.shown):
            return folder
    raise OSError(f"none of {', '.join(_MOUNT_POINTS)} is a folder that the box does not need")


def _show(path: str, target: str) -> None:
    if os.path.lexists(target):
        return  # below one that is shown already
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.dirname(path) == "/" and os.path.islink(path):  # /lib -> usr/lib
        os.symlink(os.readlink(path), target)
        return
    source = os.path.realpath(path)
    _bind(source, target)
    kernel.make_read_only(target)


def _bind(source: str, target: str) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        write(target)
    kernel.mount(source, target, None, kernel.MS_BIND | kernel.MS_REC)


def _devices(root: str) -> None:
    os.mkdir(f"{root}/dev")
    for name in DEVICES:
        _bind(f"/dev/{name}", f"{root}/dev/{name}")
    for name, number in (("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2"), ("fd", "")):
        os.symlink(f"/proc/self/fd{number}", f"{root}/dev/{name}")
    os.symlink(WORK, f"{root}/dev/shm")  # noqa: S108 - of the box


def _files(root: str) -> None:
    os.mkdir(root + WORK)
    os.makedirs(f"{root}/etc", exist_ok=True)
    write(f"{root}/etc/passwd", f"box:x:{BOX_UID}:{BOX_UID}::{WORK}:/bin/false\n")
    write(f"{root}/etc/group", f"box:x:{BOX_UID}:\n")


def write(path: str, text: str = "") -> None:
    with open(path, "w") as file:
        file.write(text)


def _proc(root: str) -> bool:
    """A full /proc has to be in sight before the kernel lets a box mount its own; some containers do not allow either."""
    os.mkdir(f"{root}/proc")
    with contextlib.suppress(OSError):
        kernel.mount("proc", f"{root}/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
        return True
    return False
