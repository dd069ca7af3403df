"""`remote`: asks a server (`rlvr verifiers serve`) what completions are worth. verifier_args: {"verifier": name, "args": {...}}.

The environment says where it is, RLVR_VERIFIER_URL, and its token, RLVR_VERIFIER_TOKEN; a task cannot, since a task is data and
could send the token anywhere. A server that is busy, stopping or away is asked again until `patience_s`; then the score is None.

The completions of a task go in one request, at most `batch` of them, so that the server judges them side by side. Where their group
matters to the verifier they are never sent in parts.
"""

from __future__ import annotations

import dataclasses
import os
import time
import weakref
from collections.abc import Sequence
from typing import Any, cast

import httpx

from rlvr_verifiers.arguments import ArgumentReader, clip
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.types import Completion, Score, Task

URL, TOKEN = "RLVR_VERIFIER_URL", "RLVR_VERIFIER_TOKEN"
_AGAIN = frozenset({429, 502, 503, 504})
_TOO_MUCH = frozenset({413, 422})
"""Statuses by which one completion, or their number, can be refused."""
BATCH = 256
LARGEST_BATCH = 1_024
"""What a server takes at most."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Asking:
    """The verifier_args."""

    verifier: str
    arguments: dict[str, Any]
    patience_s: float
    """For a server that is busy or away, and for the answer to each completion."""
    batch: int


class _RefusedError(Exception):
    """The server will not judge what it was sent, and would not if it were asked again."""


class Remote:
    effects = frozenset({"network"})
    value_range = (float("-inf"), float("inf"))

    def __init__(self) -> None:
        self._client: httpx.Client | None = None

    def check_task(self, task: Task) -> str | None:
        asking = _asking(task)
        if asking.batch == 1 and _splittable(task, asking) is False:
            return f"batch is 1, and verifier {asking.verifier!r} judges the completions of a task together; leave batch out"
        return None if os.environ.get(URL) else f"set {URL} to the address of a server, as in http://localhost:8000"

    def reasons(self, task: Task) -> frozenset[str]:
        """Its server's; those of the verifier it names, where that is known here too."""
        from rlvr_verifiers.registry import resolve

        named = _named(task, _asking(task))
        return frozenset({"ok", "mismatch", "remote_error"}) | (resolve(named.verifier).reasons_for(named) or frozenset())

    def prepare(self) -> None:
        if not os.environ.get(URL):
            raise VerifierError(f"verifier 'remote': set {URL} to the address of a server, as in http://localhost:8000")

    def own_deadline_s(self, task: Task) -> float:
        """All that it waits for is ours, so a server that drips its answer for ever is no failure of the completion."""
        return _asking(task).patience_s + 5.0

    def whole_group(self, task: Task) -> bool:
        return _asking(task).batch > 1

    def score(self, task: Task, completion: Completion) -> Score:
        return self.score_batch(task, (completion,))[0]

    def score_batch(self, task: Task, completions: Sequence[Completion]) -> list[Score]:
        asking = _asking(task)
        if len(completions) <= asking.batch:
            return self._judged(task, asking, completions)
        if not _splittable(task, asking):
            return [_failed(_in_parts(asking.verifier, len(completions), asking.batch))] * len(completions)
        starts = range(0, len(completions), asking.batch)
        parts = (completions[start : start + asking.batch] for start in starts)
        return [score for part in parts for score in self._judged(task, asking, part)]

    def _judged(self, task: Task, asking: _Asking, completions: Sequence[Completion]) -> list[Score]:
        """One request; where it is refused, one for each, since it may be for the sake of a single completion."""
        question = _task_body(task, asking)
        questions = [{"task": question, "completion": _completion_body(each)} for each in completions]
        try:
            return self._ask(questions, asking.patience_s)
        except _RefusedError as refusal:
            if len(completions) > 1 and _splittable(task, asking):
                return [score for each in completions for score in self._judged(task, asking, (each,))]
            return [_failed(str(refusal))] * len(completions)

    def _ask(self, questions: Sequence[dict[str, Any]], patience_s: float) -> list[Score]:
        """Raises _RefusedError. Every other failure is a score of None for all of them."""
        begin = time.monotonic()
        until, pause = begin + patience_s, 0.05
        while True:
            left = begin + patience_s * len(questions) - time.monotonic()
            problem = "the server gave no answer"
            try:
                timeout = httpx.Timeout(max(0.1, left), connect=max(0.1, until - time.monotonic()))
                response = self._connection().post("/score_batch", json={"questions": questions}, timeout=timeout)
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {clip(str(error), 200)}"
            else:
                if response.status_code == 200:
                    return _scores(response, len(questions))
                problem = f"the server answered {response.status_code}: {clip(response.text, 200)}"
                if response.status_code in _TOO_MUCH:
                    raise _RefusedError(problem)
                if response.status_code not in _AGAIN:
                    return [_failed(problem)] * len(questions)
            if time.monotonic() + pause > until:
                return [_failed(problem)] * len(questions)
            time.sleep(pause)
            pause = min(1.0, pause * 2)

    def _connection(self) -> httpx.Client:
        if self._client is None:
            token = os.environ.get(TOKEN)
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            # No redirects: the token goes to the named server alone.
            self._client = httpx.Client(base_url=os.environ.get(URL, ""), headers=headers, follow_redirects=False)
            weakref.finalize(self, self._client.close)
        return self._client


