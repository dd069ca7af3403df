"""A sandbox by socket keeps the same promises as one of one's own, and a service under load or at its end says what it does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import rlvr_sandbox.service
from rlvr.doctor import check_sandbox
from rlvr_sandbox import Call, Lender, Limits, Program, RemoteSandbox, Sandbox, SandboxError
from rlvr_sandbox.frames import LENGTH
from rlvr_sandbox.remote_wire import VERSION, packed, parsed_address, program_to_wire
from rlvr_sandbox.service import Service
from rlvr_verifiers.code import verifier
from rlvr_verifiers.scoring import score_now
from rlvr_verifiers.types import Completion, Task

TOKEN = "a token of thirty-two characters"


class Served:
    """`rlvr sandbox serve` in a process of its own."""

    def __init__(self, address: str, *options: str, token: str = "") -> None:
        environment = {**os.environ, "RLVR_SANDBOX_TOKEN": token}
        environment.pop("RLVR_SANDBOX", None)
        command = [sys.executable, "-m", "rlvr.cli", "sandbox", "serve", address, "--boxes", "2", *options]
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.greeting = self.process.stderr.readline()
        self.address = self.greeting.removeprefix("serving on ").partition(": ")[0]

    def stop(self, signalled: bool = True) -> tuple[int, str]:
        """Exit status, and what it said since its first line."""
        if signalled and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        said = self.process.communicate(timeout=60)[1]  # what came before has been read, and the pipe is closed
        return self.process.returncode, said


@contextlib.contextmanager
def served(address: str, *options: str, token: str = "") -> Iterator[Served]:
    service = Served(address, *options, token=token)
    try:
        yield service
    finally:
        service.stop()


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(f"unix:{tmp_path_factory.mktemp('service')}/box.sock") as service:
        yield service


@pytest.fixture(params=["own", "unix", "tcp"], scope="module")
def lender(request: pytest.FixtureRequest, local: Served) -> Iterator[Lender]:
    with contextlib.ExitStack() as stack:
        if request.param == "own":
            yield stack.enter_context(Sandbox(zygotes=2))
        elif request.param == "unix":
            yield stack.enter_context(RemoteSandbox(local.address))
        else:
            service = stack.enter_context(served("tcp:127.0.0.1:0", token=TOKEN))
            yield stack.enter_context(RemoteSandbox(service.address, token=TOKEN.encode()))


def function(source: str, **limits: Any) -> Program:
    return Program(source=source, mode="function", entry_point="f", limits=Limits(**limits))


def test_programs_and_calls_come_back_by_value(lender: Lender) -> None:
    assert lender.run_now(Program(source="print(input()[::-1])"), stdin=b"abc").stdout == b"cba\n"
    value = (1, [2.5, None], {"a": {3}}, b"\xff", 2**100, "\ud800")
    result = lender.run_now(
        function("def f(*args, **kwargs): return args, kwargs"), call=Call(args=value, kwargs={"k": value})
    )
    assert result.value == (value, {"k": value})
    assert result.cpu_s > 0


def test_many_calls_are_answered_in_order_until_the_program_ends(lender: Lender) -> None:
    source = "import os\ndef f(n, padding):\n    if n == 50: os._exit(0)\n    return n"
    with lender.open(function(source)) as box:
        outcomes = list(box.calls(Call(args=(n, "x" * 5000)) for n in range(52)))
        assert [outcome.value for outcome in outcomes[:50]] == list(range(50))
        assert [outcome.error_type for outcome in outcomes[50:]] == ["early_exit"] * 2
        assert (box.load().status, box.outcome.status) == ("ok", "error")  # loaded it was
    with lender.open(function("raise ValueError('early')")) as box:
        (outcome,) = box.calls([Call(args=(1,))])
        assert (outcome.status, outcome.message) == ("error", "ValueError: early") == (box.load().status, box.load().message)


def test_a_session_keeps_its_state_and_says_how_it_ended(lender: Lender) -> None:
    with lender.open(function("n = 0\ndef f(k):\n    global n\n    n += k\n    return n if n < 9 else 1 / 0")) as box:
        assert box.load().status == "ok"
        assert [box.call((4,)).value for _ in range(2)] == [4, 8]
        failed = box.call((4,))
        assert (failed.status, failed.message) == ("error", "ZeroDivisionError: division by zero")
        assert box.outcome.status == "ok"
        result = box.result(failed)
    assert (result.status, result.message) == (failed.status, failed.message)
    assert lender.run_now(function("import time\ndef f(): time.sleep(9)", wall_s=0.3), call=Call()).status == "timeout"
    assert lender.run_now(Program(source="while True: print('x' * 1000)", limits=Limits(stdout_bytes=9999))).status == (
        "output_limit"
    )
    left = lender.run_now(Program(source="raise SystemExit(3)"))
    assert (left.status, left.exit_code) == ("error", 3)


def test_a_value_at_the_very_limit_is_the_programs_and_no_failure_of_ours(lender: Lender) -> None:
    """What nearly bursts the codec must come back as what it is, or a program could choose not to be scored."""
    for count in (499_980, 499_990, 499_999, 500_001):
        result = lender.run_now(function("def f(n): return [None] * n", wall_s=20.0), call=Call(args=(count,)))
        assert (result.status, len(result.value or ())) in (("ok", count), ("bad_value", 0)), count
    deep = "def f(n):\n    value = []\n    for _ in range(n): value = [value]\n    return value"
    for depth in range(58, 68):
        assert lender.run_now(function(deep), call=Call(args=(depth,))).status in ("ok", "bad_value")


def test_code_that_checks_runs_in_a_box_of_its_own(lender: Lender) -> None:
    check = Program(source="def check(candidate):\n    assert candidate(2) == 4", mode="check", entry_point="f")
    with lender.open_pair(function("def f(n): return 2 * n"), check) as (box, checker):
        message = checker.next_message()
        assert message is not None
        assert (message[0], message[2]) == ("call", (2,))
        checker.send("returned", message[1], box.call(message[2]).value)
        assert checker.next_message() == ("passed", 0)


def test_what_is_no_plain_value_is_the_callers_mistake(lender: Lender) -> None:
    with lender.open(function("def f(n): return n")) as box, pytest.raises(ValueError, match="not a plain value"):
        box.call((object(),))
    with pytest.raises(ValueError, match="check code"):
        lender.run_now(Program(source="", mode="check", entry_point="f"))


def test_many_threads_share_a_service(local: Served) -> None:
    with RemoteSandbox(local.address) as remote, ThreadPoolExecutor(8) as threads:
        programs = [function(f"def f(n): return n + {number}") for number in range(40)]
        results = threads.map(lambda program: remote.run_now(program, call=Call(args=(1,))).value, programs)
        assert list(results) == [number + 1 for number in range(40)]


CASES = [{"args": [n], "expected": 3 * n} for n in range(8)]
ANSWERS: list[tuple[dict[str, Any], str, str]] = [
    ({"style": "function", "entry_point": "f", "cases": CASES}, "def f(n): return n * 3", "def f(n): return n"),
    (
        {"style": "function", "entry_point": "f", "check": "for n in range(5):\n    assert f(n) == 3 * n"},
        "def f(n): return n * 3",
        "def f(n): return n",
    ),
    (
        {"style": "stdio", "cases": [{"stdin": "2", "stdout": "6\n"}, {"stdin": "3", "stdout": "9"}]},
        "print(int(input()) * 3)",
        "1",
    ),
]


def judge(answer: dict[str, Any], source: str) -> Any:
    prompt = ({"role": "user", "content": "Write it."},)
    task = Task(id="t", prompt=prompt, verifier="code", answer=json.dumps(answer))
    return score_now(task, Completion(text=f"```python\n{source}\n```"))


@pytest.mark.parametrize(("answer", "right", "wrong"), ANSWERS)
def test_the_code_verifier_judges_by_a_service(
    local: Served, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], right: str, wrong: str
) -> None:
    with RemoteSandbox(local.address) as remote:
        monkeypatch.setattr(verifier, "shared_sandbox", lambda: remote)
        assert judge(answer, right).value == 1.0
        assert (judge(answer, wrong).value, judge(answer, wrong).reason) == (0.0, "mismatch")


def test_the_environment_names_the_service(local: Served) -> None:
    code = (
        "from rlvr_sandbox import shared_sandbox; sandbox = shared_sandbox(); print(type(sandbox).__name__, sandbox.walls())"
    )
    environment = {**os.environ, "RLVR_SANDBOX": "remote", "RLVR_SANDBOX_ADDRESS": local.address}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("RemoteSandbox Python 3")
    with pytest.raises(SandboxError, match="RLVR_SANDBOX_ADDRESS"):
        RemoteSandbox.from_environment()


def test_doctor_asks_the_service_where_programs_run_there(
    local: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RLVR_SANDBOX", "remote")
    monkeypatch.setenv("RLVR_SANDBOX_ADDRESS", local.address)
    check = check_sandbox()
    assert (check.status, check.detail[:16]) == ("ok", "remote: Python 3")
    monkeypatch.setenv("RLVR_SANDBOX_ADDRESS", f"unix:{tmp_path}/nobody.sock")
    check = check_sandbox()
    assert (check.status, "no sandbox service answers" in check.detail) == ("missing", True)


def test_a_service_that_dies_is_our_failure_and_never_a_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = Served(f"unix:{tmp_path}/box.sock")
    answer, right, _ = ANSWERS[0]
    with RemoteSandbox(service.address) as remote:
        monkeypatch.setattr(verifier, "shared_sandbox", lambda: remote)
        assert judge(answer, right).value == 1.0
        with contextlib.suppress(SandboxError), remote.open(function("def f(): return 1")) as box:
            service.process.kill()
            service.process.wait()
            with pytest.raises(SandboxError, match="was lost"):
                box.call()
        service.stop()
        score = judge(answer, right)
        assert (score.value, score.reason) == (None, "sandbox_error")
        assert "rlvr sandbox serve" in score.explanation
        again = Served(f"unix:{tmp_path}/box.sock")  # in the place of the socket that the dead one left
        try:
            assert judge(answer, right).value == 1.0
        finally:
            again.stop()


def test_a_full_service_says_busy_at_once_and_clients_come_again(tmp_path: Path) -> None:
    slow = function("import time\ndef f():\n    time.sleep(1.5)\n    return 1")
    with served(f"unix:{tmp_path}/box.sock", "--queue", "1") as service:
        hasty, patient = RemoteSandbox(service.address, patience_s=0.0), RemoteSandbox(service.address)
        with hasty, patient, ThreadPoolExecutor(8) as threads:
            running = [threads.submit(patient.run_now, slow, call=Call()) for _ in range(3)]  # two run, one waits
            time.sleep(0.5)
            with pytest.raises(SandboxError, match="busy: 2 boxes are in use and 1 clients wait"):
                hasty.run_now(slow, call=Call())
            assert not any(job.done() for job in running)
            running += [threads.submit(patient.run_now, slow, call=Call()) for _ in range(4)]
            assert [job.result().value for job in running] == [1] * 7


def test_sigterm_lets_running_programs_finish_and_takes_no_new_ones(tmp_path: Path) -> None:
    service = Served(f"unix:{tmp_path}/box.sock")
    slow = function("import time\ndef f():\n    time.sleep(1.0)\n    return 'finished'")
    with RemoteSandbox(service.address, patience_s=0.0) as remote, ThreadPoolExecutor(1) as threads:
        remote.walls()
        with remote.open(function("def f(): return 1")) as box:
            assert box.call().value == 1
            running = threads.submit(remote.run_now, slow, call=Call())
            time.sleep(0.4)
            service.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            assert box.call().value == 1
            with pytest.raises(SandboxError, match=r"no sandbox service answers|was lost|draining"):
                remote.run_now(slow, call=Call())
            assert running.result().value == "finished"
        code, said = service.stop()
    assert (code, "drained" in said) == (0, True)
    assert not (tmp_path / "box.sock").exists()


def test_a_silent_client_and_one_that_vanishes_give_their_boxes_back(local: Served) -> None:
    with RemoteSandbox(local.address, patience_s=5.0) as remote:
        for _ in range(5):
            with contextlib.suppress(RuntimeError), remote.open(function("def f(): return 1")):
                raise RuntimeError("the client gives up")  # its connection is dropped in the middle of the session
        assert remote.run_now(function("def f(): return 1"), call=Call()).value == 1


def test_a_client_that_does_not_read_gives_its_box_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rlvr_sandbox.service, "GRACE_S", 0.5)
    address = f"unix:{tmp_path}/box.sock"

    def clients() -> bytes:
        with stalled(address, 2), RemoteSandbox(address) as remote:
            return remote.run_now(Program(source="print(1)")).stdout

    async def scene() -> bytes:
        stop, started = asyncio.Event(), asyncio.Event()
        with Sandbox(zygotes=2) as sandbox:
            service = Service(sandbox, token=b"", places=2)
            serving = asyncio.create_task(service.serve(parsed_address(address), stop, lambda *_: started.set()))
            await started.wait()
            try:
                return await asyncio.to_thread(clients)
            finally:
                stop.set()
                await serving

    assert asyncio.run(scene()) == b"1\n"


def test_sigterm_ends_a_service_whose_clients_do_not_read(tmp_path: Path) -> None:
    service = Served(f"unix:{tmp_path}/box.sock", "--drain-s", "1")
    with stalled(service.address, 2):
        time.sleep(1.0)
        begin = time.monotonic()
        assert service.stop()[0] == 0
        assert time.monotonic() - begin < 15


@contextlib.contextmanager
def stalled(address: str, clients: int) -> Iterator[None]:
    """Each asks for more output than a socket holds, and reads none of it."""
    flood = program_to_wire(Program(source="print('a' * 8_000_000)"))
    with RemoteSandbox(address) as remote:
        connections: list[Any] = [remote._take() for _ in range(clients)]
        for connection in connections:
            connection._send("run", flood, b"", (), {})
        yield
        for connection in connections:
            connection.close()


def test_the_local_socket_is_for_its_owner_alone(local: Served) -> None:
    path = parsed_address(local.address).path
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    second = Served(local.address)
    assert "another service is there" in second.greeting
    assert second.stop(signalled=False)[0] == 1


def test_tcp_wants_the_token_of_both_sides_and_never_sends_it(tmp_path: Path) -> None:
    refused = Served("tcp:127.0.0.1:0")
    assert "needs a token" in refused.greeting
    assert refused.stop(signalled=False)[0] == 1
    short = Served("tcp:127.0.0.1:0", token="short")
    assert "16 or more" in short.greeting
    assert "short;" not in short.greeting
    assert short.stop(signalled=False)[0] == 1
    with served("tcp:127.0.0.1:0", token=TOKEN) as service:
        for wrong in (b"", b"another token of 32 characters!!"):
            with RemoteSandbox(service.address, token=wrong) as remote, pytest.raises(SandboxError, match="token"):
                remote.walls()
        seen = bytearray()
        with _listening_in(service.address, seen) as address, RemoteSandbox(address, token=TOKEN.encode()) as remote:
            assert remote.run_now(Program(source="print(1)")).stdout == b"1\n"
        assert len(seen) > 100
        assert TOKEN.encode() not in seen
    assert TOKEN not in service.greeting
    assert TOKEN not in service.stop()[1]


@contextlib.contextmanager
def _listening_in(address: str, seen: bytearray) -> Iterator[str]:
    """A wire tap: a port that passes everything on."""
    there = parsed_address(address)

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                seen.extend(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.ExitStack() as stack:

        def accept() -> None:
            ours = stack.enter_context(listener.accept()[0])
            far = stack.enter_context(socket.create_connection((there.host, there.port)))
            threading.Thread(target=pump, args=(far, ours), daemon=True).start()
            pump(ours, far)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"tcp:127.0.0.1:{listener.getsockname()[1]}"
        thread.join(5)


def test_an_impostor_without_the_token_is_not_believed(tmp_path: Path) -> None:
    """It could say that every program is right."""
    path = str(tmp_path / "impostor.sock")

    def impostor(listener: socket.socket) -> None:
        with listener.accept()[0] as connection:
            connection.sendall(packed("hello", VERSION, b"n" * 32))
            connection.recv(1 << 16)
            connection.sendall(packed("welcome", b"p" * 32, "walls"))

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        thread = threading.Thread(target=impostor, args=(listener,))
        thread.start()
        with RemoteSandbox(f"unix:{path}", token=TOKEN.encode()) as remote, pytest.raises(SandboxError, match="prove"):
            remote.walls()
        thread.join()


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        LENGTH.pack(2**32 - 1),
        LENGTH.pack(9000),
        packed("hello", 1, b"short", b""),
        os.urandom(500),
    ],
)
def test_nonsense_before_the_greeting_ends_one_connection_and_nothing_else(local: Served, garbage: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(15)
        client.connect(parsed_address(local.address).path)
        client.sendall(garbage)
        client.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while client.recv(1 << 16):
                pass
    with RemoteSandbox(local.address) as remote:
        assert remote.run_now(Program(source="print(1)")).stdout == b"1\n"


@pytest.mark.parametrize(
    "request_",
    [
        ("surprise",),
        ("run", {}, b"", (), {}),
        ("run", {"source": "", "mode": "x", "limits": {}}, b"", (), {}),
        ("open", 5, b""),
    ],
)
def test_an_unknown_request_is_refused_and_the_connection_goes_on(local: Served, request_: tuple[Any, ...]) -> None:
    with RemoteSandbox(local.address) as remote:
        connection: Any = remote._take()
        with pytest.raises(SandboxError, match=r"not a request"):
            connection.ask(10, *request_)
        remote._give_back(connection)
        assert remote.run_now(Program(source="print(1)")).stdout == b"1\n"


@pytest.mark.parametrize("text", ["", "box.sock", "unix:relative", "tcp:host", "tcp:host:99999", "http://host:1"])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SandboxError, match="no address"):
        RemoteSandbox(text)


def test_limits_that_no_frame_holds_are_refused_before_anything_runs(local: Served) -> None:
    with RemoteSandbox(local.address) as remote, pytest.raises(SandboxError, match="stdout_bytes"):
        remote.run_now(Program(source="", limits=Limits(stdout_bytes=2**30)))
