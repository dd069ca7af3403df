"""Attacks a freshly started backend and refuses it where an attack works. Runs at every start, in about a quarter of a second.

The probes are ordinary hostile programs. One names the walls that it got through; one for each limit has to fail or to be stopped.
What has to be judged from outside (that nothing on this machine has changed and that nothing survives) is judged here.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import cast

from rlvr_sandbox.box import Box
from rlvr_sandbox.spawner import Spawner
from rlvr_sandbox.types import Limits, Program

_PROBE = """
import ctypes, os, resource, socket

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
    attack("a file of the host can be written", lambda: open(canary, "a"))
    for folder in ("/", "/etc", "/usr/lib", "/dev", "/proc", os.path.dirname(canary), os.path.dirname(os.__file__)):
        attack("it can write to " + folder, lambda: writable(folder))
    attack("the mode of a file can be changed", lambda: os.chmod(canary, 0o777) or os.stat(canary).st_mode & 0o777 == 0o777)
    attack("the times of a file can be changed", lambda: os.utime(canary, (1, 1)) or os.stat(canary).st_mtime == 1)
    attack("it can make a TCP socket", lambda: socket.socket())
    attack("it can make a Unix socket", lambda: socket.socket(socket.AF_UNIX))
    attack("it can make a user namespace", lambda: call("unshare", 0x10000000))
    attack("it can make a mount namespace", lambda: call("unshare", 0x20000))
    attack("it can mount", lambda: call("mount", b"none", b".", b"tmpfs", 0, None))
    attack("it can unmount", lambda: call("umount2", b".", 8) or ctypes.get_errno() != 1)
    attack("it can change its root", lambda: call("chroot", b"/tmp"))
    parent = os.getppid()  # 0: not to be seen
    attack("it can signal its parent", lambda: parent != 0 and os.kill(parent, 0) is None)
    attack("it can limit its parent", lambda: parent != 0 and bool(resource.prlimit(parent, resource.RLIMIT_NOFILE)))
    attack("it can open its parent's memory", lambda: parent != 0 and bool(open(f"/proc/{parent}/mem", "rb")))
    def sent():
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.sendto(b"x", b"\\0" + secret.encode())
    attack("it can send to a socket of the host", sent)
    attack("it can trace processes", lambda: call("ptrace", 0, 0, 0, 0))
    bpf = 321 if os.uname().machine == "x86_64" else 280
    attack("it can load a BPF program", lambda: call("syscall", bpf, 0, 0, 0) or ctypes.get_errno() != 1)
    attack("it can use io_uring", lambda: call("syscall", 425, 1, 0) or ctypes.get_errno() != 1)
    attack("it has descriptors of others", lambda: any(is_open(number) for number in range(4, 256)))
    if os.path.isdir("/proc/1"):
        attack("it sees other processes", lambda: sum(name.isdigit() for name in os.listdir("/proc")) > 1)
        status = open("/proc/self/status").read()
        held = [line for line in status.splitlines() if line[:6] in ("CapInh", "CapPrm", "CapEff", "CapAmb")]
        held = [line for line in held if int(line.split()[1], 16)]
        attack("it has capabilities", lambda: bool(held))
        attack("it has no seccomp filter", lambda: "Seccomp:\\t2" not in status)
        attack("it may gain privileges", lambda: "NoNewPrivs:\\t1" not in status)
    shared = [folder + "/rlvr-left" for folder in ("/tmp", "/dev/shm", os.getcwd())]
    for path in shared:
        attack("the previous box left something in " + os.path.dirname(path), lambda: os.path.lexists(path))
    attack("memory is not limited", lambda: bytearray(1 << 30) is not None)
    def fill():
        with open("big", "wb") as file:
            for _ in range(9):
                file.write(bytes(1 << 20))
    attack("the size of files is not limited", fill)
    for path in shared:
        try:
            open(path, "w").close()
        except OSError:
            pass
    return through
"""

_BOMBS = {
    "the size of the disk is not limited": """
import time
def bomb():
    for number in range(20):
        with open(str(number), "wb") as file:
            file.write(bytes(1 << 20))
    time.sleep(1)
""",
    "the number of files is not limited": """
import time
def bomb():
    for number in range(100):
        open(str(number), "w").close()
    time.sleep(1)
""",
    "the number of processes is not limited": """
import os, time
def bomb():
    for _ in range(16):
        if os.fork() == 0:
            time.sleep(600)
    time.sleep(1)
""",
}

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
    with tempfile.TemporaryDirectory(prefix="rlvr-canary-") as folder, _listener(secret):
        canary = Path(folder) / "canary"
        canary.write_text(secret)
        os.chmod(folder, 0o755)  # noqa: S103 - as open to everybody as files of a machine commonly are
        before = canary.stat()
        found: list[str] = []
        for _ in range(2):  # the second box would find what the first has left
            with Box(spawner, Program(source=_PROBE, mode="function", entry_point="probe", limits=_LIMITS)) as box:
                outcome = box.call((str(canary), secret))
            if outcome.status != "ok":
                found.append(f"the probe ended with {outcome.status}: {outcome.message or box.stderr}")
            else:
                found += [str(name) for name in cast("list[object]", outcome.value)]
        after = canary.stat()
        if (before.st_mode, before.st_mtime_ns) != (after.st_mode, after.st_mtime_ns):
            found.append("it can change a file of the host")
    found += [name for name, source in _BOMBS.items() if not _stopped(spawner, source)]
    if _survives(spawner):
        found.append("a process outlives its box")
    return list(dict.fromkeys(found))


@contextlib.contextmanager
def _listener(name: str) -> Generator[None]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        yield


def _stopped(spawner: Spawner, source: str) -> bool:
    """By an error of its own, or from outside for the limit that it broke."""
    with Box(spawner, Program(source=source, mode="function", entry_point="bomb", limits=_LIMITS)) as box:
        outcome = box.call()
    return outcome.status == "error" and (outcome.error_type in ("OSError", "BlockingIOError") or box.stopped_for != "")


def _survives(spawner: Spawner) -> bool:
    """How late a box is stopped is no matter here: that says how busy the machine is, and nothing about the walls."""
    limits = Limits(wall_s=0.1, cpu_s=10.0, memory_mb=256, processes=8)
    with Box(spawner, Program(source=_DAEMON, mode="function", entry_point="daemon", limits=limits)) as box:
        return box.call().status != "timeout" or not box.deserted()
