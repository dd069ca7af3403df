"""A score can be traced to what made it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from rlvr.errors import RlvrError
from rlvr.manifest import build_manifest, fingerprint, folder_commit, source_commit
from rlvr.redaction import REDACTED, Redactor


def checkout(folder: Path) -> Path:
    folder.mkdir()
    (folder / "tracked.py").write_text("x = 1\n")
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "tracked.py"], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    return folder


def test_manifest_holds_what_decides_a_run_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("RLVR_SANDBOX")]:
        monkeypatch.delenv(name)
    for name, value in (("PYTHON", "/opt/s3cr3t-value/python"), ("PRELOAD", "numpy"), ("TOKEN", "another one")):
        monkeypatch.setenv(f"RLVR_SANDBOX_{name}", value)
    redactor = Redactor({"HF_TOKEN": "s3cr3t-value"})
    manifest = build_manifest(
        hashes={"model": "sha256:00"},
        verifiers={"math": "1"},
        redactor=redactor,
        argv=["rlvr", "train", "--token", "abc", "s3cr3t-value"],
    )
    assert manifest["command"] == ["rlvr", "train", "--token", REDACTED, REDACTED]
    assert {"python", "rlvr", "torch", "transformers", "peft"} <= manifest["versions"].keys()
    assert (manifest["hashes"], manifest["verifiers"]) == ({"model": "sha256:00"}, {"math": "1"})
    assert manifest["machine"]["cores"] >= 1
    assert manifest["sandbox"] == {"python": f"/opt/{REDACTED}/python", "preload": "numpy"}
    assert json.loads(json.dumps(manifest)) == manifest


def test_commit_and_dirty_flag(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "repo")
    clean = source_commit(folder / "tracked.py")
    assert clean is not None
    assert (len(clean["commit"]), clean["dirty"]) == (40, False)
    (folder / "tracked.py").write_text("x = 2\n")
    assert folder_commit(folder) == {"commit": clean["commit"], "dirty": True}


def test_an_installed_copy_inside_a_foreign_checkout_has_no_commit(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "repo")
    (folder / "installed.py").write_text("")
    assert source_commit(folder / "installed.py") is None
    assert source_commit(tmp_path / "nowhere.py") is None


def test_fingerprint_sees_contents_and_names(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "weights.bin").write_bytes(b"1234")
    same = fingerprint(tmp_path / "a")
    assert same == fingerprint(tmp_path / "b")
    (tmp_path / "b" / "sub" / "weights.bin").rename(tmp_path / "b" / "sub" / "other.bin")
    assert fingerprint(tmp_path / "b") != same
    (tmp_path / "a" / "sub" / "weights.bin").write_bytes(b"1235")
    assert fingerprint(tmp_path / "a") != same
    with pytest.raises(RlvrError, match="no such file or folder"):
        fingerprint(tmp_path / "c")
