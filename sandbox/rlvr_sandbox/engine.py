"""The zygote inside a container of a Docker engine, started once and used for thousands of programs. Needs the `docker` package.

The container is read-only, has no network, no capability, no way to gain one, a uid that nobody else has, and bounds on memory and
processes. Zygote and controller talk through a Unix socket in a folder that is mounted into it, so descriptors pass as they do
elsewhere, and the engine has nothing to do for a box.

Inside, boxes are made as on any machine: in namespaces of their own, where the engine's policy lets the container make a user
namespace; else as processes behind seccomp and Landlock, one at a time, whose files are removed after each program.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import socket
import struct
import tempfile
from pathlib import Path
from typing import Any

from rlvr_sandbox import cgroup
from rlvr_sandbox.errors import SandboxError
from rlvr_sandbox.launch import ENVIRONMENT, FLAGS, PACKAGE, Interpreter, Launched, Making, fresh_uid
from rlvr_sandbox.seccomp import DENIED
from rlvr_sandbox.spawner import OutOfMemory
from rlvr_sandbox.types import Limits

_INSIDE = "/rlvr"
_BOOT = (
    "import _socket, sys, types; package = types.ModuleType('rlvr_sandbox'); package.__path__ = [sys.argv[1] + '/rlvr_sandbox'];"
    " sys.modules['rlvr_sandbox'] = package; from rlvr_sandbox import flat, zygote;"
    " channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET); channel.connect(sys.argv[1] + '/zygote');"
    " zygote.main(channel.detach())"
)
_START_S = 60.0
_ZYGOTE_MB = 64
_PROCESSES = 4096
"""Of the container; those of a box are limited by its uid."""
_OF_ZYGOTE = {"socket", "connect", "umount2", "pivot_root", "mount_setattr", "sethostname"}
"""Calls that no box may make and the zygote needs before it installs its own filter."""
_SERVES = 5000
"""Programs, after which a fresh container takes the place of an old one."""


def start_docker(interpreter: Interpreter) -> Launched:
    """With namespaces for each box."""
    return _start(interpreter, "namespaces")


def start_docker_flat(interpreter: Interpreter) -> Launched:
    """For engines that let a container make no user namespace."""
    return _start(interpreter, "landlock")


def _start(interpreter: Interpreter, making: Making) -> Launched:
    """Raises SandboxError where there is no package, no engine or no image, or where the engine refuses the container."""
    docker = _sdk()
    uid = fresh_uid()
    folder = Path(tempfile.mkdtemp(prefix="rlvr-docker-"))
    client: Any = None
    container = None
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            _furnish(folder, listener)
            client = _client(docker)
            made = client.create_container(**_description(client, interpreter, folder, uid))
            container = Container(client, made["Id"], docker.errors.DockerException)
            client.start(container.id)
            channel = _accept(listener, container, uid)
        group = EngineGroup(client, container.id, docker.errors.DockerException)
    except docker.errors.ImageNotFound as error:
        raise SandboxError(
            f"the engine has no image {interpreter.image}: make sandbox-image, or see sandbox/README.md"
        ) from error
    except (docker.errors.DockerException, OSError) as error:
        if container is not None:
            container.stop()
        elif client is not None:
            client.close()
        raise SandboxError(f"no container can be started: {' '.join(str(error).split())[:300]}") from error
    except BaseException:
        if container is not None:
            container.stop()
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # everything has been loaded
    return Launched(
        channel=channel,
        process=container,
        making=making,
        host_uid=uid,
        group=group,
        inside=f"a container of {interpreter.image}",
        serves=_SERVES,
    )


def _client(docker: Any) -> Any:
    """Raises SandboxError where nothing answers."""
    settings = docker.utils.kwargs_from_env()
    address: str = settings.get("base_url") or docker.constants.DEFAULT_UNIX_SOCKET
    try:
        if "unix://" in address:  # asked before the SDK is, which would leave a socket open
            with socket.socket(socket.AF_UNIX) as knock:
                knock.connect(address.removeprefix("http+").removeprefix("unix://"))
        return docker.APIClient(version="auto", **settings)
    except (docker.errors.DockerException, OSError) as error:
        why = " ".join(str(error).split())[:300]
        raise SandboxError(f"no engine answers at {address} ({why}); start dockerd, or set DOCKER_HOST") from error


def _sdk() -> Any:
    try:
        return importlib.import_module("docker")
    except ImportError as error:
        raise SandboxError("the docker package is not installed: pip install 'rlvr[docker]'") from error


def _furnish(folder: Path, listener: socket.socket) -> None:
    """What the container sees of this machine: the socket and our source, where it may enter but not list."""
    (folder / "rlvr_sandbox").mkdir()
    for file in PACKAGE.glob("*.py"):
        shutil.copyfile(file, folder / "rlvr_sandbox" / file.name)
        (folder / "rlvr_sandbox" / file.name).chmod(0o644)
    listener.bind(str(folder / "zygote"))
    listener.listen(1)
    listener.settimeout(0.2)
    (folder / "zygote").chmod(0o666)  # who has connected is asked of the kernel
    (folder / "rlvr_sandbox").chmod(0o755)
    folder.chmod(0o711)


def _description(client: Any, interpreter: Interpreter, folder: Path, uid: int) -> dict[str, Any]:
    memory = (Limits().memory_mb + _ZYGOTE_MB) * 2**20
    refused = sorted(set(DENIED) - _OF_ZYGOTE)
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": refused, "action": "SCMP_ACT_ERRNO"}],
    }
    binds = [f"{folder}:{_INSIDE}:ro", *(f"{os.path.realpath(path)}:{path}:ro" for path in interpreter.read_only)]
    host = client.create_host_config(
        auto_remove=True,
        binds=binds,
        cap_drop=["ALL"],
        ipc_mode="private",
        mem_limit=memory,
        memswap_limit=memory,
        network_mode="none",
        pids_limit=_PROCESSES,
        read_only=True,
        security_opt=["no-new-privileges", f"seccomp={json.dumps(profile)}"],
        tmpfs={"/tmp": f"size={Limits().disk_mb}m,mode=700,uid={uid},gid={uid}"},  # noqa: S108 - of the container
        log_config={"Type": "none"},
    )
    # A box mounts a /proc of its own, with its own processes only; the kernel allows that where a whole one is in sight.
    host.update(MaskedPaths=[], ReadonlyPaths=[])
    flags = [*FLAGS, *([] if interpreter.site_packages else ["-S"])]
    return {
        "image": interpreter.image,
        "command": ["python3", *flags, "-c", _BOOT, _INSIDE],
        "entrypoint": [],
        "user": f"{uid}:{uid}",
        "hostname": "box",
        "environment": ENVIRONMENT,
        "working_dir": "/",
        "labels": {"rlvr.sandbox": str(os.getpid())},
        "host_config": host,
    }


def _accept(listener: socket.socket, container: Container, uid: int) -> socket.socket:
    """The zygote's end. Raises OSError where it does not come."""
    for _ in range(int(_START_S / 0.2)):
        with contextlib.suppress(TimeoutError):
            channel, _ = listener.accept()
            _, owner, _ = struct.unpack("3i", channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            if owner == uid:
                return channel
            channel.close()
        if not container.running():
            break
    raise OSError(f"the zygote in it gave no sign: {container.complaint() or 'without a word'}")


class Container:
    """One container; its standard error is kept in reach, since the engine forgets a container that has ended."""

    def __init__(self, client: Any, name: str, error: type[Exception]) -> None:
        self.id = name
        self._client, self._error = client, error
        self._errors: Any = client.attach_socket(name, params={"stderr": 1, "stream": 1})
        self._line: socket.socket = getattr(
            self._errors, "_sock", self._errors
        )  # the SDK gives a file that does not close it

    def running(self) -> bool:
        if self._client is None:
            return False
        try:
            return bool(self._client.inspect_container(self.id)["State"]["Running"])
        except self._error:
            return False

    def stop(self) -> None:
        if self._client is not None:
            with contextlib.suppress(self._error, OSError):  # it may be on its way out already
                self._client.remove_container(self.id, force=True, v=True)
            with contextlib.suppress(OSError):
                self._errors.close()
                self._line.close()
            self._client.close()
            self._client = None

    def complaint(self) -> str:
        """The engine's stream has a header of eight bytes before each piece."""
        if self._client is None:
            return ""
        self._line.settimeout(0.5)
        data = b""
        with contextlib.suppress(OSError):
            while len(data) < 1 << 16 and (part := self._line.recv(1 << 16)):
                data += part
        text = b""
        while len(data) >= 8:
            length = int.from_bytes(data[4:8], "big")
            text, data = text + data[8 : 8 + length], data[8 + length :]
        return text.decode("utf-8", "replace").strip().rpartition("\n")[2]


class EngineGroup:
    """The container's control group: the engine sets its limits, and its files say whether it ran out of memory."""

    def __init__(self, client: Any, name: str, error: type[Exception]) -> None:
        self.version = 2 if client.info().get("CgroupVersion") == "2" else 1
        self._client, self._name, self._error = client, name, error
        self._memory_mb = Limits().memory_mb
        pid = client.inspect_container(name)["State"]["Pid"]
        self._group = cgroup.group_of(pid)
        if self._group is not None:
            self._group.out_of_memory()

    def add(self, pid: int) -> None:
        """What is in the container is in its group."""

    def limit(self, limits: Limits) -> None:
        """Raises OSError where the engine refuses."""
        if limits.memory_mb != self._memory_mb:
            memory = (limits.memory_mb + _ZYGOTE_MB) * 2**20
            try:
                self._client.update_container(self._name, mem_limit=memory, memswap_limit=memory)
            except self._error as error:
                raise OSError(str(error)) from error
            self._memory_mb = limits.memory_mb

    def out_of_memory(self) -> OutOfMemory:
        """Nothing where the group's files are not to be seen from here: then the box has died by a signal."""
        return self._group.out_of_memory() if self._group is not None else ""

    def cpu_s(self) -> float | None:
        return self._group.cpu_s() if self._group is not None else None

    def close(self) -> None:
        """It goes with the container."""
        if self._group is not None:
            self._group.forget()
