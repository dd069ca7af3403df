"""`Sandbox`: the front door. Chooses a backend, proves it, and lends boxes to any number of threads.

with Sandbox() as sandbox:
    result = sandbox.run_now(Program(source="print(input()[::-1])"), stdin=b"abc")
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import dataclasses
import os
import threading
from collections.abc import Generator, Iterable, Mapping
from types import TracebackType
from typing import Protocol

from rlvr_sandbox import languages
from rlvr_sandbox.box import Box
from rlvr_sandbox.bubblewrap import start_bwrap
from rlvr_sandbox.engine import start_docker, start_docker_flat
from rlvr_sandbox.environment import backend_from_environment, interpreter_from_environment
from rlvr_sandbox.errors import SandboxError
from rlvr_sandbox.launch import Interpreter, Launcher, start_landlock, start_unsafe, start_zygote
from rlvr_sandbox.protocol import Lender
from rlvr_sandbox.remote import RemoteSandbox
from rlvr_sandbox.selftest import breaches
from rlvr_sandbox.types import Call, Program, Result
from rlvr_sandbox.zygote_process import Walls, ZygoteProcess

_LAUNCHERS: dict[str, tuple[Launcher, ...]] = {
    "zygote": (start_zygote,),
    "bwrap": (start_bwrap,),
    "docker": (start_docker, start_docker_flat),
    "landlock": (start_landlock,),
    "unsafe_rlimit": (start_unsafe,),
}
"""Each way to start it, best first."""
UNSAFE_BACKEND = "unsafe_rlimit"
BACKENDS = tuple(_LAUNCHERS)
SAFE_BACKENDS = tuple(name for name in BACKENDS if name != UNSAFE_BACKEND)
"""Best first; `auto` takes the first that passes its self-test."""


_KEPT_PROGRAMS = 8


class Sandbox:
    """Lends boxes; each thread that asks for one gets a zygote of its own, up to `zygotes`, and waits its turn beyond that.

    backend: `auto` takes the best that can be started and stands an attack: `zygote`, `bwrap`, `docker` or `landlock`, each
        of which can be asked for by name, too. `unsafe_rlimit` has no walls: programs can read and write what you can, and see
        each other; `auto` never takes it.
    interpreter: what Python programs run in.
    zygotes: warm interpreters at most, 2 or more; 0: one per core and one more.

    The first box starts a zygote and attacks it. Raises SandboxError where no backend stands the attack.
    """

    def __init__(self, backend: str = "auto", *, interpreter: Interpreter | None = None, zygotes: int = 0) -> None:
        if backend not in ("auto", *BACKENDS):
            raise SandboxError(f"no sandbox backend {backend!r}; give auto or one of {', '.join(BACKENDS)}")
        if zygotes < 0 or zygotes == 1:
            raise SandboxError(f"zygotes is {zygotes}; give 2 or more (check code needs two boxes), or 0 to choose by cores")
        self.backend = backend
        """What it runs on; `auto` until the first box was asked for."""
        self._interpreter = interpreter or Interpreter()
        self._free = zygotes or len(os.sched_getaffinity(0)) + 1
        self._compiling: dict[str, Sandbox] = {}
        self._compiled: dict[tuple[str, str], Result] = {}
        self._room = threading.Condition()
        self._lock = threading.Lock()
        self._idle: list[ZygoteProcess] = []
        self._launch: Launcher | None = None
        self._closed = False
        self.restarts = 0
        """Zygotes that died or stopped answering."""

    @classmethod
    def from_environment(cls, *, zygotes: int = 0) -> Sandbox:
        """On the backend and with the interpreter that the environment names, see `environment.py`. Raises SandboxError on what it
        cannot be made with."""
        backend = backend_from_environment()
        return cls(backend, interpreter=interpreter_from_environment(backend), zygotes=zygotes)

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def run_now(self, program: Program, *, stdin: bytes = b"", call: Call | None = None) -> Result:
        """Runs a program once: `stdio` with this input, `function` with this call. Tried again on a fresh zygote where ours
        fails; raises SandboxError where it fails again."""
        if program.mode == "check":
            raise ValueError("check code needs a candidate; open one box for each")
        try:
            return self._run(program, stdin, call or Call())
        except SandboxError:
            return self._run(program, stdin, call or Call())

    async def run(self, program: Program, *, stdin: bytes = b"", call: Call | None = None) -> Result:
        """`run_now` in a thread."""
        return await asyncio.to_thread(self.run_now, program, stdin=stdin, call=call)

    def _run(self, program: Program, stdin: bytes, call: Call) -> Result:
        if program.language != "python":
            ready = self.compile(program)
            if isinstance(ready, Result):
                return ready
            program = ready
        with self.open(program, stdin=stdin) as box:
            if program.mode == "stdio":
                return box.wait()
            return box.result(box.call(call.args, call.kwargs))

    def compile(self, program: Program) -> Program | Result:
        """What `run_now` makes of a program in another language before it runs it: one for boxes, or the result of a program that
        does not compile. The last few are kept, so that many inputs cost one compilation. Raises SandboxError without a compiler."""
        key = program.language, program.source
        with self._lock:
            result = self._compiled.get(key)
            compiling = self._compiling.get(program.language)
            if compiling is None and result is None:
                shown = (*self._interpreter.read_only, *languages.tools(program.language))
                interpreter = dataclasses.replace(self._interpreter, read_only=shown)
                compiling = self._compiling[program.language] = Sandbox(self.backend, interpreter=interpreter)
        if result is None:
            assert compiling is not None
            result = compiling.run_now(
                languages.compiler(program.language), stdin=program.source.encode("utf-8", "surrogatepass")
            )
            with self._lock:
                if len(self._compiled) >= _KEPT_PROGRAMS:
                    self._compiled.pop(next(iter(self._compiled)))
                self._compiled[key] = result
        return languages.compiled(program, result)

    @contextlib.contextmanager
    def open(self, program: Program, *, stdin: bytes = b"") -> Generator[Box]:
        """A box with a Python program in it, for several calls. Raises SandboxError where none can be made."""
        if program.language != "python":
            raise ValueError(f"a {program.language} program is run with run_now, or compile it first")
        with self._places(1), self._loan() as loan, _box(loan, program, stdin) as box:
            yield box

    @contextlib.contextmanager
    def open_pair(self, first: Program, second: Program) -> Generator[tuple[Box, Box]]:
        """Two boxes that know nothing of each other: a program, and the code that checks it."""
        # Both zygotes first: to start one takes a while, and by then the clock of a box would run.
        with (
            self._places(2),
            self._loan() as one,
            self._loan() as other,
            _box(other, second, b"") as later,
            _box(one, first, b"") as box,
        ):
            yield box, later

    def walls(self) -> Walls:
        """What protects a box on this machine; starts and attacks a zygote where none runs yet."""
        with self._places(1):
            zygote = self._take()
            self._give_back(zygote, healthy=True)
            return zygote.walls

    @contextlib.contextmanager
    def _places(self, count: int) -> Generator[None]:
        """All at once: threads that each hold one place and wait for a second would wait for ever."""
        with self._room:
            self._room.wait_for(lambda: self._free >= count)
            self._free -= count
        try:
            yield
        finally:
            with self._room:
                self._free += count
                self._room.notify_all()

    @contextlib.contextmanager
    def _loan(self) -> Generator[_Loan]:
        loan = _Loan(self._take())
        try:
            yield loan
        finally:
            self._give_back(loan.zygote, loan.healthy)

    def close(self) -> None:
        """Ends the zygotes that are not in use; those in use end when they are given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            compiling, self._compiling = self._compiling, {}
        for sandbox in compiling.values():
            sandbox.close()
        for zygote in idle:
            zygote.close()

    def _take(self) -> ZygoteProcess:
        with self._lock:
            if self._closed:
                raise SandboxError("the sandbox is closed; open a new one")
            if self._idle:
                return self._idle.pop()
            return self._choose() if self._launch is None else ZygoteProcess(self._interpreter, self._launch)

    def _choose(self) -> ZygoteProcess:
        """The best backend that can be started here and stands the attack, with its first zygote."""
        reasons: list[tuple[str, str]] = []
        for name in SAFE_BACKENDS if self.backend == "auto" else (self.backend,):
            try:
                zygote, self._launch = _started(name, self._interpreter)
            except SandboxError as error:
                reasons.append((name, str(error)))
            else:
                self.backend = name
                return zygote
        if self.backend == "auto":
            what, why = "no backend holds", told_together(reasons)
        else:
            what, why = f"backend {self.backend} does not hold", reasons[0][1]
        raise SandboxError(f"{what} on this machine, so nothing is run: {why}")

    def _give_back(self, zygote: ZygoteProcess, healthy: bool) -> None:
        with self._lock:
            if healthy and not zygote.worn and not self._closed:
                self._idle.append(zygote)
                return
            self.restarts += not healthy
        zygote.close()


