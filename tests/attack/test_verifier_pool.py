"""One property each: whatever a verifier does, the pool answers, answers rightly, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.pool import VerifierPool
from rlvr_verifiers.types import Completion, Score, Task

HERE = Path(__file__).parent
MISBEHAVING = HERE / "misbehaving_verifiers.py"
GRACE_S = 0.3
"""How long after its deadline a verification may still be seen; also what starting a worker must not add."""


def task(name: str, answer: str = "gold", **more: Any) -> Task:
    verifier = name if ":" in name or name == "math" else f"{MISBEHAVING}:{name}"
    return Task(id=name, prompt=({"role": "user", "content": "?"},), verifier=verifier, answer=answer, **more)


def text(content: str = "right") -> Completion:
    return Completion(text=content)


def in_pool(
    work: Callable[[VerifierPool], Awaitable[Any]],
    *,
    workers: int = 1,
    deadline_s: float = 20.0,
    preload: bool = True,
    **settings: Any,
) -> Any:
    async def main() -> Any:
        names = (f"{MISBEHAVING}:quick",) if preload else ()
        async with VerifierPool(workers, deadline_s, verifiers=names, **settings) as pool:
            return await work(pool)

    return asyncio.run(main())


def test_a_verifier_that_breaks_its_own_promise_to_end_is_our_failure() -> None:
    async def work(pool: VerifierPool) -> list[Score]:
        return [await pool.score(task("Promise"), text(words)) for words in ("wrong", "right")]

    broken, kept = in_pool(work, deadline_s=0.2)
    assert (broken.value, broken.reason) == (None, "verifier_error")
    assert "0.4 s" in broken.explanation
    assert kept.value == 1.0


def alive(pid: int) -> bool:
    """Running or stopped, not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


