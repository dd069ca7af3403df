"""Every safe backend that this machine has, started once and attacked by every test that asks for `sandbox`."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlvr_sandbox import Interpreter, Sandbox, SandboxError
from rlvr_sandbox import sandbox as sandbox_module
from rlvr_sandbox.engine import start_docker_flat

WAYS = (*sandbox_module.SAFE_BACKENDS, "docker_flat")
"""`docker_flat`: `docker` as it is where the engine lets a container make no user namespace."""
REQUIRED = tuple(filter(None, os.environ.get("RLVR_TEST_BACKENDS", "").split(",")))
"""Backends that must not be skipped: what a machine is known to have."""


def readable_interpreter() -> Interpreter | None:
    """One that users other than this one can start: this one, or the system's."""
    system = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    for path in (os.path.realpath(sys.executable), os.path.realpath(system or sys.executable)):
        if all(folder.stat().st_mode & 1 for folder in Path(path).parents):
            return Interpreter(path=path)
    return None


def _started(way: str) -> Sandbox:
    interpreter = readable_interpreter() if way == "landlock" and os.geteuid() == 0 else None
    sandbox = Sandbox(way.removesuffix("_flat"), interpreter=interpreter, zygotes=3)
    with pytest.MonkeyPatch.context() as patch:
        if way == "docker_flat":
            patch.setitem(sandbox_module._LAUNCHERS, "docker", (start_docker_flat,))
        sandbox.walls()
    return sandbox


@pytest.fixture(scope="session")
def started_sandboxes() -> Iterator[dict[str, Sandbox | str]]:
    """By way: the sandbox, or why there is none."""
    found: dict[str, Sandbox | str] = {}
    yield found
    for sandbox in found.values():
        if isinstance(sandbox, Sandbox):
            sandbox.close()


@pytest.fixture(scope="module", params=WAYS)
def sandbox(request: pytest.FixtureRequest, started_sandboxes: dict[str, Sandbox | str]) -> Iterator[Sandbox]:
    """Not one of its zygotes may be lost to what the tests of a module do to it."""
    way: str = request.param
    if way not in started_sandboxes:
        try:
            started_sandboxes[way] = _started(way)
        except SandboxError as error:
            started_sandboxes[way] = str(error)
    one = started_sandboxes[way]
    if isinstance(one, str):
        if way in REQUIRED:
            pytest.fail(f"{way} has to work here: {one}")
        pytest.skip(f"{way}: {one}")
    before = one.restarts
    yield one
    assert one.restarts == before


@pytest.fixture
def verifier_sandbox(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """The code verifier of this process uses it."""
    monkeypatch.setitem(sandbox_module._shared, os.getpid(), sandbox)
    return sandbox


@pytest.fixture(scope="module")
def zygote_sandbox() -> Iterator[Sandbox]:
    """The best backend alone, fresh."""
    with Sandbox("zygote") as one:
        try:
            one.walls()
        except SandboxError as error:
            pytest.skip(str(error))
        yield one
        assert one.restarts == 0
