"""The environment names a sandbox's backend and the interpreter of its programs, and what cannot be meant is said in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rlvr_sandbox import Interpreter, Sandbox, SandboxError, interpreter_from_environment, shared_sandbox
from rlvr_sandbox import sandbox as sandbox_module


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("", "_PYTHON", "_IMAGE", "_PRELOAD"):
        monkeypatch.delenv(f"RLVR_SANDBOX{name}", raising=False)
    monkeypatch.setattr(sandbox_module, "_shared", {})  # another test of this process may have made one


def test_unset_it_is_the_running_interpreter_without_its_packages() -> None:
    assert interpreter_from_environment("auto") == Interpreter() == interpreter_from_environment("docker")


def test_an_interpreter_that_is_named_shows_its_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RLVR_SANDBOX_PYTHON", sys.executable)
    monkeypatch.setenv("RLVR_SANDBOX_PRELOAD", "numpy, os.path,")
    wanted = Interpreter(path=sys.executable, site_packages=True, preload=("numpy", "os.path"))
    assert interpreter_from_environment("auto") == wanted
    (tmp_path / "python").symlink_to(sys.executable)  # as in a virtual environment, which the real path would not be
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLVR_SANDBOX_PYTHON", "./python")
    assert interpreter_from_environment("zygote").path == str(tmp_path / "python")


def test_modules_alone_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLVR_SANDBOX_PRELOAD", "dataclasses")
    assert interpreter_from_environment("auto") == Interpreter(preload=("dataclasses",))


def test_an_image_shows_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLVR_SANDBOX_IMAGE", "mine")
    assert interpreter_from_environment("docker") == Interpreter(image="mine", site_packages=True)


@pytest.mark.parametrize(
    ("backend", "name", "value", "told"),
    [
        ("auto", "PYTHON", "/no/such/python", "which cannot be run"),
        ("auto", "PYTHON", "/etc/passwd", "which cannot be run"),
        ("docker", "PYTHON", sys.executable, "docker has the Python of its image; set RLVR_SANDBOX_IMAGE"),
        ("auto", "IMAGE", "mine", "the backend is auto; set RLVR_SANDBOX=docker"),
        ("auto", "PRELOAD", "numpy pandas", "'numpy pandas', which is no module"),
        ("auto", "PRELOAD", "a;b", "'a;b', which is no module"),
        ("remote", "PYTHON", sys.executable, "set them for the service"),
        ("remote", "PRELOAD", "numpy", "set them for the service"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    monkeypatch: pytest.MonkeyPatch, backend: str, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv("RLVR_SANDBOX", backend)
    monkeypatch.setenv(f"RLVR_SANDBOX_{name}", value)
    with pytest.raises(SandboxError, match=told) as refused:
        interpreter_from_environment(backend)
    assert "\n" not in str(refused.value)
    with pytest.raises(SandboxError, match=told):
        shared_sandbox() if backend == "remote" else Sandbox.from_environment()
