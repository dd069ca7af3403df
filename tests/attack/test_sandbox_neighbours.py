"""What belongs to other processes of the same user, or to the kernel, and outlives a box: none of it can be changed from inside."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlvr_sandbox import Call, Interpreter, Limits, Program, Result, Sandbox

LIMITS = Limits(wall_s=10.0, cpu_s=5.0, memory_mb=256, disk_mb=16, fsize_mb=8, files=64, processes=8)


def call(sandbox: Sandbox, source: str, *args: Any) -> Result:
    program = Program(source=source, mode="function", entry_point="f", limits=LIMITS)
    return sandbox.run_now(program, call=Call(args=args))


@pytest.fixture
def victim(sandbox: Sandbox) -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours that any process of its user could meddle with."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A file and a folder with the most generous modes there are."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "file").write_text("canary")
        (folder / "file").chmod(0o666)
        folder.chmod(0o777)
        yield folder


MEDDLING = {
    "limits its memory": "import resource\ndef f(pid): resource.prlimit(pid, resource.RLIMIT_AS, (1, 1))",
    "limits its time": "import resource\ndef f(pid): resource.prlimit(pid, resource.RLIMIT_CPU, (1, 1))",
    "stops it": "import os\ndef f(pid): os.kill(pid, 19)",
    "kills it": "import os\ndef f(pid): os.kill(pid, 9)",
    "kills its group": "import os\ndef f(pid): os.killpg(os.getpgid(pid), 9)",
    "kills it by descriptor": "import os, signal\ndef f(pid): signal.pidfd_send_signal(os.pidfd_open(pid), 9)",
    "moves it to one core": "import os\ndef f(pid): os.sched_setaffinity(pid, {0})",
    "makes it idle": "import os\ndef f(pid): os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))",
    "makes it nice": "import os\ndef f(pid): os.setpriority(os.PRIO_PROCESS, pid, 19)",
    "makes its whole user nice": "import os\ndef f(pid): os.setpriority(os.PRIO_USER, 0, 19)\n",
    "opens its memory": "def f(pid): open(f'/proc/{pid}/mem', 'r+b')",
    "makes it the first to be killed": "def f(pid): open(f'/proc/{pid}/oom_score_adj', 'w').write('1000')",
    "writes to its output": "def f(pid): open(f'/proc/{pid}/fd/1', 'w').write('x')",
}


@pytest.mark.parametrize("how", MEDDLING)
def test_a_process_beside_it_is_left_alone(sandbox: Sandbox, victim: subprocess.Popen[bytes], how: str) -> None:
    def state() -> tuple[object, ...]:
        pid = victim.pid
        bounds = [resource.prlimit(pid, name) for name in (resource.RLIMIT_AS, resource.RLIMIT_CPU)]
        status = Path(f"/proc/{pid}/stat").read_text().split()[2]
        status = "S" if status in "RD" else status  # it sleeps, but for a moment of running or of waiting for the disk
        nice = os.getpriority(os.PRIO_PROCESS, pid)
        return bounds, os.sched_getaffinity(pid), os.sched_getscheduler(pid), nice, status, victim.poll()

    before = state()
    result = call(sandbox, MEDDLING[how], victim.pid)
    assert result.status == "error" or "user" in how, result
    assert state() == before


TAMPERING = {
    "reads it": "def f(folder): return open(folder + '/file').read()",
    "appends to it": "def f(folder): open(folder + '/file', 'a').write('x')",
    "truncates it": "import os\ndef f(folder): os.truncate(folder + '/file', 0)",
    "removes it": "import os\ndef f(folder): os.remove(folder + '/file')",
    "renames it": "import os\ndef f(folder): os.rename(folder + '/file', folder + '/other')",
    "takes it along": "import os\ndef f(folder): os.rename(folder + '/file', 'file')",
    "links to it and reads": "import os\ndef f(folder):\n    os.link(folder + '/file', 'l')\n    return open('l').read()",
    "follows a link to it": "import os\ndef f(folder):\n    os.symlink(folder + '/file', 'l')\n    return open('l').read()",
    "hides it": "import os\ndef f(folder): os.chmod(folder, 0)",
    "makes it executable": "import os\ndef f(folder): os.chmod(folder + '/file', 0o777)",
    "gives it away": "import os\ndef f(folder): os.chown(folder + '/file', 4242, 4242)",
    "ages it": "import os\ndef f(folder): os.utime(folder + '/file', (1, 1))",
    "marks it": "import os\ndef f(folder): os.setxattr(folder + '/file', 'user.rlvr', b'1')",
    "lists its folder": "import os\ndef f(folder): return os.listdir(folder)",
    "adds a file": "def f(folder): open(folder + '/more', 'w')",
    "adds a folder": "import os\ndef f(folder): os.mkdir(folder + '/more')",
    "adds a pipe": "import os\ndef f(folder): os.mkfifo(folder + '/more')",
    "goes there first": "import os\ndef f(folder):\n    os.chdir(folder)\n    return open('file').read()",
    "asks for its flags": "import fcntl, os\ndef f(folder): fcntl.ioctl(os.open(folder, 0), 0x40086602, b'\\x40' + bytes(7))",
}


@pytest.mark.parametrize("how", TAMPERING)
def test_a_file_that_everybody_may_change_is_left_alone(sandbox: Sandbox, shared_folder: Path, how: str) -> None:
    def state() -> tuple[object, ...]:
        file, names = shared_folder / "file", sorted(os.listdir(shared_folder))
        status = file.stat()
        modes = (shared_folder.stat().st_mode, status.st_mode, status.st_uid, status.st_mtime_ns, status.st_nlink)
        return names, file.read_text(), modes, os.listxattr(file)

    before = state()
    result = call(sandbox, TAMPERING[how], str(shared_folder))
    assert result.value is None, result
    assert state() == before


def test_a_named_socket_of_the_host_is_out_of_reach(sandbox: Sandbox, shared_folder: Path) -> None:
    source = """