def _failed(explanation: str) -> Score:
    return Score(value=None, passed=False, reason="remote_error", explanation=explanation)


def _scores(response: httpx.Response, count: int) -> list[Score]:
    try:
        scores = [Score.from_json(score) for score in response.json()["scores"]]
    except (ValueError, TypeError, KeyError) as error:
        return [_failed(f"the server's answer cannot be read ({type(error).__name__}: {clip(str(error), 100)})")] * count
    if len(scores) != count:
        return [_failed(f"the server gave {len(scores)} scores for {count} completions")] * count
    return scores


def _in_parts(verifier: str, count: int, batch: int) -> str:
    return (
        f"{count} completions do not fit into one request (batch is {batch}), and in parts they cannot go, since verifier {verifier!r} "
        f"judges them together or is not known here; raise batch (at most {LARGEST_BATCH}) or sample fewer"
    )


def _splittable(task: Task, asking: _Asking) -> bool | None:
    """Whether each completion can be judged without the others; None where the verifier is known to the server alone."""
    from rlvr_verifiers.registry import resolve

    try:
        return not resolve(asking.verifier).wants_group(_named(task, asking))
    except VerifierError:
        return None


def _named(task: Task, asking: _Asking) -> Task:
    """The task as the server's verifier gets it."""
    return dataclasses.replace(task, verifier=asking.verifier, verifier_args=asking.arguments)


def _task_body(task: Task, asking: _Asking) -> dict[str, Any]:
    body = {
        "id": task.id,
        "prompt": [dict(message) for message in task.prompt],
        "verifier": asking.verifier,
        "answer": task.answer,
        "verifier_args": asking.arguments,
        "tools": [dict(tool) for tool in task.tools],
        "environment": task.environment,
        "env_args": dict(task.env_args),
        "data_source": task.data_source,
        "info": dict(task.info),
    }
    return cast("dict[str, Any]", _sendable(body))


def _completion_body(completion: Completion) -> dict[str, Any]:
    return {
        "text": _sendable(completion.text),
        "messages": [_sendable(dict(message)) for message in completion.messages],
        "finish_reason": completion.finish_reason,
    }


def _asking(task: Task) -> _Asking:
    read = ArgumentReader("remote", task.verifier_args)
    name, arguments = read.text("verifier"), dict(read.mapping("args"))
    patience_s = read.number("patience_s", 4.0, minimum=0.1)
    batch = read.number("batch", BATCH, minimum=1)
    read.finish()
    if name is None:
        raise VerifierError("verifier_args of 'remote': give verifier, the name that the server knows")
    if batch > LARGEST_BATCH or batch != int(batch):
        raise VerifierError(f"verifier_args of 'remote': 'batch' is {batch:g}; give a whole number up to {LARGEST_BATCH}")
    return _Asking(name, arguments, patience_s, int(batch))


def _sendable(value: Any) -> Any:
    """JSON over HTTP is UTF-8, which has no lone surrogates: they become replacement characters."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {key: _sendable(each) for key, each in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_sendable(each) for each in cast("list[Any]", value)]
    return value
