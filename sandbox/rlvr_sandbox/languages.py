"""Languages other than Python: a profile says how a program becomes one that a box can run.

A compiled program is compiled in a box of its own, which sees the compiler, under the limits of `COMPILING`; what comes out is as
hostile as what went in, and runs in ordinary boxes, which do not see the compiler. For the box both are Python programs of a few
lines: the walls know nothing of languages.
"""

from __future__ import annotations

import base64
import dataclasses
import os
import shutil
from collections.abc import Sequence

from rlvr_sandbox.errors import SandboxError
from rlvr_sandbox.types import LANGUAGES, Limits, Program, Result

COMPILING = Limits(wall_s=30.0, cpu_s=30.0, memory_mb=1024, stdout_bytes=32 * 2**20, disk_mb=64, processes=16)
"""Of one compilation; the program's own limits begin when it runs."""
_NO_COMPILER = 99


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    command: tuple[str, ...]
    """Makes `program` from the file `source`, in the current folder."""
    source: str
    tools: tuple[str, ...]
    """Programs that the command needs, itself first."""
    folders: tuple[str, ...]
    """What else they read, beyond what every box sees."""
    install: str


PROFILES = {
    "cpp": Profile(
        command=("g++", "-std=gnu++17", "-O2", "-pipe", "-o", "program", "main.cpp"),
        source="main.cpp",
        tools=("g++", "as", "ld"),
        folders=("/usr/include", "/usr/lib/gcc", "/usr/libexec/gcc"),
        install="apt install g++",
    ),
}
assert set(LANGUAGES) == {"python", *PROFILES}

_COMPILE = """
import subprocess, sys
with open({source!r}, "wb") as file:
    file.write(sys.stdin.buffer.read())
try:
    done = subprocess.run({command!r}, stdin=subprocess.DEVNULL, stdout=sys.stderr)
except FileNotFoundError:
    sys.exit({missing})
if done.returncode:
    sys.exit(1)
with open("program", "rb") as file:
    sys.stdout.buffer.write(file.read())
"""
_RUN = """
import base64, os, signal
with open("program", "wb") as file:
    file.write(base64.b64decode({binary!r}))
os.chmod("program", 0o700)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
os.execv("program", ["program"])
"""


def tools(language: str) -> tuple[str, ...]:
    """Files and folders that compiling needs to see. Raises SandboxError where the compiler is not on this machine."""
    profile = PROFILES[language]
    shown: list[str] = []
    for name in profile.tools:
        path = shutil.which(name, path="/usr/bin:/bin")
        if path is None:
            raise SandboxError(f"language {language} needs {name}, which is not in /usr/bin; install it: {profile.install}")
        shown.append(path)
    return (*shown, *(folder for folder in profile.folders if os.path.isdir(folder)))


def compiler(language: str) -> Program:
    """The program that compiles: source on standard input, the result on standard output."""
    profile = PROFILES[language]
    text = _COMPILE.format(source=profile.source, command=list(profile.command), missing=_NO_COMPILER)
    return Program(source=text, limits=COMPILING)


def compiled(program: Program, result: Result) -> Program | Result:
    """What to run after a compilation that ended so, or the program's own result where it does not compile."""
    if result.exit_code == _NO_COMPILER:
        raise SandboxError(f"the boxes of this backend have no {PROFILES[program.language].tools[0]}; take another backend")
    if result.status == "ok" and result.stdout:
        binary = base64.b64encode(result.stdout).decode()
        return Program(source=_RUN.format(binary=binary), limits=program.limits)
    why = _first_error(result.stderr.splitlines()) if result.status == "error" else f"compiling: {result.message}"
    return dataclasses.replace(result, stdout=b"", message=f"does not compile: {why}")


def _first_error(lines: Sequence[str]) -> str:
    said = [line for line in lines if line.strip()]
    found = [line for line in said if "error" in line] or said or ["the compiler gave no reason"]
    return " ".join(found[0].split())[:300]
