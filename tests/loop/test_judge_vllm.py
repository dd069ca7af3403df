"""`judge` against a stock `vllm serve` with the real small model: verdicts, a cache that outlives the server, and a server that dies."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from rlvr_verifiers.judge.endpoint import usage
from rlvr_verifiers.pool import VerifierPool
from rlvr_verifiers.scoring import score_now
from rlvr_verifiers.types import Completion, Score, Task
from tests.vllm_server import StartVllm, VllmServer, vllm_server

pytestmark = [pytest.mark.vllm, pytest.mark.model]
__all__ = ["vllm_server"]  # a fixture

TEMPLATE = """
{%- set shown = [("Go away!", 1), ("What now?", 2), ("Hello, how are you?", 8), ("Good evening, it is nice to meet you.", 9)] -%}
{%- for message in messages -%}
{%- if message.role == "user" -%}
{%- for answer, score in shown -%}
{{ "<|im_start|>user\n[answer]\n" + answer + "\n[end of answer]<|im_end|>\n" }}
{{- "<|im_start|>assistant\nScore: " + score|string + "<|im_end|>\n" }}
{%- endfor -%}
{%- endif -%}
{{ "<|im_start|>" + message.role + "\n" + message.content + "<|im_end|>\n" }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ "<|im_start|>assistant\n" }}{%- endif -%}
"""
"""The server's own chat template, with examples in it: a model of this size finds the form of a verdict by imitation only."""


@pytest.fixture(scope="module")
def server(vllm_server: StartVllm, smollm: Path, tmp_path_factory: pytest.TempPathFactory) -> VllmServer:
    template = tmp_path_factory.mktemp("template") / "judge.jinja"
    template.write_text(TEMPLATE)
    named = ("--served-model-name", "small", "--chat-template", str(template))
    return vllm_server(smollm, "--dtype", "bfloat16", "--max-model-len", "1024", *named)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("RLVR_JUDGE_ENDPOINT", raising=False)
    monkeypatch.setenv("RLVR_JUDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def task(server: VllmServer, **arguments: Any) -> Task:
    where = {"endpoint": f"{server.url}/v1", "model": "small", "rubric": "Polite and short.", "timeout_s": 120, "retries": 1}
    return Task(
        id="j",
        prompt=({"role": "user", "content": "Greet me."},),
        verifier="judge",
        answer="",
        verifier_args={**where, **arguments},
    )


def test_a_stock_server_judges_and_its_death_is_none_and_never_0(server: VllmServer) -> None:
    """One test, because starting the server is the slow part, and because it ends dead."""
    texts = [f"Hello, I am number {n}." for n in range(12)]
    asked = task(server, max_tokens=16)
    first = [score_now(asked, Completion(text=text)) for text in texts[:4]]
    judged = [score for score in first if score.value is not None]
    assert len(judged) >= 2, first
    assert all(0 <= float(score.value or 0) <= 1 and score.parsed and score.is_opinion for score in judged)
    assert all(score.reason == "judge_nonsense" for score in first if score.value is None)
    assert usage()["calls"] >= 4
    assert usage()["input_tokens"] > 600

    scores = asyncio.run(_score_while_it_dies(server, asked, texts[4:]))
    lost = [score for score in scores if score.reason == "judge_unreachable"]
    assert lost, scores
    assert all(score.value is None and server.url in score.explanation for score in lost)
    assert all(score.value is not None or score.reason in ("judge_unreachable", "judge_nonsense") for score in scores)

    kept = [
        score_now(asked, Completion(text=text)) for text, score in zip(texts, first, strict=False) if score.value is not None
    ]
    assert [score.value for score in kept] == [score.value for score in judged]
    assert all(score.metrics["cached"] == 1.0 for score in kept)


async def _score_while_it_dies(server: VllmServer, asked: Task, texts: list[str]) -> list[Score]:
    """Two workers ask; the server is killed once one of them has an answer."""
    async with VerifierPool(workers=2, deadline_s=5.0) as pool:
        scores = [asyncio.ensure_future(pool.score(asked, Completion(text=text))) for text in texts]
        await asyncio.wait(scores, return_when=asyncio.FIRST_COMPLETED)
        server.kill()
        return list(await asyncio.gather(*scores))