def gone_soon(pids: list[int], patience_s: float = 5.0) -> bool:
    until = time.monotonic() + patience_s
    while any(alive(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.01)
    return not any(alive(pid) for pid in pids)


# -- deadlines --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hang", "hang_in_c", "hang_on_signals"])
def test_a_hang_is_killed_at_its_deadline_and_scores_zero(name: str) -> None:
    async def work(pool: VerifierPool) -> tuple[Score, float]:
        await pool.score(task("quick"), text())
        begin = time.monotonic()
        score = await pool.score(task(name), text("wrong"), deadline_s=0.5)
        return score, time.monotonic() - begin

    def in_time() -> bool:
        score, seconds = in_pool(work)
        assert (score.value, score.passed, score.reason) == (0.0, False, "timeout")
        assert seconds >= 0.5
        return seconds <= 0.5 + GRACE_S

    assert any(in_time() for _ in range(3))  # a busy machine is late now and then


def test_an_asynchronous_verifier_runs_and_is_held_to_the_same_deadline() -> None:
    async def work(pool: VerifierPool) -> list[Score]:
        return [await pool.score(task("sleep_async"), text(wait), deadline_s=0.5) for wait in ("0.01", "60", "0.01")]

    assert [score.reason for score in in_pool(work)] == ["ok", "timeout", "ok"]


def test_time_in_the_queue_is_not_counted() -> None:
    async def work(pool: VerifierPool) -> list[Score]:
        return await asyncio.gather(*(pool.score(task("sleep"), text("0.15"), deadline_s=1.0) for _ in range(12)))

    assert [score.reason for score in in_pool(work)] == ["ok"] * 12  # 1.8 s of work for one worker


def test_importing_the_verifier_is_not_counted() -> None:
    async def work(pool: VerifierPool) -> Score:
        return await pool.score(task(f"{HERE / 'slow_import.py'}:score"), text(), deadline_s=0.3)

    assert in_pool(work).reason == "ok"


def test_an_import_that_takes_too_long_is_our_failure() -> None:
    async def work(pool: VerifierPool) -> list[Score]:
        slow = await pool.score(task(f"{HERE / 'slow_import.py'}:score"), text())
        return [slow, await pool.score(task("quick"), text())]

    slow, quick = in_pool(work, load_deadline_s=0.7, preload=False)
    assert (slow.value, slow.reason) == (None, "verifier_error")
    assert "import" in slow.explanation
    assert quick.passed


def test_a_busy_event_loop_of_ours_times_nobody_out() -> None:
    async def work(pool: VerifierPool) -> Score:
        scoring = asyncio.create_task(pool.score(task("sleep"), text("0.3"), deadline_s=0.6))
        await asyncio.sleep(0.15)
        time.sleep(1.0)
        return await scoring

    assert in_pool(work).reason == "ok"


def test_a_busy_event_loop_of_ours_lets_nobody_run_over() -> None:
    async def work(pool: VerifierPool) -> Score:
        scoring = asyncio.create_task(pool.score(task("sleep"), text("0.7"), deadline_s=0.4))
        await asyncio.sleep(0.15)
        time.sleep(1.2)
        return await scoring

    assert in_pool(work).reason == "timeout"


def test_a_hang_holds_up_no_other_worker() -> None:
    async def work(pool: VerifierPool) -> tuple[list[Score], float, Score]:
        hanging = asyncio.create_task(pool.score(task("hang"), text("wrong"), deadline_s=3.0))
        await asyncio.sleep(0.1)
        begin = time.monotonic()
        quick = await asyncio.gather(*(pool.score(task("quick"), text()) for _ in range(200)))
        return quick, time.monotonic() - begin, await hanging

    quick, seconds, hanging = in_pool(work, workers=2)
    assert all(score.passed for score in quick)
    assert seconds < 2.0
    assert hanging.reason == "timeout"


def test_those_behind_a_hang_in_one_batch_are_scored_all_the_same() -> None:
    async def work(pool: VerifierPool) -> list[Score]:
        await asyncio.gather(
            *(pool.score(task("quick"), text()) for _ in range(100))
        )  # now it trusts the worker with batches
        contents = ["right"] * 5 + ["wrong"] + ["right"] * 10
        return await asyncio.gather(*(pool.score(task("hang"), text(content), deadline_s=0.4) for content in contents))

    assert [score.reason for score in in_pool(work)] == ["ok"] * 5 + ["timeout"] + ["ok"] * 10


# -- crashes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "how"), [("segfault", "SIGSEGV"), ("exit_now", "status 0"), ("eat_memory", "out of memory")]
)
def test_a_worker_that_dies_twice_scores_zero(name: str, how: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    async def work(pool: VerifierPool) -> tuple[Score, Score, int]:
        score = await pool.score(task(name, str(trace)), text())
        return score, await pool.score(task("quick"), text()), pool.restarts

    score, next_one, restarts = in_pool(work, memory_mb=256, log=tmp_path / "log")
    assert (score.value, score.passed, score.reason) == (0.0, False, "crash")
    assert how in score.explanation
    assert trace.read_text().count("tried") == 2
    assert next_one.passed
    assert restarts == 2


def test_a_worker_that_dies_once_is_given_a_second_chance(tmp_path: Path) -> None:
    assert in_pool(lambda pool: pool.score(task("exit_once", str(tmp_path / "trace")), text())).passed


def test_a_worker_killed_from_outside_costs_nobody_a_score() -> None:
    async def work(pool: VerifierPool) -> list[Score]:
        pid = int((await pool.score(task("echo_pid"), text())).parsed or "")
        scoring = [asyncio.create_task(pool.score(task("sleep"), text("0.1"))) for _ in range(5)]
        await asyncio.sleep(0.15)
        os.kill(pid, signal.SIGKILL)
        return await asyncio.gather(*scoring)

    assert all(score.passed for score in in_pool(work))


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fail", "leave_politely", "unsendable"])
def test_a_verifier_that_raises_is_our_failure_and_its_worker_goes_on(name: str) -> None:
    async def work(pool: VerifierPool) -> tuple[Score, Score, int]:
        return await pool.score(task(name), text()), await pool.score(task("quick"), text()), pool.restarts

    failed, quick, restarts = in_pool(work)
    assert (failed.value, failed.passed, failed.reason) == (None, False, "verifier_error")
    assert "\n" not in failed.explanation
    assert quick.passed
    assert restarts == 0


def test_an_exception_says_what_and_where() -> None:
    score = in_pool(lambda pool: pool.score(task("fail"), text("this")))
    assert "ZeroDivisionError: cannot judge this" in score.explanation
    assert "misbehaving_verifiers.py" in score.explanation


def test_an_unknown_verifier_is_our_failure_and_not_a_zero() -> None:
    score = in_pool(lambda pool: pool.score(task("no_such_module:score"), text()))
    assert (score.value, score.reason) == (None, "verifier_error")


def test_a_verifier_that_cannot_be_loaded_stops_the_pool_before_training() -> None:
    async def main() -> None:
        async with VerifierPool(2, 5.0, verifiers=["maths"]):
            pass

    with pytest.raises(VerifierError, match="did you mean 'math'"):
        asyncio.run(main())


def test_a_closed_pool_says_so_and_releases_those_who_wait() -> None:
    async def main() -> None:
        pool = VerifierPool(1, 60.0)
        with pytest.raises(VerifierError, match="not open"):
            await pool.score(task("quick"), text())
        async with pool:
            waiting = asyncio.create_task(pool.score(task("sleep"), text("60")))
            await asyncio.sleep(0.3)
        with pytest.raises(VerifierError, match="closed"):
            await waiting
        with pytest.raises(VerifierError, match="closed"):
            await pool.score(task("quick"), text())

    asyncio.run(main())


def test_data_that_is_not_json_is_refused_by_name() -> None:
    async def work(pool: VerifierPool) -> None:
        with pytest.raises(VerifierError, match="'quick' cannot be sent"):
            await pool.score(task("quick", info={"when": object()}), text())

    in_pool(work)


# -- output and input -------------------------------------------------------------------------------------------------


def test_a_flood_of_prints_disturbs_nothing(tmp_path: Path) -> None:
    log = tmp_path / "verifiers.log"

    async def work(pool: VerifierPool) -> list[Score]:
        return [await pool.score(task(name), text()) for name in ("flood", "quick", "flood")]

    assert [score.reason for score in in_pool(work, log=log)] == ["ok"] * 3
    assert log.stat().st_size > 2 * 20_000_000


def test_a_verifier_that_reads_standard_input_finds_it_empty() -> None:
    assert in_pool(lambda pool: pool.score(task("read_standard_input"), text())).passed


def test_an_enormous_explanation_is_cut() -> None:
    assert len(in_pool(lambda pool: pool.score(task("enormous"), text())).explanation) == 1_000


@pytest.mark.parametrize("content", ["\ud800 \udfff", "\ud83d\ude00 in two halves", "\x00\x1b[31m", "x" * 3_000_000, ""])
def test_any_text_reaches_the_verifier_unchanged(content: str) -> None:
    exact = Task(id="t", prompt=(), verifier="exact", answer=content, verifier_args={"tag": "a"})
    size_ok = len(content) < 100_000

    async def work(pool: VerifierPool) -> Score:
        return await pool.score(exact, text(f"<a>{content}</a>"))

    assert in_pool(work).reason == ("ok" if size_ok else "too_large")


def test_a_worker_leads_its_own_group_without_torch_and_gets_no_token_arrays() -> None:
    completion = Completion(text="x", token_ids=(1, 2, 3), sampled_logprobs=(0.0, 0.0, 0.0))
    assert in_pool(lambda pool: pool.score(task("environment"), completion)).parsed == "False True 0"


# -- nothing is left behind -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["hang", "die", "return"])
def test_children_that_a_verifier_leaves_die_with_its_worker(end: str, tmp_path: Path) -> None:
    trace = tmp_path / "pids"
    in_pool(lambda pool: pool.score(task("leave_children", str(trace)), text(end), deadline_s=0.5))
    pids = [int(pid) for pid in trace.read_text().split()]
    assert len(pids) >= 2
    assert gone_soon(pids)


def test_a_worker_that_left_a_child_holding_its_channel_is_still_known_to_be_dead(tmp_path: Path) -> None:
    score = in_pool(lambda pool: pool.score(task("leave_children", str(tmp_path / "pids")), text("die"), deadline_s=0.5))
    assert score.reason == "crash"


def test_giving_up_on_a_score_leaves_the_worker_usable() -> None:
    async def work(pool: VerifierPool) -> tuple[Score, int]:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(pool.score(task("sleep"), text("0.4")), 0.1)
        queued = [asyncio.create_task(pool.score(task("sleep"), text("30"))) for _ in range(3)]
        await asyncio.sleep(0.01)
        for waiting in queued:
            waiting.cancel()
        return await pool.score(task("quick"), text()), pool.restarts

    begin = time.monotonic()
    score, restarts = in_pool(work)
    assert score.passed
    assert restarts == 0
    assert time.monotonic() - begin < 10


def test_giving_up_on_a_hang_does_not_spare_it() -> None:
    async def work(pool: VerifierPool) -> Score:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(pool.score(task("hang"), text("wrong"), deadline_s=0.4), 0.2)
        return await pool.score(task("quick"), text())

    assert in_pool(work).passed


PARENT = """
import asyncio, sys
from rlvr_verifiers.pool import VerifierPool
from rlvr_verifiers.types import Completion, Task

async def main():
    task = Task(id="t", prompt=(), verifier=sys.argv[1], answer=sys.argv[2])
    async with VerifierPool(1, 600.0) as pool:
        print(*(process._process.pid for process in pool._processes), flush=True)
        await pool.score(task, Completion(text="hang"))

asyncio.run(main())
"""


@pytest.mark.parametrize("name", ["leave_children", "hang_in_c"])
def test_workers_and_their_children_die_with_the_parent(name: str, tmp_path: Path) -> None:
    trace = tmp_path / "pids"
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, f"{MISBEHAVING}:{name}", str(trace)], stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        if name == "leave_children":
            while not trace.exists() or not trace.read_text().endswith("\n"):
                time.sleep(0.01)
            pids += [int(pid) for pid in trace.read_text().split()]
        else:
            time.sleep(1.0)
        assert all(alive(pid) for pid in pids)
        parent.kill()
    assert gone_soon(pids)


