"""A verifier process: reads jobs from its channel, says when it starts one, answers with the score. Run by `pool.py`.

Started as `python -m rlvr_verifiers.worker CHANNEL_FD LIFELINE_FD PARENT_PID`, never forked: the parent holds torch and
threads. The channel is a socket of its own, so whatever a verifier prints goes to the log and cannot disturb the protocol.

Frames in:  {"hello": {...}} once, then {"job": n, "task": {...}, "completions": [{...}, ...]}; several are one group
Frames out: {"ready": pid} or {"failed": text}; for each job {"job": n, "loading": name} (only where something must be
imported), {"job": n, "started": clock} (with deadline_s where the verifier asks for more time, own_deadline_s where it keeps its
own), {"job": n, "scores": [{...}, ...]}
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import faulthandler
import fcntl
import os
import resource
import signal
import sys
import time
from collections import deque
from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.protocol import LoadedVerifier
from rlvr_verifiers.registry import required_verifiers, resolve
from rlvr_verifiers.scoring import failure, run_batch, run_verifier
from rlvr_verifiers.types import Completion, Score, Task
from rlvr_verifiers.wire import FrameBuffer, pack

if TYPE_CHECKING:
    import asyncio

OUT_OF_MEMORY = 77
"""Exit status of a worker whose verifier ran into the memory limit."""
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    channel, lifeline, parent = (int(argument) for argument in arguments)
    die_with_parent(lifeline, parent)
    _settle(channel, lifeline)
    status = 0
    try:
        _Worker(channel).serve()
    except MemoryError:
        status = OUT_OF_MEMORY
    except (BrokenPipeError, ConnectionResetError):
        pass  # the pool is gone: nobody is left to tell
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(status)  # without waiting for threads a verifier may have left


def die_with_parent(lifeline: int | None, parent: int) -> None:
    """However the parent dies, this process and everything it started in its group dies too, even in the middle of C code.

    The parent holds the other end of the lifeline and never writes to it; when that end closes the kernel signals the group.
    The parent-death signal is the second rope, for the case that a fork of the parent still holds the lifeline.
    """
    if lifeline is not None and os.getpgrp() == os.getpid():
        with contextlib.suppress(OSError):  # a kernel without F_SETSIG: the second rope holds
            fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
            fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
            fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the ropes were tied
        os._exit(1)


def _settle(channel: int, lifeline: int) -> None:
    for descriptor in (channel, lifeline):
        os.set_inheritable(descriptor, False)  # programs that a verifier starts have no business with them
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # when memory runs out the kernel should take a verifier, not the trainer
        Path("/proc/self/oom_score_adj").write_text("1000")


class _Worker:
    def __init__(self, channel: int) -> None:
        self._channel = channel
        self._frames: deque[dict[str, Any]] = deque()
        self._buffer = FrameBuffer()
        self._unsent = bytearray()
        self._runner: asyncio.Runner | None = None
        self._known: set[str] = set()

    def serve(self) -> None:
        hello = self._next()
        if hello is None:
            return
        self._greet(hello["hello"])
        while (frame := self._next()) is not None:
            self._judge(frame)
            if not self._frames:
                self._flush()

    def _greet(self, hello: dict[str, Any]) -> None:
        sys.path[:] = hello["path"]  # the parent's, so that both find the same modules
        if hello["memory_mb"] is not None:
            limit = int(hello["memory_mb"]) * 2**20
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        try:
            for name in hello["verifiers"]:
                _prepared(resolve(name))
        except VerifierError as error:
            self._say({"failed": str(error)})
        else:
            self._say({"ready": os.getpid()})
        self._flush()

    def _judge(self, frame: dict[str, Any]) -> None:
        job = frame["job"]
        task = Task.from_json(frame["task"])
        completions = [Completion.from_json(completion) for completion in frame["completions"]]
        try:
            verifier = self._load(job, task)
        except MemoryError:
            raise
        except (Exception, SystemExit) as error:  # VerifierError, or a plug-in's required_verifiers
            scores = [failure(task.verifier, error)] * len(completions)
        else:
            deadlines = _deadlines(verifier, task, len(completions))
            self._say({"job": job, "started": time.monotonic(), **deadlines})
            self._flush()  # written before the verifier runs: its clock starts here
            if len(completions) == 1:
                scores = [run_verifier(verifier, task, completions[0], self._wait)]
            else:
                scores = run_batch(verifier, task, completions, self._wait)
        self._say_scores(job, task.verifier, scores)

    def _load(self, job: int, task: Task) -> LoadedVerifier:
        if task.verifier not in self._known:
            self._say({"job": job, "loading": task.verifier})
            self._flush()
        verifier = resolve(task.verifier)
        names = (task.verifier,) if verifier.requires is None else required_verifiers(task)
        for name in names:
            if name not in self._known:
                _prepared(resolve(name))
                self._known.add(name)
        if verifier.prepare_task is not None:
            verifier.prepare_task(task)
        return verifier

    def _wait(self, judgement: Awaitable[Any]) -> Any:
        if self._runner is None:
            import asyncio  # only asynchronous verifiers pay for it

            self._runner = asyncio.Runner()

        async def finish() -> Any:
            return await judgement

        return self._runner.run(finish())

    def _say_scores(self, job: int, name: str, scores: list[Score]) -> None:
        plain = [{field.name: getattr(score, field.name) for field in dataclasses.fields(score)} for score in scores]
        try:
            self._say({"job": job, "scores": plain})
        except (TypeError, ValueError, RecursionError) as error:  # a plug-in's Score that is not plain data
            self._say_scores(job, name, [failure(name, error)] * len(scores))

    def _say(self, frame: dict[str, Any]) -> None:
        self._unsent += pack(frame)

    def _flush(self) -> None:
        while self._unsent:
            del self._unsent[: os.write(self._channel, self._unsent)]

    def _next(self) -> dict[str, Any] | None:
        """The next frame; None when the pool has hung up."""
        while not self._frames:
            data = os.read(self._channel, 1 << 20)
            if not data:
                return None
            self._frames.extend(self._buffer.feed(data))
        return self._frames.popleft()


def _deadlines(verifier: LoadedVerifier, task: Task, completions: int) -> dict[str, float]:
    """Where the verifier says how long it may take; nothing where it cannot say, because judging will say why, and soon."""
    try:
        asked = verifier.deadline_s(task)
        own = {} if verifier.own_deadline is None else {"own_deadline_s": completions * float(verifier.own_deadline(task))}
    except Exception:
        return {}
    return {"deadline_s": completions * asked, **own} if asked > 0 else own


def _prepared(verifier: LoadedVerifier) -> None:
    if verifier.prepare is not None:
        verifier.prepare()


if __name__ == "__main__":
    main(sys.argv[1:])
