"""A stock `vllm serve` in a process of its own, for tests of what talks to one. Import the fixture and start what you need:

    from tests.vllm_server import StartVllm, vllm_server

    @pytest.fixture(scope="module")
    def server(vllm_server: StartVllm, smollm: Path) -> VllmServer:
        return vllm_server(smollm, "--dtype", "float32")

Starting takes tens of seconds on a CPU, so have one server a module; it is killed with all that it started when the module is done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

START_S = 300.0  # ten times what a quiet machine needs
# Before it answers, the server runs one batch of the largest size, which on a CPU with adapters is slow.
SMALL = ("--enforce-eager", "--max-model-len=512", "--max-num-batched-tokens=512", "--max-num-seqs=4")
# The server ends with the tests that started it, however these end (Linux: PR_SET_PDEATHSIG, SIGKILL).
DIE_WITH_PARENT = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class VllmServer:
    url: str
    """Without a slash at the end, and without `/v1`."""
    group: int
    """Process group of everything that it started."""

    def kill(self) -> None:
        """Now, as the end of its machine would; again is harmless."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.group, signal.SIGKILL)

    def post(self, path: str, body: dict[str, Any], timeout_s: float = 120.0) -> dict[str, Any]:
        """The JSON answer to a JSON request, say to `/v1/chat/completions`."""
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"content-type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return json.load(answer)

    def get(self, path: str, timeout_s: float = 120.0) -> dict[str, Any]:
        with urllib.request.urlopen(self.url + path, timeout=timeout_s) as answer:
            return json.load(answer)


StartVllm = Callable[..., VllmServer]
"""(model folder, *arguments of `vllm serve`) -> a server that answers."""


@pytest.fixture(scope="module")
def vllm_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartVllm]:
    pytest.importorskip("vllm")
    with contextlib.ExitStack() as running:

        def start(model: Path, *arguments: str) -> VllmServer:
            log = tmp_path_factory.mktemp("vllm-serve") / "log"
            return running.enter_context(_serving(model, arguments, log))

        yield start


@contextlib.contextmanager
def _serving(model: Path, arguments: tuple[str, ...], log: Path) -> Iterator[VllmServer]:
    port = _free_port()
    # What `vllm serve MODEL` runs. Not by that command: in the CPU distribution it looks for a package of another name, and fails.
    program = [sys.executable, "-c", DIE_WITH_PARENT, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command = [*program, "--host", "127.0.0.1", "--port", str(port), *SMALL, *arguments]
    environment = os.environ | {
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
        "OMP_NUM_THREADS": "1",  # more are put to sleep after every operation, and a token takes a second
        "VLLM_LOGGING_LEVEL": "INFO",
        "PYTHONWARNINGS": "ignore",  # its own affair
    }
    with log.open("wb") as output:
        # A session of its own: the engine is another process, and both are to be ended.
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        server = VllmServer(url=f"http://127.0.0.1:{port}", group=process.pid)
        _wait(process, server, log)
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(process: subprocess.Popen[bytes], server: VllmServer, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"vllm serve ended with {process.returncode}:\n{log.read_text(errors='replace')[-4000:]}")
        with contextlib.suppress(OSError, urllib.error.URLError), urllib.request.urlopen(f"{server.url}/health", timeout=5):
            return
        time.sleep(0.2)
    pytest.fail(f"vllm serve did not answer within {START_S:.0f} s:\n{log.read_text(errors='replace')[-4000:]}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]
