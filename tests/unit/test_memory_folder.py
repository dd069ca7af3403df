"""What a killed run left in memory goes with the next one; what a live one holds stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlvr.memory_folder import PREFIX, MemoryFolder, remove_abandoned

HOLD = """
import sys, time
from pathlib import Path
from rlvr.memory_folder import MemoryFolder
print(MemoryFolder(0, Path("."), Path(sys.argv[1])).path, flush=True)
time.sleep(60)
"""


def aged(folder: Path) -> Path:
    long_ago = time.time() - 3600
    os.utime(folder, (long_ago, long_ago))
    return folder


def test_a_folder_outlives_its_process_until_somebody_looks(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        folder = Path(owner.stdout.readline().strip())
        (folder / "adapter").write_text("weights")
        remove_abandoned(aged(folder).parent)
        assert folder.is_dir()
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    MemoryFolder(0, tmp_path, tmp_path).close()
    assert not folder.exists()
    assert list(tmp_path.iterdir()) == []


def test_new_folders_and_other_files_are_left_alone(tmp_path: Path) -> None:
    new, other = tmp_path / f"{PREFIX}new", aged_folder(tmp_path / "other")
    new.mkdir()
    link = tmp_path / f"{PREFIX}link"
    link.symlink_to(other)
    remove_abandoned(tmp_path)
    assert new.is_dir()
    assert other.is_dir()
    assert link.is_symlink()


def aged_folder(folder: Path) -> Path:
    folder.mkdir()
    return aged(folder)


@pytest.mark.parametrize("size", [0, 2**60])
def test_it_lies_in_memory_where_there_is_room(tmp_path: Path, size: int) -> None:
    shared, otherwise = tmp_path / "shared", tmp_path / "runs"
    shared.mkdir()
    otherwise.mkdir()
    folder = MemoryFolder(size, otherwise, shared)
    assert folder.path.parent == (otherwise if size else shared)
    folder.close()
    folder.close()
    assert not folder.path.exists()
