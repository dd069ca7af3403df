"""The warm interpreter that boxes are forked from. It holds no task, no answer, no secret and no program.

Started by its controller as a fresh process with an empty environment. It imports what programs commonly import, moves into
namespaces of its own, and then answers two requests on a sequenced-packet socket: `spawn` (with four descriptors) makes a box
and returns its pidfd; `reap` waits for it and returns how it ended and what it used. Programs and values never pass through
here, since a later box is a copy of this memory.

It is PID 1 of its pid namespace: when it ends, for whatever reason, the kernel kills every box. It ends when the controller's
end of the socket closes.
"""

from __future__ import annotations

import _socket
import builtins
import importlib
import os
import sys

from rlvr_sandbox import program, serving, settle
from rlvr_sandbox.codec import encode
from rlvr_sandbox.line import told

PRELOAD = (
    "abc",
    "bisect",
    "collections",
    "collections.abc",
    "contextlib",
    "copy",
    "enum",
    "functools",
    "heapq",
    "io",
    "itertools",
    "math",
    "operator",
    "re",
    "string",
    "struct",
    "time",
    "types",
    "typing",
)
"""What programs commonly import. A box has to copy the tables of what is here, and pays with its memory's size when it is made and
when it ends, so what one program in a hundred imports is left to that program, and this package does without it, too."""

_FORK_HANDLERS = frozenset({"random", "threading"})
"""Modules of the standard library that want to be told of a fork; start-up files of installed packages may have imported them."""


def main(channel_descriptor: int) -> None:
    """Reads its settings from the channel, says `ready`, `unfit` or `failed`, and serves until the controller hangs up."""
    sys.path[:] = [folder for folder in sys.path if folder]
    for name in PRELOAD:
        importlib.import_module(name)
    channel = _socket.socket(fileno=channel_descriptor)
    settings = told(channel.recv(1 << 20))
    if unfit := _preload(settings["preload"]):
        channel.send(encode({"unfit": unfit}))
        return
    try:
        serving.handlers_matter = bool(settings["preload"]) or not _FORK_HANDLERS.isdisjoint(sys.modules)
        _furnish()
        program.rehearse()
        if settings["walls"] in ("landlock", "none"):
            from rlvr_sandbox import flat  # what is loaded here is copied for every box

            flat.serve(channel, settings)
            return
        confinement, own_namespace = settle.into_namespaces(settings)
        listener = settle.filter_calls()
    except (OSError, ImportError, ValueError) as error:
        channel.send(encode({"failed": f"{type(error).__name__}: {error}"}))
        return
    said = {
        "namespaces": True,
        "proc": confinement.proc,
        "landlock_abi": confinement.landlock_abi,
        "seccomp": True,
    }
    channel.send(encode({"ready": said, "python": sys.version.split()[0]}))
    serving.serve(channel, own_namespace, confinement, listener)


def _preload(names: list[str]) -> str:
    """Why this interpreter cannot be used with what is asked for, or nothing."""
    if _has_threads():
        return f"{sys.executable} has threads as soon as it is started, and no box would have them; see the start-up files of its packages"
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # a package may be broken in any way
            why = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            return f"`preload` names {name}, which {sys.executable} cannot import ({why}); leave it out, or choose an interpreter with it"
        if _has_threads():
            return (
                f"`preload` names {name}, which starts threads when it is imported, and no box would have them; leave it out"
            )
    return ""


def _has_threads() -> bool:
    return len(os.listdir("/proc/self/task")) > 1


def _furnish() -> None:
    """What a program finds in its interpreter and its environment."""
    if not hasattr(builtins, "exit"):  # started without `site`; programs do call exit()
        import site

        site.setquit()
        site.setcopyright()
        site.sethelper()
    for name in ("PWD", "HOSTNAME"):  # what bubblewrap and engines add
        os.environ.pop(name, None)
    del os.environ["LD_BIND_NOW"]  # spares each box the look-ups of a C library that it would have to copy
    sys.dont_write_bytecode = True
    sys.executable = os.path.realpath(sys.executable)
    sys.argv = ["main.py"]
