"""What a box cannot reach: this machine's files, processes, network and kernel, and the boxes before and beside it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from rlvr_sandbox import Call, Limits, Program, Result, Sandbox, SandboxError
from rlvr_sandbox import sandbox as sandbox_module
from rlvr_sandbox.selftest import breaches
from rlvr_sandbox.zygote_process import ZygoteProcess

LIMITS = Limits(wall_s=10.0, cpu_s=5.0, memory_mb=256)


def call(sandbox: Sandbox, source: str, *args: Any) -> Result:
    program = Program(source=source, mode="function", entry_point="f", limits=LIMITS)
    return sandbox.run_now(program, call=Call(args=args))


def value(sandbox: Sandbox, source: str, *args: Any) -> Any:
    result = call(sandbox, source, *args)
    assert result.status == "ok", result
    return result.value


def test_the_self_test_finds_nothing(sandbox: Sandbox) -> None:
    assert sandbox._launch is not None
    zygote = ZygoteProcess(sandbox._interpreter, sandbox._launch)
    try:
        assert breaches(zygote) == []
    finally:
        zygote.close()


def test_the_self_test_finds_a_missing_wall_and_then_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_module, "breaches", lambda _: ["it can do anything"])
    with Sandbox("zygote") as one, pytest.raises(SandboxError, match="it can do anything"):
        call(one, "def f(): return 1")


def test_a_backend_without_walls_has_to_be_asked_for_by_name() -> None:
    with pytest.raises(SandboxError, match="unsafe_rlimit"):
        Sandbox("rlimit")


SYSTEM_CALLS = {  # x86-64 numbers and arguments that would work for a process with rights
    "ptrace": (101, 0, 0, 0, 0),
    "process_vm_readv": (310, 1, 0, 0, 0, 0, 0),
    "unshare user": (272, 0x10000000),
    "unshare mount": (272, 0x20000),
    "unshare pid": (272, 0x20000000),
    "unshare network": (272, 0x40000000),
    "clone with a namespace": (56, 0x10000000 | 17, 0, 0, 0, 0),
    "umount2": (166, 0, 0),
    "pivot_root": (155, 0, 0),
    "chroot": (161, 0),
    "open_tree": (428, -100, 0, 0),
    "fsopen": (430, 0, 0),
    "open_by_handle_at": (304, 0, 0, 0),
    "bpf": (321, 0, 0, 0),
    "perf_event_open": (298, 0, 0, 0, 0, 0),
    "userfaultfd": (323, 0),
    "io_uring_setup": (425, 1, 0),
    "add_key": (248, 0, 0, 0, 0, 0),
    "keyctl": (250, 0, 0, 0, 0, 0),
    "memfd_create": (319, 0, 0),
    "shmget": (29, 0, 4096, 0o1600),
    "mq_open": (240, 0, 0, 0, 0),
    "socket inet": (41, 2, 1, 0),
    "socket inet6": (41, 10, 1, 0),
    "socket unix": (41, 1, 1, 0),
    "socket netlink": (41, 16, 3, 0),
    "socket packet": (41, 17, 3, 0),
    "socket vsock": (41, 40, 1, 0),
    "kexec_load": (246, 0, 0, 0, 0),
    "init_module": (175, 0, 0, 0),
    "reboot": (169, 0, 0, 0, 0),
    "sethostname": (170, 0, 0),
    "clock_settime": (227, 0, 0),
    "personality": (135, 0x0400000),
    "quotactl": (179, 0, 0, 0, 0),
    "pidfd_getfd": (438, 0, 0, 0),
    "kcmp": (312, 1, 1, 0, 0, 0),
    "typing into a terminal": (16, 0, 0x5412, 0),
}
INVOKE = """
import ctypes
def f(number, arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_long(word) for word in arguments]
    return libc.syscall(ctypes.c_long(number), *words), ctypes.get_errno()
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86-64")
@pytest.mark.parametrize("name", SYSTEM_CALLS)
def test_a_system_call_is_refused(sandbox: Sandbox, name: str) -> None:
    number, *arguments = SYSTEM_CALLS[name]
    assert value(sandbox, INVOKE, number, arguments) == (-1, 1)  # EPERM, before the kernel looks at the arguments


