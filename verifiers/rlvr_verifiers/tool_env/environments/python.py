"""`python`: code is run in the sandbox, in one session for each rollout: names live on from call to call.

    env_args: {"timeout_s": 5, "memory_mb": 512}        both optional

Give such a task any verifier that judges the final reply, `math` for instance. Boxes are few and rollouts many, so a session that has
not been used for longest may lose its box; when it is called again it gets another, in which the code of its earlier calls is run
first.
"""

from __future__ import annotations

import collections
import contextlib
import math
import os
import threading
from collections.abc import Generator

from rlvr_sandbox import Box, Limits, Program, Sandbox, SandboxError
from rlvr_sandbox.sandbox import close_at_exit
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.tool_env.tools import ToolError, tool
from rlvr_verifiers.types import Task

SESSION_S = 24 * 3600.0
"""A session may wait this long for its policy; each call has its own, short limit."""
MAX_CODE = 20_000
"""Characters of one call."""
MAX_OUTPUT = 20_000

_RUNNER = f"""
import ast, contextlib, io, linecache, traceback

_names = {{"__name__": "__main__"}}

def _run(code):
    written = io.StringIO()
    try:
        with contextlib.redirect_stdout(written), contextlib.redirect_stderr(written):
            tree = ast.parse(code, "<cell>")
            last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            linecache.cache["<cell>"] = (len(code), None, code.splitlines(True), "<cell>")
            exec(compile(tree, "<cell>", "exec"), _names)
            if last is not None:
                value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), _names)
                if value is not None:
                    print(repr(value))
        return True, written.getvalue()[:{MAX_OUTPUT}]
    except BaseException as error:
        lines = traceback.format_exception(type(error), error, error.__traceback__.tb_next if error.__traceback__ else None)
        return False, (written.getvalue() + "".join(lines))[:{MAX_OUTPUT}]
"""


class Python:
    """A Python session in a sandbox without network and files of yours."""

    in_process = True
    own_clock = True  # that of the box: neither the queue for one nor what is run again is the call's time

    def reset(self, task: Task) -> None:
        """Raises VerifierError where env_args or RLVR_SANDBOX cannot be used; `remote` cannot, a service does not wait for a policy."""
        timeout_s, memory_mb = task.env_args.get("timeout_s", 5), task.env_args.get("memory_mb", 512)
        if not isinstance(timeout_s, int | float) or not math.isfinite(timeout_s) or timeout_s <= 0:
            raise VerifierError(f"environment python: env_args.timeout_s is {timeout_s!r}; give seconds above 0")
        if not isinstance(memory_mb, int) or isinstance(memory_mb, bool) or memory_mb < 32:
            raise VerifierError(f"environment python: env_args.memory_mb is {memory_mb!r}; give 32 or more")
        try:
            _sessions()
        except SandboxError as error:
            raise VerifierError(f"environment python needs a sandbox of this machine for its sessions: {error}") from error
        limits = Limits(wall_s=SESSION_S, case_wall_s=float(timeout_s), cpu_s=600.0, memory_mb=memory_mb)
        self._program = Program(source=_RUNNER, mode="function", entry_point="_run", limits=limits)
        self._timeout_s = timeout_s
        self._history: list[str] = []

    def state(self) -> object:
        """What is in a session is its own business."""
        return {}

    @tool
    def python(self, code: str) -> str:
        """Runs Python code and returns what it printed, and the value of its last expression.

        Args:
            code: the code; names defined in earlier calls are known.
        """
        if len(code) > MAX_CODE or "\0" in code:
            raise ToolError(f"code has to be text of at most {MAX_CODE} characters")
        try:
            with _sessions().box(self, self._program) as (box, fresh):
                if fresh:
                    self._run_again(box)
                outcome = box.call((code,))
        except SandboxError as error:
            raise VerifierError(f"environment python: {error}") from error
        match outcome.value:
            case (bool(done), str(output)) if outcome.status == "ok":
                self._history.append(code)
                return output or ("(nothing was printed)" if done else "error")
            case _:
                _sessions().drop(self)
                self._history.clear()
                raise ToolError(f"{self._why(outcome.status)}; the session was started anew, all names are gone")

    def _run_again(self, box: Box) -> None:
        """The earlier calls in a new box. Raises SandboxError where one ends otherwise than it did: taking the box away was ours."""
        for earlier in self._history:
            outcome = box.call((earlier,))
            if outcome.status != "ok":
                raise SandboxError(
                    f"a session lost its box, and an earlier call cannot be run again: {self._why(outcome.status)}"
                )

    def close(self) -> None:
        _sessions().drop(self)

    def _why(self, status: str) -> str:
        words = {"timeout": f"the code ran longer than {self._timeout_s:g} s", "memory": "the code needed too much memory"}
        return words.get(status, "the code ended its own process")


class Sessions:
    """Live boxes of sessions, at most `limit`; the one not used for longest makes room."""

    def __init__(self, limit: int) -> None:
        self._sandbox = Sandbox.from_environment(zygotes=limit)
        self._limit = limit
        self._idle: collections.OrderedDict[object, tuple[contextlib.ExitStack, Box]] = collections.OrderedDict()
        self._busy = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def box(self, owner: object, program: Program) -> Generator[tuple[Box, bool]]:
        """The owner's box, and whether it is a new one. Raises SandboxError where none can be made."""
        held = self._take(owner)
        try:
            fresh = held is None
            if held is None:
                stack = contextlib.ExitStack()
                held = (stack, stack.enter_context(self._sandbox.open(program)))
            yield held[1], fresh
        finally:
            self._give_back(owner, held)

    def drop(self, owner: object) -> None:
        """Closes the owner's box, if it has one that is not in use."""
        with self._changed:
            held = self._idle.pop(owner, None)
        if held is not None:
            held[0].close()
            with self._changed:
                self._changed.notify()

    def close(self) -> None:
        """Ends all boxes but those in use, which end with this process."""
        with self._changed:
            idle, self._idle = self._idle, collections.OrderedDict()
        for stack, _ in idle.values():
            stack.close()
        self._sandbox.close()

    def _take(self, owner: object) -> tuple[contextlib.ExitStack, Box] | None:
        evicted: contextlib.ExitStack | None = None
        with self._changed:
            self._changed.wait_for(lambda: owner in self._idle or self._busy < self._limit)
            held = self._idle.pop(owner, None)
            if held is None and len(self._idle) + self._busy >= self._limit:
                evicted = self._idle.popitem(last=False)[1][0]
            self._busy += 1
        if evicted is not None:
            evicted.close()
        return held

    def _give_back(self, owner: object, held: tuple[contextlib.ExitStack, Box] | None) -> None:
        with self._changed:
            self._busy -= 1
            if held is not None:
                self._idle[owner] = held
            self._changed.notify_all()


_shared: dict[int, Sessions] = {}
_lock = threading.Lock()
close_at_exit(_shared)


def _sessions() -> Sessions:
    """This process's own, made at the first call and closed at its end."""
    with _lock:
        pid = os.getpid()
        if pid not in _shared:  # a forked child must not talk to its parent's boxes
            _shared.clear()
            _shared[pid] = Sessions(limit=4 * len(os.sched_getaffinity(0)))
        return _shared[pid]
