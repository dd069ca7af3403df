"""Scores over HTTP, so that other trainers and languages use the same graders. `rlvr verifiers serve` runs it.

POST /score takes a task and a completion, POST /score_batch several pairs (those of one task, one after another, are a group for
verifiers that judge groups), GET /verifiers lists names, GET /health says whether
it takes work, GET /metrics counts (Prometheus text). /openapi.json is the schema. With a token, all but /health want it as
`Authorization: Bearer ...`.

Only verifiers that the server was started for can be asked: a name in a request never imports anything. More verifications than
`max_waiting` are refused at once with 503 and Retry-After, so that a queue cannot grow without bound; a batch that is more than that by
itself, with 413.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import itertools
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Annotated, Any, Literal, cast

from fastapi import Depends, FastAPI, Header, HTTPException, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.pool import VerifierPool
from rlvr_verifiers.registry import check_task, resolve, version_of
from rlvr_verifiers.types import Completion, Score, Task

MAX_TEXT = 4_000_000
MAX_BATCH = 1_024


class TaskBody(BaseModel):
    model_config = ConfigDict(extra="forbid")
    verifier: str = Field(max_length=200)
    answer: str = Field(max_length=MAX_TEXT)
    id: str = Field("remote", max_length=1_000)
    prompt: list[dict[str, Any]] = []
    verifier_args: dict[str, Any] = {}
    tools: list[dict[str, Any]] = []
    environment: str | None = None
    env_args: dict[str, Any] = {}
    data_source: str = ""
    info: dict[str, Any] = {}


class CompletionBody(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: str = Field(max_length=MAX_TEXT)
    messages: list[dict[str, Any]] = []
    finish_reason: Literal["stop", "length", "abort"] = "stop"


class Question(BaseModel):
    model_config = ConfigDict(extra="forbid")
    task: TaskBody
    completion: CompletionBody


class Batch(BaseModel):
    model_config = ConfigDict(extra="forbid")
    questions: Annotated[list[Question], Field(min_length=1, max_length=MAX_BATCH)]


class ScoreBody(BaseModel):
    value: float | None
    """None: our side failed."""
    passed: bool
    reason: str
    explanation: str
    parsed: str | None
    metrics: dict[str, float]
    seconds: float


class Scores(BaseModel):
    scores: list[ScoreBody]


class Problem(BaseModel):
    detail: Any


class Service:
    """The pool behind the endpoints, and what is counted."""

    def __init__(self, pool: VerifierPool, names: Sequence[str], max_waiting: int) -> None:
        self.pool = pool
        self.names = frozenset(names)
        self.max_waiting = max_waiting
        self.waiting = 0
        self.draining = False
        self.seconds = 0.0
        self.reasons: Counter[tuple[str, str]] = Counter()
        self.refused = 0

    async def score(self, questions: Sequence[Question]) -> list[Score]:
        tasks = [self._task(number, question.task) for number, question in enumerate(questions)]
        if len(questions) > self.max_waiting:
            raise HTTPException(
                413, f"{len(questions)} at once are more than this server holds ({self.max_waiting}); send fewer"
            )
        if self.draining or self.waiting + len(questions) > self.max_waiting:
            self.refused += len(questions)
            why = "the server is stopping" if self.draining else f"{self.waiting} verifications are waiting"
            raise HTTPException(503, f"{why}; ask again later", headers={"Retry-After": "1"})
        self.waiting += len(questions)
        try:
            pairs = zip(tasks, (_completion(question.completion) for question in questions), strict=True)
            groups = [list(group) for _, group in itertools.groupby(pairs, key=lambda pair: pair[0])]
            scores = await asyncio.gather(*(self._score(group[0][0], [each for _, each in group]) for group in groups))
        finally:
            self.waiting -= len(questions)
        return [score for group in scores for score in group]

    async def drain(self) -> None:
        """Takes nothing new and waits for what is under way."""
        self.draining = True
        while self.waiting:
            await asyncio.sleep(0.02)

    def metrics(self) -> str:
        lines = [
            f'rlvr_scores_total{{verifier="{name}",reason="{reason}"}} {n}'
            for (name, reason), n in sorted(self.reasons.items())
        ]
        lines += [f"rlvr_verification_seconds_total {self.seconds:.6f}", f"rlvr_waiting {self.waiting}"]
        return "\n".join(
            [*lines, f"rlvr_refused_total {self.refused}", f"rlvr_worker_restarts_total {self.pool.restarts}", ""]
        )

    def _task(self, number: int, body: TaskBody) -> Task:
        if body.verifier not in self.names:
            known = ", ".join(sorted(self.names))
            raise HTTPException(422, f"question {number}: no verifier {body.verifier!r:.80} here; there are {known}")
        if ":" in (body.environment or ""):  # a name of an installed one is fine; a path would be imported
            raise HTTPException(422, f"question {number}: environment: found {body.environment!r:.80}; give a registry name")
        task = Task.from_json(body.model_dump())
        try:
            called = set(_named(task.verifier_args)) - self.names
            problem = f"it calls {', '.join(sorted(called))}, which is not served" if called else None
            problem = problem or check_task(task)
        except VerifierError as error:
            problem = str(error)
        if problem is not None:
            raise HTTPException(422, f"question {number}: {problem}")
        return task

    async def _score(self, task: Task, completions: Sequence[Completion]) -> list[Score]:
        """Together where the verifier judges groups, else one by one."""
        scores = await self.pool.score_group(task, completions)
        for score in scores:
            self.reasons[task.verifier, score.reason] += 1
            self.seconds += score.seconds
        return scores


def _completion(body: CompletionBody) -> Completion:
    return Completion(text=body.text, messages=tuple(body.messages), finish_reason=body.finish_reason)


def _named(value: Any) -> Iterator[str]:
    """Verifiers that `multi`, at any depth, would load for these arguments: read before anything is loaded."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        for part in cast("list[Any]", fields.get("verifiers")) if isinstance(fields.get("verifiers"), list) else []:
            if isinstance(part, dict) and "name" in part:
                yield str(cast("dict[str, Any]", part)["name"])
        for each in fields.values():
            yield from _named(each)
    elif isinstance(value, list):
        for each in cast("list[Any]", value):
            yield from _named(each)


