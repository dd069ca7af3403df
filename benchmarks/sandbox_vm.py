"""The attack tests of the sandbox on other kernels, processors and arrangements of control groups, in a virtual machine.

    python benchmarks/sandbox_vm.py [--machine aarch64] [--suite trixie] [--scene user] [--tests tests/attack/test_sandbox_walls.py ...]

The machine is emulated (qemu, no KVM needed), and has a Debian kernel, that suite's Python, and the tests, all in memory; it has no
network and no disk. `--scene` is who runs the tests and in which control group (version 2):

    root        root, in the machine's own group
    session     root, in a group below one that has controllers, as after a login with systemd
    user        an ordinary user to whom such a group is delegated, as a terminal's in a systemd session
    shell       an ordinary user to whom nothing is delegated, as after a login by ssh
    container   root in a cgroup namespace of its own, as in a privileged container

Needs qemu-system-x86 or qemu-system-arm, mmdebstrap and cpio. Emulation is far slower than the machine it runs on.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEBIAN = {"x86_64": "amd64", "aarch64": "arm64"}
QEMU = {
    "x86_64": ["qemu-system-x86_64", "-machine", "q35", "-cpu", "max"],
    "aarch64": ["qemu-system-aarch64", "-machine", "virt", "-cpu", "max,pauth-impdef=on"],
}
CONSOLE = {"x86_64": "ttyS0", "aarch64": "ttyAMA0"}
PURE = ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments", "py.py", "pytest_timeout.py")
"""What the tests need of our own environment; it has no compiled parts."""
PACKAGES = ("python3", "busybox-static", "bubblewrap", "libpython3-stdlib")
SETTINGS = (
    "[pytest]\naddopts = -ra --import-mode=importlib -p no:cacheprovider -p pytest_timeout\npythonpath = .\ntimeout = 3000\n"
)
GROUPS = Path("/sys/fs/cgroup")
USER = 1000
NEWNS, NEWCGROUP, MS_REC, MS_PRIVATE, MNT_DETACH = 0x20000, 0x2000000, 1 << 14, 1 << 18, 2

# The root file system of a machine that has just started cannot be left by pivot_root, so everything moves to another one.
INIT = """#!/bin/busybox sh
export PATH=/usr/bin:/bin:/usr/sbin:/sbin:/box
if [ ! -e /moved ]; then
    /bin/busybox mkdir -p /box /new; /bin/busybox --install -s /box
    mount -t tmpfs -o size=3g,mode=755 root /new
    for entry in /*; do [ "$entry" = /new ] || cp -a "$entry" /new/; done
    mkdir -p /new/proc /new/sys /new/dev /new/tmp /new/mnt /new/root; touch /new/moved
    exec switch_root /new /init
fi
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t cgroup2 cgroup /sys/fs/cgroup
for folder in /tmp /dev/shm; do mkdir -p $folder; mount -t tmpfs tmpfs $folder; chmod 1777 $folder; done
ln -s /proc/self/fd/0 /dev/stdin; ln -s /proc/self/fd/1 /dev/stdout; ln -s /proc/self/fd/2 /dev/stderr
ln -s /proc/self/fd /dev/fd
ip link set lo up
echo 'root:x:0:0::/root:/bin/sh
user:x:1000:1000::/tmp:/bin/sh' > /etc/passwd
cd /project
export PYTHONPATH=$PWD:$PWD/site:$PWD/sandbox:$PWD/verifiers PYTHONDONTWRITEBYTECODE=1
python3 benchmarks/sandbox_vm.py --inside orders.json
echo "ended with status $?"
poweroff -f
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machine", choices=list(DEBIAN), default="x86_64")
    parser.add_argument("--suite", default="bookworm", help="of Debian: its kernel and its Python")
    parser.add_argument("--scene", choices=list(SCENES), default="session")
    parser.add_argument(
        "--tests", nargs="+", default=["tests/attack/test_sandbox_walls.py"], help="and other words for pytest"
    )
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options, more = parser.parse_known_args()
    tests: list[str] = [*options.tests, *more]
    if options.inside:
        sys.exit(inside(**json.loads(Path(options.inside).read_text())))
    needed = (QEMU[options.machine][0], "mmdebstrap", "cpio")
    if missing := [tool for tool in needed if not shutil.which(tool)]:
        sys.exit(
            f"{', '.join(missing)} is missing; Debian and Ubuntu: apt-get install qemu-system-x86 qemu-system-arm mmdebstrap cpio"
        )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kernel = prepare(folder / "root", options.machine, options.suite, options.scene, tests)
        image = folder / "image"
        with image.open("wb") as file:
            archive = "find . -print0 | cpio --null -o -H newc --quiet"
            subprocess.run(["/bin/sh", "-c", archive], cwd=folder / "root", stdout=file, check=True)
        sys.exit(boot(options.machine, kernel, image))


def prepare(root: Path, machine: str, suite: str, scene: str, tests: list[str]) -> Path:
    """Makes the file tree of the machine; returns its kernel, which is outside the tree."""
    packages = ",".join((*PACKAGES, f"linux-image-cloud-{DEBIAN[machine]}"))
    made = root.with_suffix(".tar")
    command = ["mmdebstrap", "--quiet", f"--architectures={DEBIAN[machine]}", "--variant=extract", f"--include={packages}"]
    subprocess.run([*command, '--aptopt=APT::Install-Recommends "false"', suite, str(made)], check=True)
    root.mkdir()
    left_out = [f"--exclude=./usr/{part}" for part in ("share/doc", "share/man", "share/locale", "lib/modules")]
    subprocess.run(
        ["tar", "-xf", str(made), "-C", str(root), "--exclude=./dev/*", "--exclude=./lib/modules", *left_out], check=True
    )
    made.unlink()
    for name in ("bin", "sbin", "lib", "lib64"):
        if not (root / name).exists() and (root / "usr" / name).exists():
            (root / name).symlink_to(f"usr/{name}")
    (vmlinuz,) = (root / "boot").glob("vmlinuz*")
    kernel = root.with_suffix(".kernel")
    shutil.move(vmlinuz, kernel)
    shutil.rmtree(root / "boot")
    project = root / "project"
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "sandbox", "verifiers", "tests", "benchmarks"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    for file in files:
        (project / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, project / file)
    site = Path(sys.prefix, "lib", f"python{sys.version_info[0]}.{sys.version_info[1]}", "site-packages")
    for name in PURE:
        copy = shutil.copytree if (site / name).is_dir() else shutil.copy
        (project / "site").mkdir(exist_ok=True)
        copy(site / name, project / "site" / name)
    (project / "pytest.ini").write_text(SETTINGS)
    (project / "orders.json").write_text(json.dumps({"scene": scene, "tests": tests}))
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    return kernel


def boot(machine: str, kernel: Path, image: Path) -> int:
    """Shows what the machine prints; the exit status that it printed last."""
    command = [
        *QEMU[machine],
        "-accel",
        "tcg,thread=multi",
        "-smp",
        "2",
        "-m",
        "4G",
        "-nographic",
        "-no-reboot",
        "-nic",
        "none",
    ]
    command += ["-kernel", str(kernel), "-initrd", str(image), "-append", f"console={CONSOLE[machine]} panic=-1 quiet"]
    status = 1
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace") as running:
        for line in running.stdout or ():
            print(line, end="", flush=True)
            if line.startswith("ended with status "):
                status = int(line.split()[-1])
    return status


# -- inside the machine -----------------------------------------------------------------------------------------------------


def inside(scene: str, tests: list[str]) -> int:
    os.setsid()  # or processes belong to a group that has no number
    user = SCENES[scene]()
    if user:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        os.environ["HOME"] = "/tmp"
    group = Path("/proc/self/cgroup").read_text().strip()
    print(
        f"{platform.uname().release} {platform.machine()}, Python {platform.python_version()}, uid {os.getuid()}, {group}",
        flush=True,
    )
    show = "from rlvr_sandbox.sandbox import probe\nfor report in probe(): print(report.name, report.works, report.detail)"
    subprocess.run([sys.executable, "-c", show], check=True)
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-c",
            "pytest.ini",
            "--color=no",
            "--rootdir=.",
            "--confcutdir=tests/attack",
            *tests,
        ]
    ).returncode


def _root() -> int:
    return 0


def _session() -> int:
    _enter(_delegate(GROUPS, "slice") / "session.scope")
    return 0


def _shell() -> int:
    _session()
    return USER


def _user() -> int:
    terminal = _delegate(_delegate(GROUPS, "slice"), "manager") / "terminal.scope"
    _enter(terminal)
    for folder in (terminal.parent, terminal):
        for entry in (folder, *(folder / name for name in ("cgroup.procs", "cgroup.threads", "cgroup.subtree_control"))):
            os.chown(entry, USER, USER)
    return USER


def _container() -> int:
    _enter(_delegate(GROUPS, "slice") / "container")
    libc = ctypes.CDLL(None, use_errno=True)
    for result in (
        libc.unshare(NEWCGROUP | NEWNS),
        libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None),
        libc.umount2(bytes(GROUPS), MNT_DETACH),
        libc.mount(b"cgroup2", bytes(GROUPS), b"cgroup2", 0, None),
    ):
        if result:
            raise OSError(ctypes.get_errno(), "a container's view of control groups cannot be made")
    return 0


SCENES: dict[str, Callable[[], int]] = {
    "root": _root,
    "session": _session,
    "user": _user,
    "shell": _shell,
    "container": _container,
}
"""Each moves this process to where the tests are to run, and returns the uid that is to run them."""


def _delegate(above: Path, name: str) -> Path:
    """A new group whose own groups can be limited."""
    (above / "cgroup.subtree_control").write_text("+memory +pids")
    folder = above / name
    folder.mkdir()
    (folder / "cgroup.subtree_control").write_text("+memory +pids")
    return folder


def _enter(folder: Path) -> None:
    folder.mkdir()
    (folder / "cgroup.procs").write_text(str(os.getpid()))


if __name__ == "__main__":
    main()
