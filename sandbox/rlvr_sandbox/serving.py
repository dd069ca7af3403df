"""What a zygote does for the rest of its life: makes boxes, and says how they ended. See `zygote.py`."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
from typing import Any, NoReturn

from rlvr_sandbox import confine, kernel, program


def serve(channel: socket.socket, own_namespace: int, confinement: confine.Confinement) -> None:
    gc.collect()
    gc.freeze()
    while True:
        data, descriptors, _, _ = socket.recv_fds(channel, 1 << 16, 8)
        if not data:
            return
        request = json.loads(data)
        if "spawn" in request:
            _spawn(channel, own_namespace, confinement, request["spawn"], descriptors)
        else:
            channel.send(json.dumps(_reap(request["reap"])).encode())


def _spawn(
    channel: socket.socket,
    own_namespace: int,
    confinement: confine.Confinement,
    limits: dict[str, Any],
    descriptors: list[int],
) -> None:
    try:
        kernel.setns(own_namespace, kernel.NEWPID)  # or the next unshare would be refused
        kernel.unshare(kernel.NEWPID)
        pid = kernel.fork()
        if pid == 0:
            _become_box(confinement, limits, descriptors)
        handle = os.pidfd_open(pid)
    except OSError as error:
        channel.send(json.dumps({"failed": str(error)}).encode())
    else:
        socket.send_fds(channel, [json.dumps({"pid": pid}).encode()], [handle])
        os.close(handle)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _become_box(confinement: confine.Confinement, limits: dict[str, Any], descriptors: list[int]) -> NoReturn:
    try:
        confine.enter(confinement, limits, descriptors)
        program.serve(confine.CONTROL)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.write(2, f"{type(error).__name__}: {error}\n".encode("utf-8", "replace"))
    finally:
        os._exit(70)


def _reap(pid: int) -> dict[str, Any]:
    """The controller has killed it or seen it end, unless it may not signal what is in a container."""
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_memory_mb": usage.ru_maxrss / 1024,
    }
