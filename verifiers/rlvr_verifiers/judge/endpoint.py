"""One question to an OpenAI-compatible endpoint: time limit, retries with back-off, rate limit, cache, and a ledger of what it cost.

The key is in the request's header and nowhere else: not in the cache, the ledger, messages of errors, or a redirect (none is followed).
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import http.client
import json
import os
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any, cast

from rlvr_verifiers.arguments import clip
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.judge.options import Options, cache_folder, key_for

FIRST_PAUSE_S = 0.5
LARGEST_REPLY = 2_000_000
WORTH_ANOTHER_TRY = frozenset({408, 409, 425, 429, 500, 502, 503, 504})


class JudgeError(VerifierError):
    """The judge gave no usable reply. `reason` is a short code; `retry_after_s` None says that asking again will not help."""

    def __init__(self, reason: str, text: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason, text, retry_after_s)
        self.reason = reason
        self.text = text
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.text


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    text: str
    input_tokens: int
    output_tokens: int
    cached: bool


def ask(messages: Sequence[Mapping[str, str]], options: Options, *, until: float, usable: Callable[[str], bool]) -> Reply:
    """The reply to these messages, from the cache where it was asked before. Raises JudgeError before `until` (time.monotonic).

    A reply that is not `usable` is asked for once more and never kept.
    """
    body: dict[str, Any] = {
        "model": options.model,
        "messages": list(messages),
        "temperature": 0,
        "max_tokens": options.max_tokens,
    }
    file = _cache_file(options, body)
    known = _read(file)
    if known is not None and usable(known.text):
        return known
    reply = _with_retries(body, options, until)
    if not usable(reply.text):
        reply = second_try(reply, _with_retries({**body, "messages": asked_again(messages, reply)}, options, until), usable)
    _write(file, reply)
    return reply


def asked_again(messages: Sequence[Mapping[str, str]], reply: Reply) -> list[Mapping[str, str]]:
    """What follows a reply without a verdict."""
    form = "Repeat only the last line, in the form asked for."
    return [*messages, {"role": "assistant", "content": reply.text}, {"role": "user", "content": form}]


def second_try(first: Reply, second: Reply, usable: Callable[[str], bool]) -> Reply:
    """The second reply, with what both have cost. Raises JudgeError where it has no verdict either."""
    if not usable(second.text):
        raise JudgeError("judge_nonsense", f"no verdict in the judge's reply: {clip(second.text, 200)!r}")
    return Reply(
        text=second.text,
        input_tokens=first.input_tokens + second.input_tokens,
        output_tokens=first.output_tokens + second.output_tokens,
        cached=False,
    )


def cost(reply: Reply, options: Options) -> float:
    """What the reply cost now, in the currency of the prices; a cached one is free."""
    if reply.cached:
        return 0.0
    return (reply.input_tokens * options.input_price + reply.output_tokens * options.output_price) / 1e6


def usage(folder: Path | None = None) -> dict[str, float]:
    """Sums of the ledger: calls, input_tokens, output_tokens, cost."""
    file = (folder or cache_folder()) / "usage.jsonl"
    totals = {"calls": 0.0, "input_tokens": 0.0, "output_tokens": 0.0, "cost": 0.0}
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # torn by a crash
        totals["calls"] += 1
        for name in ("input_tokens", "output_tokens", "cost"):
            totals[name] += entry.get(name, 0)
    return totals


def _with_retries(body: Mapping[str, Any], options: Options, until: float) -> Reply:
    failure = JudgeError("judge_unreachable", "there was no time to ask the judge; raise timeout_s")
    for attempt in range(options.retries + 1):
        _wait_for_turn(options, until)
        left = until - time.monotonic()
        if left <= 0:
            break
        try:
            reply = _post(body, options, left)
        except JudgeError as error:
            if error.retry_after_s is None:
                raise
            failure = error
            pause = max(FIRST_PAUSE_S * 2**attempt * random.uniform(0.5, 1.0), error.retry_after_s)
            if attempt == options.retries or time.monotonic() + pause >= until:
                break
            time.sleep(pause)
        else:
            _note_usage(reply, options)
            return reply
    raise failure


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str) -> None:
        return None  # it would carry the key along


_OPENER = urllib.request.build_opener(_NoRedirect())
_Answer = tuple[int, str | None, bytes]
"""Status, Retry-After and body."""


def _post(body: Mapping[str, Any], options: Options, timeout_s: float) -> Reply:
    """One request. Raises JudgeError, with `retry_after_s` where another request may help."""
    key = key_for(options.endpoint)
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"{options.endpoint}/chat/completions", data, headers, method="POST")  # noqa: S310 - http or https, checked
    try:
        code, pause, content = _in_time(lambda: _exchange(request, timeout_s), timeout_s)
    except (OSError, http.client.HTTPException) as error:  # refused, reset, timed out, cut off in the middle
        said = _without(key, str(error) or type(error).__name__)
        raise JudgeError("judge_unreachable", f"{options.endpoint}: {clip(said, 200)}", 0.0) from None
    if not 200 <= code < 300:
        said = _without(key, content.decode("utf-8", "replace"))
        after = _retry_after(pause) if code in WORTH_ANOTHER_TRY else None
        raise JudgeError("judge_refused", f"{options.endpoint} answered {code}: {clip(said, 200)}", after)
    return _parsed(content, options)


def _in_time(exchange: Callable[[], _Answer], timeout_s: float) -> _Answer:
    """What it returns, or raises. Raises TimeoutError after these seconds, and leaves it to its thread: the limit of a socket
    is one of silence, so that it bounds neither headers that drip nor the look-up of a name."""
    future = Future[_Answer]()

    def run() -> None:
        try:
            future.set_result(exchange())
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=run, name="judge", daemon=True).start()
    try:
        return future.result(timeout_s)
    except TimeoutError:
        raise TimeoutError("the reply was not finished in time") from None


def _exchange(request: urllib.request.Request, timeout_s: float) -> _Answer:
    until = time.monotonic() + timeout_s
    try:
        with _OPENER.open(request, timeout=timeout_s) as answer:
            return answer.status, None, _read_until(answer, until)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get("Retry-After"), error.read(2000)


def _read_until(answer: Any, until: float) -> bytes:
    """The body, in the time there is: a server that drips a byte now and then does not reset the clock."""
    parts: list[bytes] = []
    while chunk := answer.read1(65536):
        parts.append(chunk)
        if time.monotonic() > until or sum(map(len, parts)) > LARGEST_REPLY:
            raise TimeoutError("the reply was not finished in time, or is too large")
    return b"".join(parts)


def _parsed(content: bytes, options: Options) -> Reply:
    try:
        answer = json.loads(content)
        text = answer["choices"][0]["message"]["content"]
        used = cast("dict[str, Any]", answer.get("usage") or {})
        numbers = [int(used.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")]
        if not isinstance(text, str):
            raise TypeError
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        shown = clip(content[:400].decode("utf-8", "replace"), 200)
        raise JudgeError("judge_nonsense", f"{options.endpoint}: not a chat completion: {shown!r}", 0.0) from None
    return Reply(text=text, input_tokens=numbers[0], output_tokens=numbers[1], cached=False)


def _retry_after(value: str | None) -> float:
    try:
        return max(0.0, float(value or 0))
    except ValueError:
        return 0.0  # a date: our own pause will do


def _without(key: str | None, text: str) -> str:
    return text.replace(key, "[redacted]") if key else text


# -- what all processes share -------------------------------------------------------------------------------------


def _wait_for_turn(options: Options, until: float) -> None:
    """Takes the next free slot of the rate limit. Raises JudgeError where it lies beyond `until`."""
    if not options.requests_per_minute:
        return
    name = hashlib.sha256(options.endpoint.encode()).hexdigest()[:16]
    with _locked(cache_folder() / f"rate-{name}") as file:
        now = time.time()
        try:
            last = float(file.read() or 0)
        except ValueError:
            last = 0.0
        slot = max(now, min(last, now + 3600) + 60 / options.requests_per_minute)
        if slot - now >= until - time.monotonic():
            raise JudgeError(
                "judge_busy", f"{options.requests_per_minute:g} requests a minute leave no turn within timeout_s"
            )
        file.seek(0)
        file.truncate()
        file.write(repr(slot))
    time.sleep(max(0.0, slot - now))


def _note_usage(reply: Reply, options: Options) -> None:
    entry = {
        "time": round(time.time(), 3),
        "endpoint": options.endpoint,
        "model": options.model,
        "input_tokens": reply.input_tokens,
        "output_tokens": reply.output_tokens,
        "cost": cost(reply, options),
    }
    with _locked(cache_folder() / "usage.jsonl") as file:
        file.seek(0, os.SEEK_END)
        file.write(json.dumps(entry) + "\n")


def _locked(path: Path) -> IO[str]:
    """An open file that no other process has locked; closing it frees it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+", encoding="utf-8")
    fcntl.flock(file, fcntl.LOCK_EX)
    file.seek(0)
    return file


def _cache_file(options: Options, body: Mapping[str, Any]) -> Path:
    content = json.dumps([options.endpoint, body], sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()
    return cache_folder() / digest[:2] / f"{digest}.json"


def _read(file: Path) -> Reply | None:
    try:
        kept = cast("dict[str, Any]", json.loads(file.read_text(encoding="utf-8")))
        return Reply(
            text=str(kept["text"]),
            input_tokens=int(kept["input_tokens"]),
            output_tokens=int(kept["output_tokens"]),
            cached=True,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(file: Path, reply: Reply) -> None:
    """Whole or not at all: another process may read it at this moment."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    content = {"text": reply.text, "input_tokens": reply.input_tokens, "output_tokens": reply.output_tokens}
    draft.write_text(json.dumps(content), encoding="utf-8")
    draft.replace(file)
