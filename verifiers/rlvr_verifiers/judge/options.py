"""What a task says about its judge, read strictly; and what only the environment may say.

RLVR_JUDGE_ENDPOINT   base URL, such as http://127.0.0.1:8000/v1, for tasks that name none
RLVR_JUDGE_KEY        sent as bearer token, to RLVR_JUDGE_ENDPOINT and to nobody else: a row of data cannot send it elsewhere
RLVR_JUDGE_CACHE      folder of the cache, the usage ledger and the rate limit; ~/.cache/rlvr/judge by default
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from urllib.parse import urlsplit

from rlvr_verifiers.arguments import ArgumentReader
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.types import Task

ENDPOINT, KEY, CACHE = "RLVR_JUDGE_ENDPOINT", "RLVR_JUDGE_KEY", "RLVR_JUDGE_CACHE"
ENGINE = "engine"
"""As `endpoint`: the engine that samples judges, too, with the weights it had before training."""
LONGEST_TIMEOUT_S = 600.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    mode: str
    """rubric: a score of its own; pairwise: against `answer`, in both orders."""
    endpoint: str
    model: str
    rubric: str
    highest: int
    """Scores run from 1 to this."""
    pass_from: int
    """Rubric: passes from this score up."""
    timeout_s: float
    """For the whole verification: all calls, retries and waiting."""
    retries: int
    requests_per_minute: float
    """0 is no limit; shared by all processes that use the cache folder."""
    max_tokens: int
    input_price: float
    """Per million tokens, in any currency."""
    output_price: float


def options_of(task: Task) -> Options:
    """Raises VerifierError with what is missing or wrong."""
    read = ArgumentReader("judge", task.verifier_args)
    mode = read.one_of("mode", ("rubric", "pairwise"))
    highest = int(read.number("highest", 10, minimum=2))
    options = Options(
        mode=mode,
        endpoint=(read.text("endpoint") or os.environ.get(ENDPOINT, "")).rstrip("/"),
        model=read.text("model") or ("the engine's base" if read.text("endpoint") == ENGINE else ""),
        rubric=read.text("rubric") or "",
        highest=highest,
        pass_from=int(read.number("pass_from", highest, minimum=1)),
        timeout_s=min(LONGEST_TIMEOUT_S, read.number("timeout_s", 60.0, minimum=0.1)),
        retries=int(read.number("retries", 3, minimum=0)),
        requests_per_minute=read.number("requests_per_minute", 0.0, minimum=0.0),
        max_tokens=int(read.number("max_tokens", 512, minimum=1)),
        input_price=read.number("input_price", 0.0, minimum=0.0),
        output_price=read.number("output_price", 0.0, minimum=0.0),
    )
    read.finish()
    url = urlsplit(options.endpoint)
    if options.endpoint != ENGINE and (url.scheme not in ("http", "https") or not url.hostname):
        raise VerifierError(
            "verifier_args of 'judge': no endpoint; give its URL (http://host:port/v1) as `endpoint`, or in the environment as "
            f"{ENDPOINT}; or {ENGINE!r}, which judges with the engine that samples"
        )
    if not options.model or not options.rubric:
        missing = "model" if not options.model else "rubric"
        raise VerifierError(
            f"verifier_args of 'judge': {missing!r} is missing; name the model, and say in `rubric` what is good"
        )
    if options.pass_from > options.highest:
        raise VerifierError(
            f"verifier_args of 'judge': pass_from {options.pass_from} is above the highest score {options.highest}"
        )
    if options.mode == "pairwise" and not task.answer.strip():
        raise VerifierError("judge: pairwise needs the text to compare with as the task's `answer`")
    return options


def key_for(endpoint: str) -> str | None:
    """The key, only where the endpoint is the one that the environment names."""
    named = os.environ.get(ENDPOINT, "").rstrip("/")
    return os.environ.get(KEY) or None if endpoint == named else None


def cache_folder() -> Path:
    return Path(os.environ.get(CACHE) or Path.home() / ".cache" / "rlvr" / "judge")