MOUNTS = {
    "a tmpfs": (b"tmpfs", b"/tmp", b"tmpfs", 0),
    "a proc": (b"proc", b"/proc", b"proc", 0),
    "a bind": (b"/", b"/tmp", None, 4096),
    "the root, writable": (b"none", b"/", None, 32 | 4096),
    "the library, writable": (b"none", b"/dev", None, 32),
}


@pytest.mark.parametrize("what", MOUNTS)
def test_nothing_can_be_mounted(sandbox: Sandbox, what: str) -> None:
    source = """
import ctypes
def f(source, target, kind, flags):
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.mount(source, target, kind, ctypes.c_ulong(flags), None), ctypes.get_errno()
"""
    assert value(sandbox, source, *MOUNTS[what]) == (-1, 1)


@pytest.mark.parametrize("kind", ["mnt", "pid", "net", "user", "ipc", "uts"])
def test_no_namespace_can_be_joined(sandbox: Sandbox, kind: str) -> None:
    source = """
import ctypes, os
def f(kind):
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.setns(os.open("/proc/self/ns/" + kind, os.O_RDONLY), 0), ctypes.get_errno() in (1, 22)
"""
    assert value(sandbox, source, kind) == (-1, True)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86-64")
@pytest.mark.parametrize("number", [435, 471, 1000, 0x40000000 + 41])  # clone3, calls of the future, the x32 convention
def test_an_unknown_system_call_does_not_exist(sandbox: Sandbox, number: int) -> None:
    result = call(sandbox, INVOKE, number, [0, 0, 0])
    killed = sandbox.backend == "docker" and number > 0x40000000  # the engine has a filter of its own
    assert result.value == (-1, 38) or (killed and result.message == "died by SIGSYS"), result


READ = "def f(path):\n    with open(path, 'rb') as file: return file.read(100)"
HOST_FILES = ["/etc/shadow", "/etc/hostname", "/proc/kcore", "/proc/sysrq-trigger", "/proc/cmdline", "/proc/self/environ"]
HOST_FILES += [
    "/sys/kernel/notes",
    "/dev/mem",
    "/dev/kmsg",
    "/dev/vda",
    "/dev/tty",
    "/var/log/dpkg.log",
    "/proc/keys",
    "/proc/sys/kernel/core_pattern",
]


@pytest.mark.parametrize("path", HOST_FILES)
def test_a_file_of_the_host_is_not_there(sandbox: Sandbox, path: str) -> None:
    result = call(sandbox, READ, path)
    if path == "/proc/self/environ":
        assert result.status != "ok" or os.environb.get(b"PATH", b"?") not in result.value
    else:
        assert result.status == "error", result


