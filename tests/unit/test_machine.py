"""Limits of a container are believed before the machine's own numbers."""

from __future__ import annotations

import os
from pathlib import Path

from rlvr.machine import Memory, cpu_flags, cpu_name, memory, parse_gpu, usable_cores

GIB = 2**30
MEMINFO = "MemTotal:       67108864 kB\nMemFree:        1000 kB\nMemAvailable:   33554432 kB\nHugePages_Total:       0\n"


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in {"proc/meminfo": MEMINFO, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_without_control_groups_the_machine_is_the_limit(tmp_path: Path) -> None:
    assert memory(machine(tmp_path, {})) == Memory(64 * GIB, 32 * GIB)


def test_cgroup_v2_limits_memory_and_cores(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/system.slice/job"
    root = machine(
        tmp_path,
        {
            "proc/self/cgroup": "0::/system.slice/job\n",
            f"{group}/memory.max": str(8 * GIB),
            f"{group}/memory.current": str(5 * GIB),
            f"{group}/memory.stat": f"anon 1\ninactive_file {2 * GIB}\n",
            f"{group}/cpu.max": "50000 100000\n",
        },
    )
    assert memory(root) == Memory(8 * GIB, 5 * GIB)
    assert usable_cores(root) == 1


def test_a_parent_group_binds_too_and_the_hosts_path_may_be_missing(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        {
            "proc/self/cgroup": "0::/../../elsewhere\n4:memory:/docker/abc\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": str(4 * GIB),
            "sys/fs/cgroup/memory/memory.usage_in_bytes": str(GIB),
        },
    )
    assert memory(root) == Memory(4 * GIB, 3 * GIB)


def test_no_limit_is_written_as_max_or_as_a_huge_number(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/\n3:cpu,cpuacct:/\n0::/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "1",
            "sys/fs/cgroup/memory.max": "max\n",
            "sys/fs/cgroup/memory.current": "1",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/cpu.max": "max 100000",
        },
    )
    assert memory(root) == Memory(64 * GIB, 32 * GIB)
    assert usable_cores(root) == len(os.sched_getaffinity(0))


def test_cpu_is_named_with_its_instruction_sets(tmp_path: Path) -> None:
    root = machine(
        tmp_path, {"proc/cpuinfo": "processor : 0\nmodel name : Fast 1\nflags : fpu avx512_bf16\n\nprocessor : 1\n"}
    )
    assert (cpu_name(root), cpu_flags(root)) == ("Fast 1", {"fpu", "avx512_bf16"})


def test_this_machine_has_cores_and_memory() -> None:
    here = memory()
    assert 0 < here.available_bytes <= here.total_bytes
    assert usable_cores() >= 1


def test_gpu_line_of_nvidia_smi() -> None:
    gpu = parse_gpu("NVIDIA H200, 143771, 143000, 570.86.10")
    assert gpu is not None
    assert (gpu.name, gpu.total_bytes) == ("NVIDIA H200", 143771 * 2**20)
    assert parse_gpu("Failed to initialize NVML: Driver/library version mismatch") is None