@dataclasses.dataclass(slots=True)
class _Loan:
    zygote: ZygoteProcess
    healthy: bool = True
    """Whether it can be lent again."""


@contextlib.contextmanager
def _box(loan: _Loan, program: Program, stdin: bytes) -> Generator[Box]:
    loan.healthy = False
    with Box(loan.zygote, program, stdin) as box:
        try:
            yield box
        finally:
            box.close()
            loan.healthy = not box.lost


def _started(name: str, interpreter: Interpreter) -> tuple[ZygoteProcess, Launcher]:
    """The first zygote of a backend, and how to start more. Raises SandboxError, with the reasons, where it cannot be started or does
    not stand the attack."""
    reasons: list[str] = []
    for launch in _LAUNCHERS[name]:
        try:
            zygote = ZygoteProcess(interpreter, launch)
            if name != UNSAFE_BACKEND:
                _prove(zygote)
        except SandboxError as error:
            reasons.append(str(error))
        else:
            return zygote, launch
    raise SandboxError("; ".join(dict.fromkeys(reasons)))


def _prove(zygote: ZygoteProcess) -> None:
    """Ends it where it does not hold, and raises SandboxError."""
    try:
        found = breaches(zygote)
        if found:
            raise SandboxError(f"it does not stand the self-test: {'; '.join(found)}")
    except BaseException:
        zygote.close()
        raise


