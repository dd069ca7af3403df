"""What a zygote does for the rest of its life: makes boxes, and says how they ended. See `zygote.py`."""

from __future__ import annotations

import _socket
import gc
import os
import struct
from typing import NoReturn

from rlvr_sandbox import confine, kernel, program
from rlvr_sandbox.line import CONTROL, DESCRIPTORS, ENDING, told
from rlvr_sandbox.notices import Notices

_ONE = struct.Struct("i")
_REQUEST_BYTES = 2048
_KEPT_ENTRANCES = 64
_ANCILLARY_BYTES = _socket.CMSG_SPACE(DESCRIPTORS.size)


def serve(channel: _socket.socket, own_namespace: int, confinement: confine.Confinement, listener: int) -> None:
    notices = Notices(listener, channel) if listener >= 0 else None
    entrances: dict[tuple[bytes, bytes], list[kernel.Call]] = {}
    fresh = _fresh_namespace(own_namespace)
    settle_down(channel)
    while True:
        if notices is not None:
            notices.answer_until_asked()
        key = data, passed = receive(channel)
        if not data:
            return
        if passed:
            descriptors = DESCRIPTORS.unpack(passed)
            calls = entrances.get(key)
            if calls is None:
                if len(entrances) == _KEPT_ENTRANCES:
                    entrances.clear()
                calls = entrances[key] = confine.entrance(confinement, told(data), descriptors)
            spawn(channel, fresh, calls, descriptors)
        else:
            channel.send(reap(int(data), notices.count if notices is not None else 0))
            if notices is not None:
                notices.count = 0


handlers_matter = False
"""Whether modules are loaded that want to be told of a fork, or may want to."""


def settle_down(channel: _socket.socket) -> None:
    """The last of what a zygote does for itself."""
    while os.dup(channel.fileno()) <= CONTROL:
        pass  # what a box has at 0 to 3 may not be below that here
    gc.collect()
    gc.freeze()


def receive(channel: _socket.socket) -> tuple[bytes, bytes]:
    """A request and the descriptors that came with it, as bytes; two times nothing where the controller has hung up."""
    data, ancillary, _, _ = channel.recvmsg(_REQUEST_BYTES, _ANCILLARY_BYTES)
    return data, ancillary[0][2] if ancillary else b""


def _fresh_namespace(own: int) -> list[kernel.Call]:
    """The next child is the first process of a pid namespace. Back to our own before, or the kernel would refuse another."""
    return [kernel.Call("setns", own, kernel.NEWPID), kernel.Call("unshare", kernel.NEWPID)]


def spawn(
    channel: _socket.socket, fresh: list[kernel.Call], calls: list[kernel.Call], descriptors: tuple[int, ...]
) -> int | None:
    """Forks a box and tells the controller; its pid. None where that cannot be done, which the controller is told, too."""
    pid = 0
    try:
        kernel.make(fresh)
        pid = os.fork() if handlers_matter else kernel.fork()
        if pid == 0:
            _become_box(calls)
        handle = os.pidfd_open(pid)
        try:
            channel.sendmsg([b"%d" % pid], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, _ONE.pack(handle))])
        finally:
            os.close(handle)
    except OSError as error:
        if pid:
            reap(pid, 0)
        channel.send(f"failed {error}".encode())
        return None
    else:
        return pid
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _become_box(calls: list[kernel.Call]) -> NoReturn:
    try:
        kernel.make(calls)
        program.serve()
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode("utf-8", "replace"))
    finally:
        os._exit(70)


def reap(pid: int, refused: int) -> bytes:
    """The controller has killed it or seen it end, unless it may not signal what is in a container."""
    try:  # noqa: SIM105 - cheaper here
        os.kill(pid, kernel.SIGKILL)
    except OSError:
        pass
    while True:
        found, status, cpu_s, resident = _wait()
        if found == pid:
            return ENDING.pack(status, cpu_s, resident / 1024, refused)


_wait = kernel.Wait()
