"""What goes into a box and what comes out of it. Plain frozen data; nothing here ever holds an expected value."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

Value = Any
"""None, bool, int, float, complex, str, bytes, list, tuple, dict, set or frozenset, of exactly these types, all the way down."""

LANGUAGES = ("python", "cpp")

Mode = Literal["function", "stdio", "check"]
"""`function`: calls of an entry point, by value. `stdio`: a program with real descriptors 0, 1 and 2. `check`: trusted test
code whose candidate is a stand-in for a function in another box."""

Status = Literal["ok", "error", "bad_value", "timeout", "memory", "output_limit", "crash"]
"""ok: a value came back, or the program ended with exit status 0.
error: it raised, has no such function, cannot be compiled, left early, or ended with another exit status.
bad_value: it returned something that cannot travel by value.
timeout: over the wall or CPU limit. memory: over the memory limit. output_limit: wrote too much. crash: died by a signal."""


PATIENCE = 2.0
"""Times a wall limit that a program may wait for a core: on a machine with thrice the work it can do, none is stopped for that."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Bounds of one program. The clock starts when the box has been made and the source is handed over."""

    wall_s: float = 4.0
    """The whole program: loading and all calls together, without what its first thread waited for a core; see `longest_s`."""
    case_wall_s: float | None = None
    """One call, counted likewise; None: as long as `wall_s` leaves."""
    cpu_s: float = 4.0
    """CPU time of the whole box where a control group can count it, else of each of its processes, rounded up to whole seconds."""
    memory_mb: int = 1024
    """Of the whole box where a memory cgroup can be written, else of each of its processes."""
    stdout_bytes: int = 16 * 2**20
    stderr_bytes: int = 1 * 2**20
    """Written beyond this, the program is stopped; only the first kilobytes are kept."""
    value_bytes: int = 4 * 2**20
    """One returned value, encoded."""
    disk_mb: int = 64
    """All files together; they live in memory."""
    fsize_mb: int = 64
    """One file."""
    files: int = 4096
    """Files and folders in the box."""
    processes: int = 32
    """Processes and threads alive at once, the program's own first one included."""

    @property
    def longest_s(self) -> float:
        """The whole program with all its waiting, which is put off no further."""
        return self.wall_s * (1 + PATIENCE)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "case_wall_s" and value is None:
                continue
            whole = "int" in str(field.type)
            good = type(value) is int if whole else type(value) in (int, float)
            if not good or not 0 < value < 2**53:
                raise ValueError(f"limit {field.name} is {value!r}; give a positive {'whole ' if whole else ''}number")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """Source code and how to run it."""

    source: str
    mode: Mode = "stdio"
    entry_point: str = ""
    """The function that is called; `function` and `check` need it."""
    preamble: str = ""
    """Trusted code that is run before `source`, in the same module: imports and helpers that a prompt promised."""
    language: str = "python"
    """One of LANGUAGES; all but Python only as whole programs (`stdio`)."""
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        if self.mode not in ("function", "stdio", "check"):
            raise ValueError(f"mode is {self.mode!r}; give function, stdio or check")
        if self.language not in LANGUAGES:
            raise ValueError(f"language is {self.language!r}; boxes run {' and '.join(LANGUAGES)}")
        if self.language != "python" and (self.mode != "stdio" or self.preamble):
            raise ValueError(f"a {self.language} program is run as a whole: give mode stdio and no preamble")
        if self.mode != "stdio" and not self.entry_point.isidentifier():
            raise ValueError(f"entry_point {self.entry_point!r} is not a name; mode {self.mode} needs the function's name")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What one call did."""

    status: Status
    value: Value = None
    """Only where `status` is ok."""
    error_type: str = ""
    """Name of the exception, as the program states it: not to be believed, only to be shown."""
    message: str = ""
    wall_s: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What one program did in one box."""

    status: Status
    value: Value = None
    """`function`: what the call returned."""
    stdout: bytes = b""
    """`stdio`: everything written to descriptor 1. In the other modes it is thrown away, inside the box."""
    stderr: str = ""
    """The first 8 KiB."""
    message: str = ""
    """Why it is not ok, in one line."""
    exit_code: int | None = None
    """None where a signal, ours included, ended it."""
    cpu_s: float = 0.0
    """Of all processes of the box."""
    wall_s: float = 0.0
    waited_s: float = 0.0
    """Of `wall_s`, what its first thread was ready to run but waited for a core; not asked where it all took less than 0.1 s."""
    peak_memory_mb: float = 0.0
    """The largest resident set of one process."""
    events: tuple[str, ...] = ()
    """Suspicious things that happened: early_exit, stray_frames, killed_by_<signal>, over_<limit>, and refused_calls where the filter
    denied a system call (not counted without namespaces)."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """Arguments of one call, plain values."""

    args: tuple[Value, ...] = ()
    kwargs: Mapping[str, Value] = dataclasses.field(default_factory=dict[str, Any])
