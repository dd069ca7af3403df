"""Sandboxes in a group of processes that has less memory than its programs may use: what the kernel then ends is no program's fault."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlvr_sandbox import cgroup
from rlvr_sandbox import sandbox as sandbox_module
from tests.attack.conftest import readable_interpreter

ROOM_MB = 300
_IN_THE_GROUP = """
import json, sys
from pathlib import Path
from rlvr_sandbox import Call, Interpreter, Limits, Program, Sandbox, SandboxError

joined, backend, python = sys.argv[1:]
Path(joined).write_text("0")
BLOCK = "def f(mb):\\n    return len(bytearray(mb << 20)) >> 20"
said = {}
with Sandbox(backend, interpreter=Interpreter(path=python)) as sandbox:
    said["cgroup"] = sandbox.walls().cgroup
    for name, mb, memory_mb in (("small", 50, 1024), ("large", 600, 1024), ("small again", 50, 1024), ("over its limit", 180, 60)):
        program = Program(source=BLOCK, mode="function", entry_point="f", limits=Limits(memory_mb=memory_mb, wall_s=60.0))
        try:
            result = sandbox.run_now(program, call=Call(args=(mb,)))
            said[name] = [result.status, result.value, result.message]
        except SandboxError as error:
            said[name] = ["SandboxError", None, str(error)]
print(json.dumps(said))
"""


@pytest.fixture
def crowded() -> Iterator[Path]:
    """Where a process writes its pid to be in a group that has little memory, together with what it starts."""
    made: list[Path] = []
    try:
        yield _little_memory(made) / "cgroup.procs"
    except (OSError, LookupError, ValueError) as error:
        pytest.skip(f"no limited control group can be made here: {error!r}")
    finally:
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()


def _little_memory(made: list[Path]) -> Path:
    """A group to join. Raises OSError and the like where none can be made."""
    folders = cgroup._own_folders()
    own = folders.get("memory") or folders[""]
    beside = [] if "memory" in folders else [own.parent]  # version 2 limits no group below one that has processes
    for folder in (own, *beside):
        made.append(folder / f"crowded-{os.getpid()}-{len(made)}")
        made[-1].mkdir()
        limit = next(
            (made[-1] / name for name in ("memory.limit_in_bytes", "memory.max") if (made[-1] / name).exists()), None
        )
        if limit is not None:
            break
    else:
        raise ValueError("memory is not delegated")
    limit.write_text(str(ROOM_MB * 2**20))
    if limit.name == "memory.max":
        (made[-1] / "cgroup.subtree_control").write_text("+memory +pids")
        made.append(made[-1] / "leaf")
        made[-1].mkdir()
    return made[-1]


@pytest.mark.parametrize("backend", [name for name in sandbox_module.SAFE_BACKENDS if name != "docker"])
def test_a_program_that_is_ended_for_the_machines_memory_is_our_failure(crowded: Path, backend: str) -> None:
    interpreter = readable_interpreter() if backend == "landlock" and os.geteuid() == 0 else None
    python = interpreter.path if interpreter else sys.executable
    command = [sys.executable, "-c", _IN_THE_GROUP, str(crowded), backend, python]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if "does not hold on this machine" in done.stderr or "cannot be isolated" in done.stderr:
        pytest.skip(done.stderr.strip().rpartition("\n")[2])
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    if not said["cgroup"]:
        pytest.skip("without a control group nobody knows why the kernel ended a program")
    assert said["small"][:2] == said["small again"][:2] == ["ok", 50]
    status, _, message = said["large"]
    assert status == "SandboxError"
    assert "ran out of memory" in message
    assert "`memory_mb`" in message
    assert said["over its limit"] == ["memory", None, "over 60 MB"]
