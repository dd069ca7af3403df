"""An ordinary user has the same sandbox as root: every cheat and every honest program, on every backend that the user can start."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from pathlib import Path

import pytest

from rlvr_sandbox import sandbox as sandbox_module
from tests.attack.conftest import REQUIRED, readable_interpreter
from tests.attack.test_sandbox_honest import NOT_WITHOUT_NAMESPACES

HERE = Path(__file__).parent
PACKAGE = Path(str(sandbox_module.__file__)).parent
UID, GID = 12345, 23456


def groups_of_engine() -> list[int]:
    """The group that may talk to the engine, as its members do."""
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    return [os.stat(address).st_gid] if os.path.exists(address) else []


def user() -> dict[str, object]:
    if os.geteuid() != 0:
        return {}
    return {"user": UID, "group": GID, "extra_groups": groups_of_engine()}


@pytest.mark.parametrize("backend", sandbox_module.SAFE_BACKENDS)
def test_no_cheat_is_paid_and_every_honest_program_is(backend: str) -> None:
    interpreter = readable_interpreter()
    if interpreter is None or any(not folder.stat().st_mode & 1 for folder in (*HERE.parents, *PACKAGE.parents)):
        pytest.skip("no interpreter or no source that an ordinary user can read")
    sdk = importlib.util.find_spec("docker")
    paths = [PACKAGE.parent, HERE, *([Path(str(sdk.origin)).parent.parent] if sdk else [])]
    environment = {"PYTHONPATH": os.pathsep.join(map(str, paths)), "PATH": "/usr/bin:/bin"}
    if "DOCKER_HOST" in os.environ:
        environment["DOCKER_HOST"] = os.environ["DOCKER_HOST"]
    command = [interpreter.path, "-B", str(HERE / "sandbox_gauntlet.py"), backend]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/", timeout=300, **user())  # type: ignore[call-overload]
    if "SandboxError" in done.stderr and backend not in REQUIRED:
        pytest.skip(done.stderr.strip().rpartition("\n")[2])
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["paid"], said["failures"], said["restarts"]) == ([], [], 0)
    assert said["unpaid"] == (list(NOT_WITHOUT_NAMESPACES) if backend == "landlock" else [])
