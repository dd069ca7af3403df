"""A control group as its files, of both versions: this machine has only one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rlvr_sandbox import cgroup
from rlvr_sandbox.cgroup import Group
from rlvr_sandbox.types import Limits

FILES = {
    2: {
        "memory.events": "low 0\noom 0\noom_kill 0\n",
        "cpu.stat": "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n",
    },
    1: {
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
        "memory.limit_in_bytes": f"{2**30}\n",
        "memory.max_usage_in_bytes": f"{2**26}\n",
        "cpuacct.usage": "2500000000\n",
    },
}


@pytest.fixture(params=[1, 2])
def folders(request: pytest.FixtureRequest, tmp_path: Path) -> list[Path]:
    version: int = request.param
    found = [tmp_path] * 2 if version == 2 else [tmp_path / name for name in ("memory", "pids", "cpuacct")]
    for folder in found:
        folder.mkdir(exist_ok=True)
    for name, text in FILES[version].items():
        (found[-1] if "cpu" in name else found[0]).joinpath(name).write_text(text)
    return found


def test_cpu_time_is_told_in_seconds(folders: list[Path]) -> None:
    group = Group(*folders)
    assert group.cpu_s() == 2.5
    group.forget()
    assert group.cpu_s() is None


def test_without_a_folder_that_counts_it_no_cpu_time_is_told(tmp_path: Path) -> None:
    for name in ("memory", "pids"):
        (tmp_path / name).mkdir()
    (tmp_path / "memory" / "memory.oom_control").write_text("oom_kill 0\n")
    group = Group(tmp_path / "memory", tmp_path / "pids")
    assert (group.version, group.cpu_s()) == (1, None)
    group.forget()


def test_limits_and_processes_are_written_to_every_folder(folders: list[Path]) -> None:
    group = Group(*folders)
    group.limit(Limits(memory_mb=100, processes=5))
    group.add(7)
    assert all((folder / "cgroup.procs").read_text() == "7" for folder in folders)
    memory = folders[0] / ("memory.max" if group.version == 2 else "memory.limit_in_bytes")
    assert (memory.read_text(), (folders[1] / "pids.max").read_text()) == (str(164 * 2**20), "7")
    group.forget()


@pytest.mark.parametrize("whose", ["box", "machine"])
def test_each_kill_for_memory_is_told_once_and_whose_memory_it_was(folders: list[Path], whose: str) -> None:
    group = Group(*folders)
    assert not group.out_of_memory()
    for kills in (2, 3):
        _count_in(folders[0], "oom_kill", kills)
        if whose == "box":
            _count_in(folders[0], "oom", kills)
        assert [group.out_of_memory(), group.out_of_memory()] == [whose, ""]
    group.forget()


def test_what_the_group_met_before_it_was_asked_does_not_count(tmp_path: Path) -> None:
    for name, text in FILES[2].items():
        (tmp_path / name).write_text(text)
    _count_in(tmp_path, "oom", 5)
    group = Group(tmp_path, tmp_path)
    _count_in(tmp_path, "oom_kill", 1)
    assert group.out_of_memory() == "machine"
    group.forget()


def _count_in(folder: Path, event: str, count: int) -> None:
    """As the kernel does; with v1 it keeps what was used at most."""
    if event == "oom" and (folder / "memory.max_usage_in_bytes").exists():
        (folder / "memory.max_usage_in_bytes").write_text(f"{2**30 - 2**17}\n")
        return
    (events,) = [file for file in folder.iterdir() if file.name in ("memory.events", "memory.oom_control")]
    events.write_text(re.sub(rf"(?m)^{event} \d+$", f"{event} {count}", events.read_text()))


OWN = {"cgroup.type": "domain\n", "cgroup.controllers": "cpu memory pids\n", "cgroup.procs": "1\n0\n"}
"""Of a container's group, with a process that is not to be seen from inside."""


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"cgroup.type": None}, id="the machine's own"),
        pytest.param({"../cgroup.procs": "1\n"}, id="one of several"),
        pytest.param({"cgroup.controllers": "cpu\n"}, id="without the controllers"),
        pytest.param({}, id="with a process from elsewhere"),
    ],
)
def test_processes_are_moved_in_a_containers_own_group_only(tmp_path: Path, other: dict[str, str | None]) -> None:
    folder = tmp_path / "groups" / "own"
    folder.mkdir(parents=True)
    for name, text in (OWN | other).items():
        if text is not None:
            (folder / name).write_text(text)
    with pytest.raises(ValueError, match=r"not a container's own group|not to be seen"):
        cgroup._step_aside(folder)
    assert (folder / cgroup._ASIDE).exists() == (not other)
