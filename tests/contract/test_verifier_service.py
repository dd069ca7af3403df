"""Scores over HTTP: the same as here, for who has the token, and never more work than it can hold."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from rlvr_tasks.registry import load_tasks
from rlvr_verifiers import Completion, Score, Task, score_now
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.pool import VerifierPool
from rlvr_verifiers.protocol import adapt
from rlvr_verifiers.service.remote import Remote
from rlvr_verifiers.tool_env import gold_completion
from tests.contract.verifier_server import serving

TOKEN = "a-token"


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("slow") / "slow.py"
    path.write_text("import time\n\ndef score(task, completion):\n    time.sleep(0.4)\n    return True\n")
    return f"{path}:score"


@pytest.fixture(scope="module")
def client(slow: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with (
        serving(["exact", "multi", slow], token=TOKEN, max_waiting=3) as address,
        httpx.Client(base_url=address, headers=headers, timeout=30) as client,
    ):
        yield client


def question(text: str, verifier: str = "exact", **task: Any) -> dict[str, Any]:
    return {"task": {"verifier": verifier, "answer": "Paris", **task}, "completion": {"text": text}}


def test_scores_are_those_of_the_verifier(client: httpx.Client) -> None:
    reply = client.post("/score", json=question("Paris"))
    assert reply.status_code == 200
    here = score_now(Task(id="t", prompt=(), verifier="exact", answer="Paris"), Completion(text="Paris")).to_json()
    assert {**reply.json(), "seconds": 0} == {**here, "seconds": 0}
    batch = client.post("/score_batch", json={"questions": [question("Paris"), question("Rome")]}).json()
    assert [score["value"] for score in batch["scores"]] == [1.0, 0.0]


def test_the_completions_of_a_task_are_a_group_for_who_judges_groups(tmp_path: Path) -> None:
    path = tmp_path / "ranked.py"
    path.write_text(
        "def longest(task, completions):\n    sizes = [len(each.text) for each in completions]\n"
        "    return [float(size == max(sizes)) for size in sizes]\n"
    )
    questions = [question(text, verifier=f"{path}:longest", id=name) for name, text in (("a", "x"), ("a", "xx"), ("b", "x"))]
    with serving([f"{path}:longest"]) as address:
        scores = httpx.post(f"{address}/score_batch", json={"questions": questions}).json()["scores"]
    assert [score["value"] for score in scores] == [0.0, 1.0, 1.0]


def test_without_the_token_there_is_nothing(client: httpx.Client) -> None:
    for path in ("/verifiers", "/metrics"):
        assert client.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert client.post("/score", json=question("Paris"), headers={"Authorization": ""}).status_code == 401
    assert client.get("/health", headers={"Authorization": ""}).json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (question("x", verifier="math"), "no verifier 'math'"),
        (question("x", verifier="os:system"), "no verifier"),
        (question("x", verifier_args={"surprise": 1}), "surprise"),
        (question("x", verifier="multi", verifier_args={"verifiers": [{"name": "os:system"}]}), "not served"),
        (
            question(
                "x",
                verifier="multi",
                verifier_args={"verifiers": [{"name": "multi", "args": {"verifiers": [{"name": "/tmp/evil.py:x"}]}}]},
            ),
            "not served",
        ),
        ({**question("x"), "extra": 1}, "extra"),
        ({"task": {"verifier": "exact"}}, "answer"),
    ],
)
def test_what_cannot_be_judged_is_a_422_that_says_why(client: httpx.Client, body: dict[str, Any], told: str) -> None:
    reply = client.post("/score", json=body)
    assert reply.status_code == 422
    assert told in reply.text


def test_more_than_it_can_hold_is_refused_at_once_and_counted(client: httpx.Client, slow: str) -> None:
    with ThreadPoolExecutor(6) as threads:
        replies = list(threads.map(lambda _: client.post("/score", json=question("x", verifier=slow)), range(6)))
    codes = sorted(reply.status_code for reply in replies)
    assert codes == [200, 200, 200, 503, 503, 503]
    assert next(reply for reply in replies if reply.status_code == 503).headers["Retry-After"] == "1"
    told = client.get("/metrics").text
    assert "rlvr_refused_total 3" in told
    assert "rlvr_waiting 0" in told
    assert f'rlvr_scores_total{{verifier="{slow}",reason="ok"}} 3' in told


def test_it_lists_its_verifiers_and_its_schema(client: httpx.Client) -> None:
    assert set(client.get("/verifiers").json()) >= {"exact", "multi"}
    schema = client.get("/openapi.json").json()
    assert set(schema["components"]["schemas"]["TaskBody"]["properties"]["verifier"]["enum"]) >= {"exact", "multi"}
    assert {"/score", "/score_batch", "/verifiers", "/health", "/metrics"} <= schema["paths"].keys()


def test_it_finishes_what_is_under_way_before_it_ends(slow: str) -> None:
    replies: list[int] = []
    with serving([slow]) as address:
        thread = threading.Thread(
            target=lambda: replies.append(httpx.post(f"{address}/score", json=question("x", verifier=slow)).status_code)
        )
        thread.start()
        while "rlvr_waiting 1" not in httpx.get(f"{address}/metrics").text and thread.is_alive():
            time.sleep(0.02)
    thread.join()
    assert replies == [200]


def test_remote_waits_for_a_busy_server_and_gives_up_without_a_zero(monkeypatch: pytest.MonkeyPatch, slow: str) -> None:
    arguments = {"verifier": slow, "patience_s": 5}
    task = Task(id="t", prompt=(), verifier="remote", answer="", verifier_args=arguments)
    with serving([slow], max_waiting=1), ThreadPoolExecutor(3) as threads:
        remote = Remote()
        assert [score.value for score in threads.map(lambda _: remote.score(task, Completion(text="x")), range(3))] == [
            1.0
        ] * 3
    monkeypatch.setenv("RLVR_VERIFIER_URL", "http://127.0.0.1:9")
    away = Task(id="t", prompt=(), verifier="remote", answer="", verifier_args={"verifier": "exact", "patience_s": 0.3})
    score = Remote().score(away, Completion(text="x"))
    assert (score.value, score.reason) == (None, "remote_error")


def posted(monkeypatch: pytest.MonkeyPatch, fail: int | None = None) -> list[int]:
    """Fills up with the number of questions in each request that is sent; that of number `fail` breaks the server."""
    sent: list[int] = []
    post = httpx.Client.post

    def noted(self: httpx.Client, path: str, **options: Any) -> httpx.Response:
        sent.append(len(options["json"]["questions"]))
        if len(sent) - 1 == fail:
            return httpx.Response(500, text="broken")
        return post(self, path, **options)

    monkeypatch.setattr(httpx.Client, "post", noted)
    return sent


def remote_task(verifier: str, **arguments: Any) -> Task:
    verifier_args = {"verifier": verifier, "patience_s": 20.0, **arguments}
    return Task(id="t", prompt=(), verifier="remote", answer="Paris", verifier_args=verifier_args)


def scored(task: Task, completions: Sequence[Completion]) -> list[Score]:
    """By a `remote` of its own, which knows no earlier server."""
    return asyncio.run(adapt("remote", Remote()).score_group(task, completions))


TEXTS = ["Paris", "Rome", "", "Paris", "paris", "\ud800", "Paris", "x" * 5_000]
COMPLETIONS = [Completion(text=text) for text in TEXTS]


def untimed(scores: Sequence[Score]) -> list[dict[str, Any]]:
    return [{**score.to_json(), "seconds": 0} for score in scores]


def test_remote_sends_a_group_at_once_and_scores_as_it_does_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    task = remote_task("exact")

    async def in_a_pool() -> list[Score]:
        async with VerifierPool(1, 5.0) as pool:
            return await pool.score_group(task, COMPLETIONS)

    with serving(["exact"]):
        sent = posted(monkeypatch)
        alone = untimed([Remote().score(task, each) for each in COMPLETIONS])
        assert [score["value"] for score in alone] == [1, 0, 0, 1, 0, 0, 1, 0]
        assert untimed(scored(task, COMPLETIONS)) == alone
        assert sent == [1] * 8 + [8]
        assert untimed(scored(remote_task("exact", batch=3), COMPLETIONS)) == alone
        assert sent[9:] == [3, 3, 2]
        assert untimed(scored(remote_task("exact", batch=1), COMPLETIONS)) == alone
        assert sent[12:] == [1] * 8
        assert untimed(asyncio.run(in_a_pool())) == alone


def test_a_request_that_fails_costs_its_own_completions_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(["exact"]):
        posted(monkeypatch, fail=1)
        scores = scored(remote_task("exact", batch=2), [COMPLETIONS[0]] * 5)
    assert [score.value for score in scores] == [1.0, 1.0, None, None, 1.0]
    assert (scores[2].reason, scores[2].explanation) == ("remote_error", "the server answered 500: broken")


def test_a_completion_that_the_server_refuses_costs_itself_alone() -> None:
    with serving(["exact"]):
        scores = scored(remote_task("exact"), [COMPLETIONS[0], Completion(text="x" * 4_000_001), COMPLETIONS[1]])
    assert [score.value for score in scores] == [1.0, None, 0.0]
    assert "422" in scores[1].explanation


def test_a_server_that_holds_fewer_is_asked_one_by_one(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    reply = client.post("/score_batch", json={"questions": [question("Paris")] * 4})
    assert (reply.status_code, "4 at once are more than this server holds (3)" in reply.text) == (413, True)
    with serving(["exact"], max_waiting=3):
        sent = posted(monkeypatch)
        scores = scored(remote_task("exact"), COMPLETIONS[:4])
    assert ([score.value for score in scores], sent) == ([1.0, 0.0, 0.0, 1.0], [4, 1, 1, 1, 1])


def test_a_group_that_is_judged_together_is_never_sent_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "ranked.py"
    path.write_text(
        "def longest(task, completions):\n    sizes = [len(each.text) for each in completions]\n"
        "    return [float(size == max(sizes)) for size in sizes]\n"
    )
    completions = [Completion(text="x" * n) for n in (1, 3, 2)]
    with serving([f"{path}:longest"], max_waiting=3):
        assert [s.value for s in scored(remote_task(f"{path}:longest"), completions)] == [0.0, 1.0, 0.0]
        in_parts = scored(remote_task(f"{path}:longest", batch=2), completions)
        too_many = scored(remote_task(f"{path}:longest"), completions * 2)
        one = Remote().check_task(remote_task(f"{path}:longest", batch=1))
    assert {(s.value, s.reason) for s in in_parts + too_many} == {(None, "remote_error")}
    assert "judges them together or is not known here; raise batch" in in_parts[0].explanation
    assert "6 at once are more" in too_many[0].explanation
    assert "judges the completions of a task together" in (one or "")


@pytest.mark.parametrize("answer", [[], {"scores": []}, {"scores": [1]}, {"scores": [{"worth": 1}]}, "no JSON"])
def test_an_answer_that_is_no_score_is_our_failure(answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLVR_VERIFIER_URL", "http://127.0.0.1:9")
    response = httpx.Response(200, text=answer if isinstance(answer, str) else json.dumps(answer))
    monkeypatch.setattr(httpx.Client, "post", lambda *_, **__: response)
    score = Remote().score(remote_task("exact"), COMPLETIONS[0])
    assert (score.value, score.reason) == (None, "remote_error")
    assert "the server" in score.explanation


@pytest.mark.parametrize("batch", [0, 1.5, 2_000, "all"])
def test_a_batch_is_a_whole_number_that_a_server_takes(batch: Any) -> None:
    with pytest.raises(VerifierError, match="'batch' is"):
        Remote().check_task(remote_task("exact", batch=batch))


def test_a_patience_beyond_the_deadline_of_the_pool_is_kept(slow: str) -> None:
    """Else the pool would stop the wait, and score a slow server as a wrong answer."""

    async def pooled() -> list[Score]:
        async with VerifierPool(1, 0.1) as pool:
            return await pool.score_group(remote_task(slow), COMPLETIONS[:2])

    with serving([slow]):
        assert [score.value for score in asyncio.run(pooled())] == [1.0, 1.0]


def test_the_environment_goes_along() -> None:
    (task,) = load_tasks({"source": "tool_env", "limit": 1})
    asked = dataclasses.replace(task, verifier="remote", verifier_args={"verifier": "tool_env", "patience_s": 20.0})
    with serving(["tool_env"]):
        scores = scored(asked, [gold_completion(task), Completion(text="Done.")])
    assert [score.value for score in scores] == [1.0, 0.0]


def test_remote_is_told_where_its_server_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RLVR_VERIFIER_URL", raising=False)
    task = Task(id="t", prompt=(), verifier="remote", answer="", verifier_args={"verifier": "exact"})
    assert "RLVR_VERIFIER_URL" in (Remote().check_task(task) or "")


def test_nothing_is_imported_for_a_name_in_a_request(client: httpx.Client, tmp_path: Path) -> None:
    trap = tmp_path / "trap.py"
    trap.write_text(f"open({str(tmp_path / 'sprung')!r}, 'w').close()\n")
    client.post("/score", json=question("x", verifier=f"{trap}:score"))
    nested = {"verifiers": [{"name": "multi", "args": {"verifiers": [{"name": f"{trap}:score"}]}}]}
    client.post("/score", json=question("x", verifier="multi", verifier_args=nested))
    tool_env = question("x", verifier="tool_env", environment=f"{trap}:Box", tools=[{"name": "x"}])
    with serving(["tool_env"]) as address:
        reply = httpx.post(f"{address}/score", json=tool_env)
    assert (reply.status_code, "registry name" in reply.text) == (422, True)
    assert not (tmp_path / "sprung").exists()
