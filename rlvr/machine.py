"""What this machine offers: cores, memory, GPUs. Reads /proc, the control group and nvidia-smi; imports nothing heavy.

Inside a container the machine's own numbers are wrong: the control group's limits are what the kernel enforces, so the smaller
of the two is reported.
"""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
import subprocess
from pathlib import Path

NVIDIA_SMI_TIMEOUT_S = 20.0
UNLIMITED_ABOVE = 2**60  # cgroup v1 writes "no limit" as a number near 2^63


@dataclasses.dataclass(frozen=True, slots=True)
class Gpu:
    name: str
    total_bytes: int
    free_bytes: int
    driver: str


@dataclasses.dataclass(frozen=True, slots=True)
class Memory:
    """Main memory of this process' control group, or of the machine where that is smaller."""

    total_bytes: int
    available_bytes: int


def cpu_name(root: Path = Path("/")) -> str:
    """Model name of the first core."""
    return _cpuinfo(root).get("model name", "unknown")


def cpu_flags(root: Path = Path("/")) -> frozenset[str]:
    """Instruction sets, for example avx512_bf16 and amx_bf16 (x86) or bf16 (Arm)."""
    info = _cpuinfo(root)
    return frozenset((info.get("flags") or info.get("Features") or "").split())


def usable_cores(root: Path = Path("/")) -> int:
    """Cores this process may run on: its affinity, cut to the control group's quota."""
    quota = min(
        (share for folder in _group_folders(root, "cpu") if (share := _cpu_quota(folder)) is not None), default=math.inf
    )
    return max(1, min(len(os.sched_getaffinity(0)), math.ceil(quota) if quota != math.inf else 2**20))


def memory(root: Path = Path("/")) -> Memory:
    """Total and available bytes; page cache that the kernel would give back counts as available."""
    lines = (root / "proc/meminfo").read_text().splitlines()
    meminfo = {key: int(rest.split()[0]) * 1024 for key, _, rest in (line.partition(":") for line in lines) if rest.split()}
    total, available = meminfo["MemTotal"], meminfo["MemAvailable"]
    for folder in _group_folders(root, "memory"):
        limit = _read_number(folder, "memory.max", "memory.limit_in_bytes")
        used = _read_number(folder, "memory.current", "memory.usage_in_bytes")
        if limit is None or used is None or limit >= UNLIMITED_ABOVE:
            continue
        total = min(total, limit)
        available = min(available, limit - used + _droppable_cache(folder))
    return Memory(total, max(0, available))


def gpus() -> list[Gpu]:
    """NVIDIA GPUs as the driver sees them; empty without a driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=name,memory.total,memory.free,driver_version", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=NVIDIA_SMI_TIMEOUT_S, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):  # the tool is there but the driver is not
        return []
    return [gpu for line in answer.stdout.splitlines() if (gpu := parse_gpu(line)) is not None]


def parse_gpu(line: str) -> Gpu | None:
    """One line of nvidia-smi's csv: name, total MiB, free MiB, driver."""
    fields = [field.strip() for field in line.split(",")]
    if len(fields) != 4 or not fields[1].isdecimal() or not fields[2].isdecimal():
        return None
    return Gpu(fields[0], int(fields[1]) * 2**20, int(fields[2]) * 2**20, fields[3])


def _cpuinfo(root: Path) -> dict[str, str]:
    """The first processor's block of /proc/cpuinfo."""
    try:
        first = (root / "proc/cpuinfo").read_text().split("\n\n", 1)[0]
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}


def _group_folders(root: Path, controller: str) -> list[Path]:
    """Folders of the control groups that bind this process, v2 and v1, own group first.

    Inside a container the path in /proc/self/cgroup is often the host's and does not exist here; the mount's root is then ours.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    folders: list[Path] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / controller if controllers else root / "sys/fs/cgroup"
        own = mount / path.lstrip("/")
        folders += [folder for folder in (own, *own.parents) if folder == mount or mount in folder.parents]
    return [folder for folder in folders if folder.is_dir()]


def _cpu_quota(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except OSError:
        pass
    quota_us, period_us = _read_number(folder, "cpu.cfs_quota_us"), _read_number(folder, "cpu.cfs_period_us")
    return quota_us / period_us if quota_us and period_us and quota_us > 0 else None


def _read_number(folder: Path, *names: str) -> int | None:
    """The number in the first of these files that exists; None for none, or for the word `max`."""
    for name in names:
        try:
            text = (folder / name).read_text().strip()
        except OSError:
            continue
        return None if text == "max" else int(text)
    return None


def _droppable_cache(folder: Path) -> int:
    try:
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    stat = dict(line.split(" ", 1) for line in lines)
    return int(stat.get("total_inactive_file", stat.get("inactive_file", "0")))