def test_workers_die_with_the_parent_even_if_a_fork_of_it_lives_on(tmp_path: Path) -> None:
    """The fork holds every descriptor that the parent had, so nothing the worker reads ever ends."""
    forking = PARENT.replace(
        "        await pool", "        import os\n        if os.fork() == 0:\n            time.sleep(60)\n        await pool"
    )
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        "import time" + forking,
        f"{MISBEHAVING}:hang_in_c",
        str(tmp_path / "trace"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        time.sleep(1.0)
        os.kill(parent.pid, signal.SIGKILL)
        try:
            assert gone_soon(pids)
        finally:
            os.killpg(parent.pid, signal.SIGKILL)


def test_closing_the_pool_leaves_no_process() -> None:
    pids: list[int] = []

    async def work(pool: VerifierPool) -> None:
        waiting = [asyncio.create_task(pool.score(task("hang"), text("wrong"))) for _ in range(2)]
        await asyncio.sleep(0.3)
        pids.extend(process._process.pid for process in pool._processes if process._process is not None)
        for one in waiting:
            one.cancel()

    in_pool(work, workers=2)
    assert len(pids) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)  # reaped, not only dead


def test_descriptors_do_not_leak_over_restarts() -> None:
    async def work(pool: VerifierPool) -> tuple[int, int]:  # and neither do processes
        await pool.score(task("hang"), text("wrong"), deadline_s=0.1)
        await pool.score(task("quick"), text())
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            await pool.score(task("hang"), text("wrong"), deadline_s=0.1)
        await pool.score(task("quick"), text())
        assert len(pool._processes) == 1
        return before, len(os.listdir("/proc/self/fd"))

    before, after = in_pool(work)
    assert before == after