def make_app(
    verifiers: Sequence[str],
    *,
    token: str | None = None,
    workers: int = 0,
    deadline_s: float = 5.0,
    max_waiting: int = 4_096,
) -> FastAPI:
    """The application. Raises VerifierError, when it starts, where a verifier cannot be loaded."""
    holder: list[Service] = []

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        async with VerifierPool(workers, deadline_s, verifiers=verifiers) as pool:
            holder.append(Service(pool, verifiers, max_waiting))
            yield
            await holder.pop().drain()

    def allowed(authorization: Annotated[str | None, Header()] = None) -> None:
        given = (authorization or "").removeprefix("Bearer ")
        if token is not None and not hmac.compare_digest(given.encode("utf-8", "replace"), token.encode()):
            raise HTTPException(
                401, "give the server's token as Authorization: Bearer ...", headers={"WWW-Authenticate": "Bearer"}
            )

    app = FastAPI(title="rlvr verifiers", description=__doc__ or "", lifespan=lifespan)
    guard = [Depends(allowed)]
    told: dict[int | str, dict[str, Any]] = {code: {"model": Problem} for code in (400, 401, 413, 422, 503)}

    @app.post("/score", dependencies=guard, responses=told)
    async def score(question: Question) -> ScoreBody:
        return _body((await holder[0].score([question]))[0])

    @app.post("/score_batch", dependencies=guard, responses=told)
    async def score_batch(batch: Batch) -> Scores:
        return Scores(scores=[_body(score) for score in await holder[0].score(batch.questions)])

    @app.get("/verifiers", dependencies=guard, responses={401: {"model": Problem}})
    async def listed() -> dict[str, str]:
        return {name: version_of(name) for name in sorted(verifiers)}

    @app.get("/health", responses={503: {"model": Problem}})
    async def health(response: Response) -> dict[str, str]:
        stopping = not holder or holder[0].draining
        response.status_code = 503 if stopping else 200
        return {"status": "stopping" if stopping else "ok"}

    @app.get("/metrics", dependencies=guard, response_class=PlainTextResponse, responses={401: {"model": Problem}})
    async def metrics() -> str:
        return holder[0].metrics()

    for name in verifiers:
        resolve(name)
    app.openapi()["components"]["schemas"]["TaskBody"]["properties"]["verifier"]["enum"] = sorted(verifiers)
    app.state.service = holder
    _ = (score, score_batch, listed, health, metrics)
    return app


def _body(score: Score) -> ScoreBody:
    return ScoreBody(**score.to_json())