class Closable(Protocol):
    def close(self) -> None: ...


def close_at_exit(shared: Mapping[int, Closable]) -> None:
    """Closes what this process has in there, under its pid, when it ends: nothing in a fork, which must not end its parent's."""

    def close() -> None:
        own = shared.get(os.getpid())
        if own is not None:
            own.close()

    atexit.register(close)


_shared: dict[int, Lender] = {}
_shared_lock = threading.Lock()
close_at_exit(_shared)


def shared_sandbox() -> Lender:
    """This process's own sandbox, made at the first call and closed at its end.

    The environment chooses the backend: RLVR_SANDBOX=zygote, for example, or `remote` for a service (see `remote.py`), and the
    interpreter (see `environment.py`). Raises SandboxError on what is neither.
    """
    with _shared_lock:
        pid = os.getpid()
        if pid not in _shared:  # a forked child must not talk to its parent's zygotes
            _shared.clear()
            kind = RemoteSandbox if backend_from_environment() == "remote" else Sandbox
            _shared[pid] = kind.from_environment()
        return _shared[pid]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BackendReport:
    """One line of `rlvr doctor`."""

    name: str
    works: bool
    detail: str
    """Its walls, or why it cannot be used."""


def probe() -> list[BackendReport]:
    """Every backend that is safe by design, started and attacked here, with the interpreter that the environment names for the one it
    names. Takes about a second. Raises SandboxError on an interpreter that cannot be used."""
    reports: list[BackendReport] = []
    named = backend_from_environment()
    interpreter = interpreter_from_environment(named)
    for name in SAFE_BACKENDS:
        theirs = interpreter if (name == "docker") == (named == "docker") else Interpreter()
        try:
            zygote, _ = _started(name, theirs)
        except SandboxError as error:
            reports.append(BackendReport(name=name, works=False, detail=str(error)))
        else:
            zygote.close()
            reports.append(BackendReport(name=name, works=True, detail=describe(zygote.walls)))
    return reports


def told_together(said: Iterable[tuple[str, str]]) -> str:
    """What is said of each name; names of which the same is said stand together."""
    names: dict[str, list[str]] = {}
    for name, what in said:
        names.setdefault(what, []).append(name)
    return "; ".join(f"{', '.join(alike)}: {what}" for what, alike in names.items())


def describe(walls: Walls) -> str:
    """The walls in words: what holds each program, and what does not."""
    parts = [f"Python {walls.python}" + (f" in {walls.inside}" if walls.inside else "")]
    if walls.namespaces:
        parts.append("user, pid, mount, network, ipc and uts namespaces")
    elif walls.inside:
        parts.append("one program at a time, its files removed afterwards; no namespaces of its own")
    else:
        parts.append("no namespaces: programs can ask which files and processes there are")
    parts.append("seccomp" if walls.seccomp else "no seccomp")
    parts.append(f"Landlock {walls.landlock_abi}" if walls.landlock_abi else "no Landlock")
    if walls.cgroup:
        parts.append(f"cgroup v{walls.cgroup}")
    else:
        parts.append("no cgroup: memory is limited per process" + ("" if walls.namespaces else " and watched as a whole"))
    if not walls.namespaces and not walls.inside:
        parts.append("files are watched, not capped")
    if not walls.proc:
        parts.append("no /proc in the box")
    return ", ".join(parts)
