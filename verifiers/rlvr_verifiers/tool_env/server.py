"""Makes a process for each episode: it imports environments once and forks, so that a fresh one costs milliseconds.

Started as `python -m rlvr_verifiers.tool_env.server CONTROL_FD LIFELINE_FD PARENT_PID`, never forked from the trainer, which holds
torch and threads. It has one thread and runs no tool itself. A child leads a process group of its own; whoever asks for its end has
the group killed, and until then the child is not reaped, so that its number cannot be anybody else's. However the server ends, every
group ends with it: the kernel kills those that wait at the other end of a pipe which it alone holds.

Control (one packet each):  {"open": n, "environment": name, "path": sys.path} with the descriptor of the episode's channel, {"close": n}
Channel, frames in:         {"task": {...}, "memory_mb": n}, then {"name": ..., "arguments": ..., "output_chars": n} for each call
Channel, frames out:        {"forked": true} once the environment is imported, {"ready": true} once it is reset; for each call
                            {"content", "error", "seconds"}; at the end nothing. In place of any of them {"failed": text}
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from rlvr_verifiers.arguments import clip
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.tool_call import Call
from rlvr_verifiers.tool_env.instance import Instance
from rlvr_verifiers.tool_env.registry import resolve
from rlvr_verifiers.types import Task
from rlvr_verifiers.wire import FrameBuffer, pack
from rlvr_verifiers.worker import die_with_parent

PACKET = 65_536


def main(arguments: list[str]) -> None:
    descriptor, lifeline, parent = (int(argument) for argument in arguments)
    die_with_parent(lifeline, parent)
    control = socket.socket(fileno=descriptor)
    children: dict[int, int] = {}
    groups_lifeline = os.pipe()
    while True:
        packet, descriptors, *_ = socket.recv_fds(control, PACKET, 1)
        if not packet:
            break
        request = json.loads(packet)
        if "open" in request:
            sys.path[:] = request["path"]  # the parent's, so that both find the same modules
            with socket.socket(fileno=descriptors[0]) as channel:
                pid = _opened(request["environment"], channel, control, groups_lifeline)
                if pid is not None:
                    children[request["open"]] = pid
        elif (pid := children.pop(request["close"], None)) is not None:
            _end(pid)
    for pid in children.values():
        _end(pid)
    os._exit(0)


def _opened(environment: str, channel: socket.socket, control: socket.socket, lifeline: tuple[int, int]) -> int | None:
    """The child of a new episode; None where its environment cannot be had, which the channel is told."""
    try:
        resolve(environment)
    except VerifierError as error:
        channel.sendall(pack({"failed": str(error)}))
        return None
    gc.freeze()  # what stands now is shared by all children: their collectors need not touch it
    try:
        pid = os.fork()
    except OSError as error:
        channel.sendall(
            pack({"failed": f"no process can be made for an episode: {error}; too many rollouts at once for this machine"})
        )
        return None
    if pid:
        with contextlib.suppress(OSError):  # the child does the same; whoever comes second is too late
            os.setpgid(pid, pid)
        return pid
    status = 1
    try:
        os.setpgid(0, 0)
        control.close()
        reading, held = lifeline
        os.close(held)
        # Opened anew: the kernel keeps one group to be told for what all children inherit.
        die_with_parent(os.open(f"/proc/self/fd/{reading}", os.O_RDONLY), os.getppid())
        channel.sendall(pack({"forked": True}))
        _serve(channel)
        status = 0
    except (BrokenPipeError, ConnectionResetError):
        pass  # nobody is left to tell
    except BaseException:
        traceback.print_exc()  # `_exit` would not
    finally:
        os._exit(status)  # without waiting for threads that a tool may have left


def _end(pid: int) -> None:
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _serve(channel: socket.socket) -> None:
    frames = _frames(channel)
    hello = next(frames)
    if hello["memory_mb"] is not None:
        limit = int(hello["memory_mb"]) * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        instance = Instance(Task.from_json(hello["task"]))
    except VerifierError as error:
        channel.sendall(pack({"failed": str(error)}))
        return
    channel.sendall(pack({"ready": True}))
    for frame in frames:
        channel.sendall(_answer(instance, frame))
    try:
        instance.close()
    except VerifierError as error:
        channel.sendall(pack({"failed": str(error)}))


def _answer(instance: Instance, frame: dict[str, Any]) -> bytes:
    try:
        result = instance.run(Call(name=frame["name"], arguments=frame["arguments"]), frame["output_chars"])
    except VerifierError as error:
        return pack({"failed": clip(str(error), 500)})
    return pack({"content": result.content, "error": result.error, "seconds": result.seconds})


def _frames(channel: socket.socket) -> Iterator[dict[str, Any]]:
    buffer = FrameBuffer()
    while data := channel.recv(1 << 20):
        yield from buffer.feed(data)


if __name__ == "__main__":
    main(sys.argv[1:])
