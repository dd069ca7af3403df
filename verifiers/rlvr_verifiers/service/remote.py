"""`remote`: asks a server (`rlvr verifiers serve`) what a completion is worth. verifier_args: {"verifier": name, "args": {...}}.

The environment says where it is, RLVR_VERIFIER_URL, and its token, RLVR_VERIFIER_TOKEN; a task cannot, since a task is data and
could send the token anywhere. A server that is busy, stopping or away is asked again until `patience_s`; then the score is None.
"""

from __future__ import annotations

import os
import time
import weakref
from typing import Any, cast

import httpx

from rlvr_verifiers.arguments import ArgumentReader, clip
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.types import Completion, Score, Task

URL, TOKEN = "RLVR_VERIFIER_URL", "RLVR_VERIFIER_TOKEN"
_AGAIN = frozenset({429, 502, 503, 504})


class Remote:
    effects = frozenset({"network"})
    value_range = (float("-inf"), float("inf"))

    def __init__(self) -> None:
        self._client: httpx.Client | None = None

    def check_task(self, task: Task) -> str | None:
        _arguments(task)
        return None if os.environ.get(URL) else f"set {URL} to the address of a server, as in http://localhost:8000"

    def reasons(self, task: Task) -> frozenset[str]:
        """Its server's; those of the verifier it names, where that is known here too."""
        from rlvr_verifiers.registry import resolve

        return frozenset({"ok", "mismatch", "remote_error"}) | (
            resolve(_arguments(task)[0]).reasons_for(task) or frozenset()
        )

    def prepare(self) -> None:
        if not os.environ.get(URL):
            raise VerifierError(f"verifier 'remote': set {URL} to the address of a server, as in http://localhost:8000")

    def score(self, task: Task, completion: Completion) -> Score:
        name, arguments, patience_s = _arguments(task)
        question = {
            "task": {
                "id": task.id,
                "prompt": [dict(message) for message in task.prompt],
                "verifier": name,
                "answer": task.answer,
                "verifier_args": arguments,
                "tools": [dict(tool) for tool in task.tools],
                "data_source": task.data_source,
                "info": dict(task.info),
            },
            "completion": {
                "text": _sendable(completion.text),
                "messages": [_sendable(dict(message)) for message in completion.messages],
                "finish_reason": completion.finish_reason,
            },
        }
        return self._ask(question, patience_s)

    def _ask(self, question: dict[str, Any], patience_s: float) -> Score:
        until, pause = time.monotonic() + patience_s, 0.05
        while True:
            left = until - time.monotonic()
            problem = "the server gave no answer"
            try:
                response = self._connection().post("/score", json=question, timeout=max(0.1, left))
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {clip(str(error), 200)}"
            else:
                if response.status_code == 200:
                    return Score.from_json(response.json())
                problem = f"the server answered {response.status_code}: {clip(response.text, 200)}"
                if response.status_code not in _AGAIN:
                    return _failed(problem)
            if time.monotonic() + pause > until:
                return _failed(problem)
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


def _arguments(task: Task) -> tuple[str, dict[str, Any], float]:
    read = ArgumentReader("remote", task.verifier_args)
    name, arguments = read.text("verifier"), dict(read.mapping("args"))
    patience_s = read.number("patience_s", 4.0, minimum=0.1)
    read.finish()
    if name is None:
        raise VerifierError("verifier_args of 'remote': give verifier, the name that the server knows")
    return name, arguments, patience_s


def _sendable(value: Any) -> Any:
    """JSON over HTTP is UTF-8, which has no lone surrogates: they become replacement characters."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {key: _sendable(each) for key, each in cast("dict[str, Any]", value).items()}
    return value
