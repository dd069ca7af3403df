"""Packages and files that programs are given although they lie in /tmp, which a box has to itself."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from rlvr_sandbox import Interpreter, Program, Sandbox, SandboxError

BACKENDS = ("zygote", "bwrap")
"""Those that make the tree of a box from the files of this machine."""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "told").mkdir()
    (packages / "told" / "__init__.py").write_text("from told.later import ANSWER\n")
    (packages / "told" / "later.py").write_text("ANSWER = 41\n")
    (packages / "told" / "lazily.py").write_text("ANSWER = 42\n")
    return folder / "bin" / "python"


def run(backend: str, interpreter: Interpreter, source: str) -> str:
    try:
        with Sandbox(backend, interpreter=interpreter) as sandbox:
            outcome = sandbox.run_now(Program(source=source))
    except SandboxError as error:
        if backend != "zygote":
            pytest.skip(f"{backend}: {error}")
        raise
    return outcome.stdout.decode() or outcome.message


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("preload", [(), ("told",)])
def test_packages_below_tmp_can_be_imported(backend: str, preload: tuple[str, ...], python: Path) -> None:
    interpreter = Interpreter(path=str(python), site_packages=True, preload=preload)
    assert run(backend, interpreter, "import told, told.lazily\nprint(told.ANSWER, told.lazily.ANSWER)") == "41 42\n"


def test_the_environment_names_them(monkeypatch: pytest.MonkeyPatch, python: Path) -> None:
    for name, value in (("", "zygote"), ("_PYTHON", str(python)), ("_PRELOAD", "told")):
        monkeypatch.setenv(f"RLVR_SANDBOX{name}", value)
    with Sandbox.from_environment() as sandbox:
        said = sandbox.run_now(Program(source="import sys\nprint('told' in sys.modules)\nimport told\nprint(told.ANSWER)"))
    assert said.stdout == b"True\n41\n"


def test_a_module_that_starts_threads_is_not_loaded_before(python: Path) -> None:
    (packages,) = python.parents[1].glob("lib/python*/site-packages")
    (packages / "threaded.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    )
    interpreter = Interpreter(path=str(python), site_packages=True, preload=("threaded",))
    with (
        pytest.raises(SandboxError, match="threaded, which starts threads"),
        Sandbox("zygote", interpreter=interpreter) as sandbox,
    ):
        sandbox.walls()


def test_an_interpreter_that_has_threads_from_its_start_is_refused(python: Path) -> None:
    """With nothing to preload, too: a start-up file of an installed package may have begun them."""
    (packages,) = python.parents[1].glob("lib/python*/site-packages")
    start_up = packages / "threads.pth"
    start_up.write_text("import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n")
    try:
        with (
            pytest.raises(SandboxError, match=f"{python} has threads as soon as it is started"),
            Sandbox("zygote", interpreter=Interpreter(path=str(python), site_packages=True)) as sandbox,
        ):
            sandbox.walls()
    finally:
        start_up.unlink()


def test_a_module_that_cannot_be_loaded_before_is_named_once(python: Path) -> None:
    (packages,) = python.parents[1].glob("lib/python*/site-packages")
    (packages / "broken.py").write_text("raise RuntimeError('no such\\nprocessor')\n")
    interpreter = Interpreter(path=str(python), site_packages=True, preload=("broken",))
    with pytest.raises(SandboxError) as caught, Sandbox(interpreter=interpreter) as sandbox:
        sandbox.walls()
    said = str(caught.value)
    assert re.search(r"zygote(, \w+)*: the interpreter cannot be used: `preload` names broken, which", said)
    assert f"{python} cannot import (RuntimeError: no such processor)" in said
    assert said.count("RuntimeError") == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_packages_below_tmp_are_hidden_unless_asked_for(backend: str, python: Path) -> None:
    said = run(backend, Interpreter(path=str(python)), "import os, sys\nprint(os.listdir('/tmp'), end='; ')\nimport told")
    assert said == "[]; "


@pytest.mark.parametrize("backend", BACKENDS)
def test_files_below_tmp_can_be_read_and_not_written(backend: str, tmp_path: Path) -> None:
    given = tmp_path / "given" / "words"
    given.parent.mkdir()
    given.write_text("two words")
    (tmp_path / "secret").write_text("not given")
    folder = tmp_path / "folder"
    folder.mkdir()
    source = f"""
print(open({str(given)!r}).read())
for path in ({str(given)!r}, {str(given.parent / "new")!r}, {str(tmp_path / "secret")!r}):
    try: print(open(path, "a" if "secret" not in path else "r").read())
    except OSError as error: print(type(error).__name__)
"""
    said = run(backend, Interpreter(read_only=(str(given), f"{folder}/")), source)
    assert said == "two words\nPermissionError\nPermissionError\nFileNotFoundError\n"
    assert given.read_text() == "two words"
    assert [file.name for file in given.parent.iterdir()] == ["words"]