import socket
def f(path):
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
            ours.sendto(b"x", path)
        except OSError:
            pass
    return "tried"
"""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(shared_folder / "socket"))
        (shared_folder / "socket").chmod(0o777)
        listener.setblocking(False)
        assert call(sandbox, source, str(shared_folder / "socket")).value == "tried"
        with pytest.raises(BlockingIOError):
            listener.recv(10)


def test_a_service_on_loopback_is_out_of_reach(sandbox: Sandbox) -> None:
    source = "import socket\ndef f(port): socket.create_connection(('127.0.0.1', port), 2)"
    with socket.create_server(("127.0.0.1", 0)) as server:
        result = call(sandbox, source, server.getsockname()[1])
        assert (result.status, "PermissionError" in result.message) == ("error", True), result
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86-64")
def test_shared_memory_of_the_host_cannot_be_removed(sandbox: Sandbox) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    segment = libc.shmget(0, 4096, 0o1666)
    assert segment >= 0
    source = "import ctypes\ndef f(segment): return ctypes.CDLL(None).shmctl(segment, 0, None)"
    try:
        assert call(sandbox, source, segment).value == -1
    finally:
        assert libc.shmctl(segment, 0, None) == 0  # it was there still


def test_descriptors_that_the_user_has_under_way_elsewhere_stop_no_box(sandbox: Sandbox) -> None:
    """The kernel counts them for all processes of a user, and holds each that passes one to its own limit of open files."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for _ in range(3):
            socket.send_fds(ours, [b"x"], [ours.fileno()] * 200)
        assert call(sandbox, "def f(): return 1").value == 1


def test_a_box_opens_no_more_files_than_it_may(sandbox: Sandbox) -> None:
    source = """
import os, resource
def f():
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))
    except (OSError, ValueError):
        return most, len([os.dup(0) for _ in range(250)])
"""
    result = call(sandbox, source)
    assert result.value == ((256, 256), 250), result


MESSES = {
    "deep folders": "import os\ndef f():\n    for _ in range(60):\n        os.mkdir('d'); os.chdir('d')",
    "folders that nobody can enter": "import os\ndef f():\n    for n in range(9): os.mkdir(str(n), 0)",
    "folders that cannot be listed": "import os\ndef f():\n    os.mkdir('d', 0o300); open('d/file', 'w').close()",
    "links to folders": "import os\ndef f():\n    os.symlink('/', 'root'); os.symlink('.', 'self'); os.symlink('/etc', 'etc')",
    "pipes and odd names": "import os\ndef f():\n    os.mkfifo('p'); open(b'\\xff\\n', 'w').close(); open('-rf', 'w').close()",
    "files without a name": "import os\ndef f():\n    k = [open(str(n), 'wb') for n in range(9)]\n    for n in range(9): os.remove(str(n))",
}


@pytest.mark.parametrize("what", MESSES)
def test_whatever_a_box_leaves_is_gone(sandbox: Sandbox, what: str) -> None:
    for _ in range(2):
        assert call(sandbox, MESSES[what]).status == "ok"
        assert call(sandbox, "import os\ndef f(): return os.listdir('.')").value == []


def test_deleted_files_that_are_held_open_count(sandbox: Sandbox) -> None:
    source = """
import os, time
def f():
    kept = []
    try:
        for number in range(200):
            kept.append(open(str(number), "wb", buffering=0))
            os.remove(str(number))
            kept[-1].write(bytes(1 << 20))
            time.sleep(0.002)
        return "all of them"
    except OSError:
        return len(kept)
"""
    result = call(sandbox, source)
    assert result.value in range(1, 20) or result.events == ("over_disk",), result


def test_a_session_of_its_own_does_not_save_it(sandbox: Sandbox) -> None:
    source = """
import os, time
def f():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setpgid(0, 0)
            time.sleep(600)
        os._exit(0)
    time.sleep(600)
"""
    program = Program(source=source, mode="function", entry_point="f", limits=Limits(wall_s=0.3))
    with sandbox.open(program) as box:
        assert box.call().status == "timeout"
        assert box.deserted()


def test_two_boxes_of_one_user_do_not_reach_each_other(sandbox: Sandbox) -> None:
    """They live at the same time, and the second is told the pid of the first, as the machine counts."""
    waiting = Program(source="def f(): return 1", mode="function", entry_point="f", limits=LIMITS)
    reaching = """
import os
def f(pids):
    reached = []
    for pid in pids:
        try:
            os.kill(pid, 0)
            reached.append(pid)
        except OSError:
            pass
    return reached
"""
    with sandbox.open(waiting) as box:
        box.load()
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) > 300]
        assert call(sandbox, reaching, pids).value == []
        assert box.call().value == 1


DRAWING = "import random\ndef f(): return random.random()"


def test_no_two_boxes_draw_the_same(sandbox: Sandbox) -> None:
    assert len({call(sandbox, DRAWING).value for _ in range(4)}) == 4


def test_no_two_boxes_draw_the_same_from_what_was_loaded_before_them() -> None:
    with Sandbox(interpreter=Interpreter(preload=("random",))) as sandbox:
        assert len({call(sandbox, DRAWING).value for _ in range(4)}) == 4