@pytest.mark.parametrize("prefix", ["", "/proc/1/root", "/proc/self/root", "/proc/self/cwd/..", "/dev/../..", "/dev/shm/.."])
def test_a_secret_of_the_host_cannot_be_read(sandbox: Sandbox, tmp_path: Path, prefix: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("canary")
    tmp_path.chmod(0o755)
    secret.chmod(0o644)
    assert call(sandbox, READ, prefix + str(secret)).status == "error"


ONE_THREAD = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"}


def test_the_environment_is_empty_of_ours(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLVR_CANARY_KEY", "canary")
    with Sandbox(sandbox.backend, interpreter=sandbox._interpreter) as fresh:
        seen = value(fresh, "import os\ndef f(): return dict(os.environ)")
        first = call(fresh, "def f(): return open('/proc/1/environ').read()")
    assert set(seen) - ONE_THREAD <= {"LANG", "PATH", "HOME", "TMPDIR", "PYTHONHASHSEED", "LC_CTYPE"}
    assert all(seen[name] == "1" for name in ONE_THREAD)
    assert first.status == "error" or "canary" not in first.value


def test_packages_and_data_of_the_host_are_not_visible(sandbox: Sandbox) -> None:
    look = """
import os
def f():
    found = []
    for folder, folders, files in os.walk("/"):
        if folder.startswith("/proc"): folders[:] = []
        found += [folder + "/" + name for name in files if name.endswith((".jsonl", ".jsonl.gz", ".dist-info"))]
        if folder.endswith("-packages") and (files or folders): found.append(folder)
    return found
"""
    assert value(sandbox, look) == []
    assert call(sandbox, READ, pytest.__file__).status == "error"


@pytest.mark.parametrize("folder", ["/", "/etc", "/usr/lib", "/dev", "/proc", "/proc/self", os.path.dirname(os.__file__)])
def test_nothing_but_its_own_folder_can_be_written(sandbox: Sandbox, folder: str) -> None:
    assert call(sandbox, "def f(path): open(path + '/rlvr-owned', 'w')", folder).status == "error"
    assert not Path(folder, "rlvr-owned").exists()


def test_what_it_writes_is_not_on_this_machine(sandbox: Sandbox) -> None:
    name = f"rlvr-owned-{os.getpid()}"
    assert value(sandbox, f"import os\ndef f():\n    open('{name}', 'w').close()\n    return os.listdir('.')") == [name]
    folder = Path(tempfile.gettempdir())
    assert not [*folder.glob(name), *folder.glob(f"*/{name}"), *Path("/tmp").glob(f"*/{name}")]


KEEP = {
    "a file": ("open('left', 'w').write('x')", "__import__('os').path.exists('left')"),
    "a file where such files go": ("open('/tmp/left', 'w').write('x')", "__import__('os').path.exists('/tmp/left')"),
    "shared memory": ("open('/dev/shm/left', 'w').write('x')", "__import__('os').path.exists('/dev/shm/left')"),
    "a changed builtin": ("setattr(__import__('builtins'), 'left', 1)", "hasattr(__import__('builtins'), 'left')"),
    "a changed module": ("setattr(__import__('math'), 'left', 1)", "hasattr(__import__('math'), 'left')"),
    "an environment variable": ("__import__('os').environ.update(left='1')", "'left' in __import__('os').environ"),
    "a module in sys.modules": ("__import__('sys').modules.update(left=1)", "'left' in __import__('sys').modules"),
    "a process": ("__import__('os').fork() or __import__('time').sleep(60)", "__import__('os').path.exists('/proc/2')"),
}


@pytest.mark.parametrize("what", KEEP)
def test_a_box_leaves_nothing_to_the_next(sandbox: Sandbox, what: str) -> None:
    if what == "a process" and not sandbox.walls().namespaces:
        pytest.skip("which processes there are can be seen; that none of a box is left is a test of limits")
    leave, look = KEEP[what]
    source = (
        f"def f():\n    found = bool({look})\n    try:\n        {leave}\n    except PermissionError: pass\n    return found"
    )
    for _ in range(3):
        assert value(sandbox, source) is False


def test_two_boxes_at_once_do_not_see_each_other(sandbox: Sandbox) -> None:
    wait = """
import os, time
def f():
    open("mine", "w").close()
    time.sleep(0.5)
    return os.listdir(".")
"""
    look = """
import os, time
def f():
    time.sleep(0.2)
    try:
        return os.listdir("."), [name for name in os.listdir("/proc") if name.isdigit()]
    except PermissionError:
        return os.listdir("."), []
"""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(value(sandbox, wait)))
    thread.start()
    assert value(sandbox, look) == ([], ["1"] if sandbox.walls().namespaces else [])
    thread.join()
    assert found == [["mine"]]


def test_it_cannot_signal_its_parent_or_anybody(sandbox: Sandbox) -> None:
    source = """
import os, signal
def f(victim):
    reached = []
    for pid in (os.getppid(), victim, -victim, 2, 3):
        if pid in (0, 1): continue
        try:
            os.kill(pid, signal.SIGKILL)
            reached.append(pid)
        except OSError:
            pass
    try:
        os.kill(-1, signal.SIGKILL)
        reached.append(-1)
    except OSError:
        pass
    return os.getpid(), os.getppid(), reached
"""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as victim:
        try:
            pid, parent, reached = value(sandbox, source, victim.pid)
            assert reached in ([], [-1])  # -1 is everybody in the box but itself
            assert (pid, parent) == (1, 0) or not sandbox.walls().namespaces
            assert victim.poll() is None
        finally:
            victim.kill()
    assert value(sandbox, "def f(): return 1") == 1


def test_it_has_no_rights_and_cannot_gain_any(sandbox: Sandbox) -> None:
    source = """
import os
def f():
    status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
    refused = 0
    for action in (os.setuid, os.setgid, os.seteuid):
        try: action(0)
        except OSError: refused += 1
    caps = {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    return os.getresuid(), caps, status["NoNewPrivs"], status["Seccomp"], refused
"""
    uids, caps, *rest = value(sandbox, source)
    assert rest == ["1", "2", 3]
    assert len(set(uids)) == 1
    assert uids[0] == 1000 if sandbox.walls().namespaces else uids[0] != 0
    assert caps == {0} or (
        sandbox.backend == "landlock" and os.geteuid() != 0
    )  # its bounding set, out of which nothing comes


def test_no_user_of_this_machine_owns_its_processes(sandbox: Sandbox) -> None:
    if os.geteuid() != 0:
        pytest.skip("an ordinary user has one id to give")
    program = Program(
        source="import time\ndef f(): time.sleep(60)", mode="function", entry_point="f", limits=Limits(wall_s=0.5)
    )
    with sandbox.open(program) as box:
        box.load()
        owners = {path.stat().st_uid for path in Path("/proc").glob("[0-9]*")}
        assert any(uid >= 1_000_000_000 for uid in owners)


def test_an_abstract_socket_of_the_host_is_out_of_reach(sandbox: Sandbox) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0rlvr-canary")
        listener.listen()
        source = """
import socket
def f():
    try:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.sendto(b"x", b"\\0rlvr-canary")
    except OSError as error:
        return error.errno
"""
        assert value(sandbox, source) in (1, 13, 111)


def test_the_second_wall_stands_alone() -> None:
    """Landlock without the mount namespace: a process may not write outside its folder."""
    source = (
        "import sys, types\n"
        "from rlvr_sandbox import kernel, landlock\n"
        "if not landlock.version(): raise SystemExit(77)\n"
        "kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)\n"
        "kernel.make(landlock.restrict(landlock.version(), readable=['/'], writable=[sys.argv[1] + '/in'], free=3))\n"
        "open(sys.argv[1] + '/in/a', 'w')\n"
        "try: open(sys.argv[1] + '/out', 'w')\n"
        "except PermissionError: raise SystemExit(0)\n"
        "raise SystemExit('it could write')\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "in").mkdir()
        done = subprocess.run([sys.executable, "-c", source, folder], capture_output=True, text=True, env={**os.environ})
    if done.returncode == 77:
        pytest.skip("no Landlock in this kernel")
    assert done.returncode == 0, done.stderr


def test_an_idle_zygote_ends_with_its_controller() -> None:
    source = (
        "import os\nfrom rlvr_sandbox.zygote_process import ZygoteProcess\nfrom rlvr_sandbox.launch import Interpreter\n"
        "z = ZygoteProcess(Interpreter())\n"
        "print(z._process.pid, flush=True)\nos.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    pid = int(done.stdout)
    until = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert not Path(f"/proc/{pid}").exists()
