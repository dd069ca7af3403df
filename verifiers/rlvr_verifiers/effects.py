"""What a verifier does outside its process while it scores: files written, sockets opened, programs started.

Python's audit hooks see it, in every thread of this process; what a C library does by itself they do not see. A hook cannot be
taken out again, so this is for processes that end after the check. Kernel interfaces (/proc, /sys, /dev) are not files here, and
neither is a Unix socket pair a network.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import sys
from collections.abc import Callable, Generator
from typing import Any, Literal

from rlvr_verifiers.arguments import clip

Kind = Literal["files", "network", "processes", "code"]
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_KERNEL = ("/proc/", "/sys/", "/dev/")
_FILES = frozenset(
    {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown"}
    | {"os.utime", "os.setxattr", "shutil.rmtree", "shutil.move", "shutil.copyfile", "tempfile.mkstemp", "tempfile.mkdtemp"}
)
_NETWORK = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "urllib.Request"})
_PROCESSES = frozenset(
    {"os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "subprocess.Popen", "os.kill"}
)


@dataclasses.dataclass(frozen=True, slots=True)
class Effect:
    kind: Kind
    """`code`: text that holds the watched-for mark was compiled as Python."""
    what: str


_watching: list[Callable[[Effect], None]] = []
_marks: list[str] = []
_installed = False


@contextlib.contextmanager
def watch(tell: Callable[[Effect], None], *, mark: str | None = None) -> Generator[None]:
    """Tells each effect as it happens. With `mark`, also when source text that contains it is compiled."""
    global _installed
    if not _installed:
        sys.addaudithook(_hook)
        _installed = True
    _watching.append(tell)
    _marks.extend([mark] if mark else [])
    try:
        yield
    finally:
        _watching.remove(tell)
        if mark:
            _marks.remove(mark)


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if not _watching:
        return
    effect = _effect(event, args)
    if effect is not None:
        listeners, _watching[:] = _watching[:], []  # what the listener does itself is not an effect
        try:
            for tell in listeners:
                tell(effect)
        finally:
            _watching[:] = listeners


def _effect(event: str, args: tuple[Any, ...]) -> Effect | None:
    if event == "open":
        return _opened(*args)
    if event in _FILES:
        return Effect("files", f"{event} {clip(repr(args[0]) if args else '', 120)}")
    if event in ("socket.connect", "socket.bind", "socket.sendto"):
        local = args[0].family == socket.AF_UNIX
        return None if local else Effect("network", f"{event} {clip(repr(args[1]), 120)}")
    if event in _NETWORK:
        return Effect("network", f"{event} {clip(repr(args[:2]), 120)}")
    if event in _PROCESSES:
        return Effect("processes", f"{event} {clip(repr(args[:2]), 120)}")
    if event == "compile" and _marks and isinstance(args[0], str | bytes):
        text = args[0] if isinstance(args[0], str) else args[0].decode("utf-8", "replace")
        if any(mark in text for mark in _marks):
            return Effect("code", f"compiled {clip(text, 120)!r}")
    return None


def _opened(path: Any, mode: Any, flags: Any) -> Effect | None:
    writing = any(letter in mode for letter in "wax+") if isinstance(mode, str) else bool(flags & _WRITING)
    if not writing or isinstance(path, int):
        return None
    name = os.fsdecode(path) if isinstance(path, bytes | str) else str(path)
    return None if name.startswith(_KERNEL) else Effect("files", f"opened {clip(name, 120)} for writing")
