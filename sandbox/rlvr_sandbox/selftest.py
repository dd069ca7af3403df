"""Attacks a freshly started backend and refuses it where an attack works. Runs at every start, in about a tenth of a second.

The probes are ordinary hostile programs. Each names the walls that it got through; what has to be judged from outside (that
time limits hold and that nothing survives) is judged here.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import cast

from rlvr_sandbox.box import Box, Spawner
from rlvr_sandbox.types import Limits, Program

_PROBE = """
import ctypes, os, socket, time

def probe(canary, secret):
    through = []
    def attack(name, action):
        try:
            if action() is not False:
                through.append(name)
        except (OSError, MemoryError, KeyError, ValueError):
            pass
    libc = ctypes.CDLL(None, use_errno=True)
    def call(name, *arguments):
        return getattr(libc, name)(*arguments) >= 0
    def readable(path):
        with open(path, "rb") as file:
            return secret.encode() in file.read(1 << 20)
    def is_open(number):
        try:
            return bool(os.fstat(number))
        except OSError:
            return False
    def writable(folder):
        with open(folder + "/rlvr-probe", "x"):
            os.unlink(folder + "/rlvr-probe")
    attack("it runs as root", lambda: 0 in (os.getresuid() + os.getresgid()))
    attack("it can become root", lambda: os.setuid(0) is None)
    attack("a file of the host can be read", lambda: readable(canary))
    attack("a file of the host can be read through /proc", lambda: readable("/proc/1/root" + canary))
    attack("the host's environment is visible", lambda: any(secret in text for text in os.environ.values()))
    attack("the host's environment is visible through /proc", lambda: readable("/proc/1/environ"))
    for folder in ("/", "/etc", "/usr/lib", "/dev", "/proc", os.path.dirname(os.__file__)):
        attack("it can write to " + folder, lambda: writable(folder))
    attack("it can make a TCP socket", lambda: socket.socket())
    attack("it can make a Unix socket", lambda: socket.socket(socket.AF_UNIX))
    attack("it can make a user namespace", lambda: call("unshare", 0x10000000))
    attack("it can make a mount namespace", lambda: call("unshare", 0x20000))
    attack("it can mount", lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None))
    attack("it can unmount", lambda: call("umount2", b"/proc", 2))
    attack("it can change its root", lambda: call("chroot", b"/tmp"))
    attack("it can trace processes", lambda: call("ptrace", 0, 0, 0, 0))
    bpf = 321 if os.uname().machine == "x86_64" else 280
    attack("it can load a BPF program", lambda: call("syscall", bpf, 0, 0, 0) or ctypes.get_errno() != 1)
    attack("it can use io_uring", lambda: call("syscall", 425, 1, 0) or ctypes.get_errno() != 1)
    attack("it has descriptors of others", lambda: any(is_open(number) for number in range(4, 256)))
    if os.path.isdir("/proc/1"):
        attack("it sees other processes", lambda: sum(name.isdigit() for name in os.listdir("/proc")) > 1)
        status = open("/proc/self/status").read()
        held = [line for line in status.splitlines() if line.startswith("Cap") and int(line.split()[1], 16)]
        attack("it has capabilities", lambda: bool(held))
        attack("it has no seccomp filter", lambda: "Seccomp:\\t2" not in status)
        attack("it may gain privileges", lambda: "NoNewPrivs:\\t1" not in status)
    attack("the previous box left something", lambda: bool(os.listdir("/tmp")))
    attack("memory is not limited", lambda: bytearray(1 << 30) is not None)
    def fill():
        with open("/tmp/big", "wb") as file:
            for _ in range(9):
                file.write(bytes(1 << 20))
    attack("the size of files is not limited", fill)
    def spread():
        for number in range(20):
            with open(f"/tmp/{number}", "wb") as file:
                file.write(bytes(1 << 20))
    attack("the size of the disk is not limited", spread)
    def forks():
        for _ in range(16):
            if os.fork() == 0:
                time.sleep(600)
    attack("the number of processes is not limited", forks)
    return through
"""

_DAEMON = """
import os, signal, time
def daemon():
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
    time.sleep(600)
"""

_LIMITS = Limits(wall_s=60.0, cpu_s=10.0, memory_mb=256, disk_mb=16, fsize_mb=8, files=64, processes=8)


def breaches(spawner: Spawner) -> list[str]:
    """What a program can do that it should not; empty where the walls hold. Raises SandboxError where no box can be made."""
    secret = os.urandom(8).hex()
    with tempfile.TemporaryDirectory(prefix="rlvr-canary-") as folder:
        canary = Path(folder) / "canary"
        canary.write_text(secret)
        found: list[str] = []
        for _ in range(2):  # the second box would find what the first has left
            with Box(spawner, Program(source=_PROBE, mode="function", entry_point="probe", limits=_LIMITS)) as box:
                outcome = box.call((str(canary), secret))
            if outcome.status != "ok":
                found.append(f"the probe ended with {outcome.status}: {outcome.message or box.stderr}")
            else:
                found += [str(name) for name in cast("list[object]", outcome.value)]
    if _survives(spawner):
        found.append("a process outlives its box")
    return list(dict.fromkeys(found))


def _survives(spawner: Spawner) -> bool:
    """How late a box is stopped is no matter here: that says how busy the machine is, and nothing about the walls."""
    limits = Limits(wall_s=0.1, cpu_s=10.0, memory_mb=256, processes=8)
    with Box(spawner, Program(source=_DAEMON, mode="function", entry_point="daemon", limits=limits)) as box:
        return box.call().status != "timeout" or not box.deserted()
