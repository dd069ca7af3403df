"""The doctor reports what is there, names what to do about what is not, and never falls ill itself."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rlvr import doctor, machine
from rlvr.doctor import CHECKS, Check, render, run_doctor
from rlvr.machine import Gpu, Memory

QUICK = ("python", "cpu", "memory", "disk", "tmpfs", "packages", "compiler", "sandbox")
GPU = Gpu("NVIDIA H200", 150 * 2**30, 149 * 2**30, "570")


def answer(returncode: int, stdout: str = "", stderr: str = "") -> Callable[..., subprocess.CompletedProcess[str]]:
    return lambda *args, **kwargs: subprocess.CompletedProcess([], returncode, stdout, stderr)


@pytest.mark.parametrize("name", QUICK)
def test_quick_checks_work_here_and_say_what_to_do(name: str) -> None:
    check = CHECKS[name]()
    assert check.name == name
    assert check.detail
    assert (check.status == "ok") == (check.action == "")
    assert "\n" not in check.detail + check.action


def test_a_hanging_verifier_is_killed_for_real() -> None:
    check = doctor.check_verifiers()
    assert check.status == "ok", check.detail
    assert "killed after 0.5 s" in check.detail


def test_a_pool_that_kills_nothing_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_hanging: str) -> tuple[str, str]:
        return "ok", "crash"

    monkeypatch.setattr(doctor, "_verify", broken)
    check = doctor.check_verifiers()
    assert check.status == "missing"
    assert "ended with 'ok', the one after it with 'crash'" in check.detail


def test_a_check_that_raises_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Check:
        raise ImportError("libcudart.so.13:\ncannot open shared object file")

    monkeypatch.setattr(doctor, "CHECKS", {"gpu": broken, "python": doctor.check_python})
    first, second = run_doctor()
    assert (first.name, first.status) == ("gpu", "missing")
    assert "ImportError: libcudart.so.13: cannot open shared object file" in first.detail
    assert second.status == "ok"


def test_little_memory_disk_and_tmpfs_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "memory", lambda: Memory(4 * 2**30, 2 * 2**30))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 99, 64 * 2**20))  # type: ignore[attr-defined]
    assert "2.0 of 4.0 GiB" in doctor.check_memory().detail
    assert [check().status for check in (doctor.check_memory, doctor.check_disk, doctor.check_tmpfs)] == ["limited"] * 3
    assert "--shm-size" in doctor.check_tmpfs().action


def test_a_cpu_without_bfloat16_is_told_to_use_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cpu_flags", lambda: frozenset({"avx2"}))
    assert "model.dtype=float32" in doctor.check_cpu().action


def test_a_gpu_without_bfloat16_is_not_sent_to_an_engine_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert "with LoRA engine.kind=hf" in doctor.check_gpu().action


def test_a_version_off_its_pin_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "gpus", list)
    assert doctor.check_pins().status == "ok"
    real = doctor.metadata.version
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "4.0.0" if name == "transformers" else real(name))
    check = doctor.check_pins()
    assert check.status == "limited"
    assert "transformers 4.0.0 (wanted ==5.19.0)" in check.detail
    assert "rlvr[cpu]" in check.action


@pytest.mark.parametrize(
    ("process", "gpus", "status", "detail"),
    [
        (answer(0, 'noise\n["0.32.0", "cpu"]\n'), [], "ok", "0.32.0 on cpu"),
        (answer(0, '["0.32.0", "cpu"]'), [GPU], "limited", "runs on the CPU although there is a GPU"),
        (answer(1, "", "Traceback\nOSError: libcudart.so\n"), [], "missing", "cannot be imported: OSError: libcudart.so"),
        (answer(-11), [], "missing", "exit code -11"),
    ],
)
def test_vllm_is_judged_by_what_its_import_does(
    monkeypatch: pytest.MonkeyPatch, process: Any, gpus: list[Gpu], status: str, detail: str
) -> None:
    monkeypatch.setattr(machine, "gpus", lambda: gpus)
    monkeypatch.setattr(doctor, "_is_installed", lambda name: True)
    monkeypatch.setattr(subprocess, "run", process)
    check = doctor.check_vllm()
    assert check.status == status
    assert detail in check.detail


def test_missing_vllm_has_a_way_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_is_installed", lambda name: False)
    assert "engine.kind=hf" in doctor.check_vllm().action


@pytest.mark.parametrize(
    ("path", "process", "status"),
    [(None, None, "missing"), ("/bin/docker", answer(1), "limited"), ("/bin/docker", answer(0, "28.1\n"), "ok")],
)
def test_docker(monkeypatch: pytest.MonkeyPatch, path: str | None, process: Any, status: str) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: path)
    monkeypatch.setattr(subprocess, "run", process)
    assert doctor.check_docker().status == status


def test_no_compiler_and_no_headers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor.sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/cc")
    assert "Python.h" in doctor.check_compiler().detail
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "engine.enforce_eager=true" in doctor.check_compiler().action


def test_report_is_plain_text_with_actions_below() -> None:
    stream = io.StringIO()
    render(
        [Check("gpu", "missing", "[red]none[/red]", "buy one"), Check("cpu", "ok", "fast")], Console(file=stream, width=100)
    )
    lines = stream.getvalue().splitlines()
    assert lines[0].split() == ["gpu", "missing", "[red]none[/red]"]
    assert lines[-1] == "gpu: buy one"
