"""One box as its controller sees it: hands the program and inputs over, keeps the clock, and stops reading when it is too much.

The box is hostile from the moment it has the source. Before that it has said that its confinement is complete; only a failure
until then is ours. Afterwards nothing it does, or stops doing, is a `SandboxError`, or a program could choose not to be scored. What
is done to it is: the kernel says whether it ended a program because the machine, and not the box, was out of memory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any

from rlvr_sandbox.codec import CodecError
from rlvr_sandbox.core_wait import BRIEF_S, WORTH_S, pid_of, waited_s
from rlvr_sandbox.errors import SandboxError
from rlvr_sandbox.frames import pack
from rlvr_sandbox.spawner import BoxProcess, Ending, Spawner
from rlvr_sandbox.streams import Streams, Wake
from rlvr_sandbox.types import PATIENCE, Call, Outcome, Program, Result, Status, Value

__all__ = ["Box", "BoxProcess", "Ending", "Spawner"]

SETUP_S = 20.0
"""A box is made in milliseconds; this is for a machine that is being suspended or swaps."""
_AHEAD = 16
"""Inputs that may be on their way into a box. They are no secrets: expected values are."""
_BATCH_BYTES = 1 << 16
"""Inputs are sent together up to about this size."""
_SHOWN = 300


_OK = Outcome(status="ok")


class Box:
    """Use as `with Box(spawner, program) as box: box.call((1, 2))`. Raises SandboxError where the box cannot be made.

    After an outcome that is not ok because the program ended or was stopped, every further call has the same outcome.
    """

    def __init__(self, spawner: Spawner, program: Program, stdin: bytes = b"") -> None:
        self._program = program
        self._limits = program.limits
        self._piped = program.mode == "stdio"
        self._process = spawner.spawn(program.limits, piped=self._piped)
        self._streams = Streams(self._process, program.limits, stdin)
        self._calls = 0
        self._loaded: Outcome | None = None
        self._started = self._ended = 0.0
        self._deadline = 0.0
        self._waited_s = 0.0
        self._idle_since: float | None = None
        self._over: Outcome | None = None
        self._ending: Ending | None = None
        self._events: list[str] = []
        self._lost = False
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Box:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # -- what a caller does -----------------------------------------------------------------------------------------------

    def load(self) -> Outcome:
        """Waits until the source has been executed, and says how that went, later, too. Calling it is optional."""
        if self._loaded is None:
            message = self._message(self._deadline)
            if message is not None and message != ("loaded", 0):
                self._over = self._failure(message, 0)
            self._loaded = self.outcome
            if self._calls == 0:
                self._rest()
        return self._loaded

    def call(self, args: tuple[Value, ...] = (), kwargs: Mapping[str, Value] | None = None) -> Outcome:
        """One call of the entry point; the value it returns. Raises CodecError where an argument is no plain value."""
        self._send(self._asking(args, kwargs or {}))
        return self._answer(self._calls)

    def calls(self, calls: Iterable[Call]) -> Iterator[Outcome]:
        """The outcome of each call, in order, and quicker than one `call` after the other: inputs are sent before earlier answers
        are there, so that the box need not wait. Stop iterating to stop; close the box then, since calls are under way."""
        todo, answered = iter(calls), self._calls
        while True:
            asking = bytearray()
            while self._calls - answered < _AHEAD and self._streams.clear and len(asking) < _BATCH_BYTES:
                call = next(todo, None)
                if call is None:
                    break
                asking += self._asking(call.args, call.kwargs)
            self._send(asking)
            if answered == self._calls:
                return
            answered += 1
            yield self._answer(answered)

    def _asking(self, args: tuple[Value, ...], kwargs: Mapping[str, Value]) -> bytes:
        """The message of the next call."""
        message = pack("call", self._calls + 1, tuple(args), dict(kwargs))
        self._calls += 1
        return message

    def _send(self, messages: bytes | bytearray) -> None:
        if messages and self._over is None:
            self._resume()
            self._streams.send(messages)

    def _answer(self, number: int) -> Outcome:
        loaded = self.load()
        if loaded.status != "ok":
            return loaded
        begin = time.monotonic()
        case = self._limits.case_wall_s
        if case is None:
            message = self._message(self._deadline)
        else:
            message = self._message(min(self._deadline, begin + case), longest=begin + case * (1 + PATIENCE))
        wall_s = time.monotonic() - begin
        if number == self._calls:
            self._rest()
        if message is None:
            assert self._over is not None
            return dataclasses.replace(self._over, wall_s=wall_s)
        match message:
            case ("returned", answered, value) if answered == number:
                return Outcome(status="ok", value=value, wall_s=wall_s)
            case _:
                outcome = dataclasses.replace(self._failure(message, number), wall_s=wall_s)
                if "stray_frames" in self._events:
                    self._over = outcome
                return outcome

    def next_message(self) -> tuple[Any, ...] | None:
        """What trusted check code asks for; None when it has ended, see `outcome`."""
        self._resume()
        message = self._message(self._deadline)
        self._rest()
        return message

    def send(self, *message: Any) -> None:
        self._streams.send(pack(*message))

    @property
    def outcome(self) -> Outcome:
        """Why the box is over; ok while it is not."""
        return self._over or _OK

    def wait(self) -> Result:
        """`stdio`: feeds the input, collects the output until the program ends, and says how it ended."""
        wake = self._pump(self._deadline, lambda: False)
        outcome = self._over or self._stopped(wake)
        self.close()
        return self.result(outcome)

    def result(self, outcome: Outcome) -> Result:
        """The box as a whole, closed, after its last outcome."""
        self.close()
        ending = self._ending or Ending(-signal.SIGKILL, 0.0, 0.0)
        return Result(
            status=outcome.status,
            value=outcome.value,
            stdout=bytes(self._streams.stdout) if outcome.status != "output_limit" else b"",
            stderr=self.stderr,
            message=outcome.message,
            exit_code=ending.code if ending.code >= 0 else None,
            cpu_s=ending.cpu_s,
            wall_s=self._ended - self._started,
            waited_s=self._waited_s,
            peak_memory_mb=ending.peak_memory_mb,
            events=tuple(self._events),
        )

    @property
    def lost(self) -> bool:
        """Whether its zygote could not say how it ended, and so cannot be used again."""
        return self._lost

    @property
    def deadline(self) -> float:
        """Of the program, on the monotonic clock."""
        return self._deadline

    def deserted(self) -> bool:
        """Whether no process holds the box's standard error any more. For the self-test, after the box was stopped."""
        return self._streams.deserted()

    @property
    def stopped_for(self) -> str:
        """The limit that the zygote ended it for, or nothing."""
        return self._ending.over if self._ending is not None else ""

    @property
    def stderr(self) -> str:
        return self._streams.stderr.decode("utf-8", "replace")

    def close(self) -> None:
        """Kills whatever is left of the box, all descendants with it. Raises nothing; safe to call twice."""
        if self._process.pidfd < 0:
            return
        self._ended = self._ended or time.monotonic()
        with contextlib.suppress(SandboxError):  # the zygote is gone, and every box with it
            self._reap()
        self._streams.close()

    # -- its clock, which stands still while the box waits for us or for a core -----------------------------------------------

    def _rest(self) -> None:
        self._idle_since = time.monotonic()

    def _resume(self) -> None:
        if self._idle_since is not None:
            self._deadline += time.monotonic() - self._idle_since
            self._idle_since = None

    def _pump(self, until: float, done: Callable[[], bool], longest: float = math.inf) -> Wake:
        """`until` is put off by what the program has waited for a core, up to `longest`."""
        while True:
            wake = self._streams.pump(until, done)
            if wake != "deadline" or until >= longest:
                return wake
            more_s = self._more_waited_s()
            if more_s < WORTH_S:
                return wake
            until = min(until + more_s, longest)
            self._deadline += more_s

    def _more_waited_s(self) -> float:
        """Since this was asked last, within the bounds of patience; 0 for a box that has no program yet."""
        if not self._started:
            return 0.0
        before, most = self._waited_s, self._limits.longest_s - self._limits.wall_s
        most = min(most, time.monotonic() - self._started)  # the kernel counts from when the box was made
        self._waited_s = max(before, min(waited_s(pid_of(self._process.pidfd)), most))
        return self._waited_s - before

    # -- the conversation -------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        program = self._program
        # It lies there when the box is ready, which saves a turn; nothing in a box reads it before.
        self._streams.send(
            pack("program", program.mode, program.entry_point, program.preamble, program.source, self._limits.value_bytes)
        )
        message = self._message(time.monotonic() + SETUP_S)
        if message != ("ready",):
            why = self.stderr.strip() or "it gave no sign"
            raise SandboxError(f"a box could not be made: {why}; the sandbox's self-test says what this machine lacks")
        self._started = time.monotonic()
        self._deadline = self._started + self._limits.wall_s
        if program.mode == "check":
            self._rest()  # until we are there to answer it
        self._streams.start()

    def _message(self, until: float, longest: float = math.inf) -> tuple[Any, ...] | None:
        """The box's next message, or None and `_over` says why there is none. See `_pump`."""
        if self._over is not None:
            return None
        streams = self._streams
        try:
            message = streams.inbox.next()
            if message is not None:
                return message
            wake = self._pump(until, streams.inbox.whole, longest)
            if wake == "done":
                return streams.inbox.next()
        except CodecError as error:
            self._events.append("stray_frames")
            self._over = Outcome(status="bad_value", message=f"the answer cannot be read: {error}")
            return None
        self._over = self._stopped(wake)
        return None

    def _failure(self, message: tuple[Any, ...], number: int) -> Outcome:
        """A message that is no answer: an exception, a value that cannot travel, or nonsense."""
        match message:
            case ("raised", answered, str(kind), str(text)) if answered == number:
                status: Status = "memory" if kind == "MemoryError" else "error"
                if kind == "SystemExit":
                    self._events.append("early_exit")
                return Outcome(status=status, error_type=kind[:100], message=_line(f"{kind}: {text}" if text else kind))
            case ("bad_value", answered, str(text)) if answered == number:
                return Outcome(status="bad_value", message=_line(f"the returned value cannot be used: {text}"))
            case _:
                self._events.append("stray_frames")
                return Outcome(status="error", message="the program wrote to the channel of its box")

    def _stopped(self, wake: Wake) -> Outcome:
        """Why the conversation is over. Kills and reaps, so that what the kernel knows can be told."""
        self._ended = time.monotonic()
        if wake == "ended":
            return self._end(self._reap())
        with contextlib.suppress(SandboxError):  # why the program was stopped is known all the same
            self._reap()
        if wake == "flood":
            return Outcome(status="output_limit", message="wrote more than its limit of output")
        if wake == "cpu":
            return self._out_of_cpu()
        waited = f", of which it waited {self._waited_s:.1f} s for a core" if self._waited_s >= BRIEF_S else ""
        return Outcome(status="timeout", message=f"stopped after {self._ended - self._started:.1f} s{waited}")

    def _end(self, ending: Ending) -> Outcome:
        if ending.out_of_memory == "machine":
            raise SandboxError(
                "this machine, or what holds its sandboxes, ran out of memory, and a program within its limit was ended for it; "
                "run fewer at a time, or give them less `memory_mb`"
            )
        if ending.out_of_memory:
            return Outcome(status="memory", message=f"over {self._limits.memory_mb} MB")
        if ending.over:
            self._events.append(f"over_{ending.over}")
            return Outcome(status="error", message=f"stopped: over its limit of {ending.over}")
        if ending.code < 0:
            # Nobody in a box can kill its first process; the kernel counts the limit in ticks and reports exact time.
            if ending.code == -signal.SIGKILL and ending.cpu_s >= self._limits.cpu_s * 0.5:
                return self._out_of_cpu()
            name = signal.Signals(-ending.code).name if -ending.code in set(signal.Signals) else str(-ending.code)
            self._events.append(f"killed_by_{name}")
            return Outcome(status="crash", message=f"died by {name}")
        last = self.stderr.strip().rpartition("\n")[2]
        if self._piped and ending.code == 0:
            return Outcome(status="ok")
        if not self._piped:
            self._events.append("early_exit")
            return Outcome(
                status="error", error_type="early_exit", message=f"left with status {ending.code} before it answered"
            )
        status: Status = "memory" if last.startswith("MemoryError") else "error"
        return Outcome(status=status, message=_line(f"exit status {ending.code}" + (f": {last}" if last else "")))

    def _out_of_cpu(self) -> Outcome:
        return Outcome(status="timeout", message=f"over {self._limits.cpu_s:g} s of CPU time")

    def _reap(self) -> Ending:
        if self._ending is None:
            if time.monotonic() - self._started >= BRIEF_S:
                self._more_waited_s()
            with contextlib.suppress(OSError):  # of another user, in a container: the zygote does it
                signal.pidfd_send_signal(self._process.pidfd, signal.SIGKILL)
            self._ending = Ending(-signal.SIGKILL, 0.0, 0.0)
            self._lost = True
            self._ending = self._process.reap()
            if self._ending.refused_calls:
                self._events.append("refused_calls")
            self._lost = False
        return self._ending


def _line(text: str) -> str:
    return " ".join(text.split())[:_SHOWN]
