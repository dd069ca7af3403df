"""What every engine refuses before it samples anything: requests that cannot be answered as asked."""

from __future__ import annotations

from collections.abc import Sequence

from rlvr.engines.protocol import GenerationRequest
from rlvr.errors import RlvrError


def check_requests(requests: Sequence[GenerationRequest], *, max_model_len: int, policy_loaded: bool) -> None:
    """Raises `RlvrError` naming the first request that is impossible and how many are."""
    problems = [(r.index, problem) for r in requests if (problem := _problem(r, max_model_len, policy_loaded)) is not None]
    if problems:
        index, problem = problems[0]
        others = f" (and {len(problems) - 1} more of {len(requests)} requests)" if len(problems) > 1 else ""
        raise RlvrError(f"request {index}{others}: {problem}")


def check_sequences(sequences: Sequence[Sequence[int]], *, max_model_len: int) -> None:
    """Raises `RlvrError` where a sequence to be scored is too short to have a log-prob or too long for the engine."""
    for number, sequence in enumerate(sequences):
        if len(sequence) < 2:
            raise RlvrError(f"sequence {number} to be scored has {len(sequence)} tokens; a log-prob needs at least 2")
        if len(sequence) >= max_model_len:  # the engine samples one token after it
            raise RlvrError(
                f"sequence {number} to be scored has {len(sequence)} tokens; engine.max_model_len={max_model_len} allows "
                f"{max_model_len - 1}"
            )


def _problem(request: GenerationRequest, max_model_len: int, policy_loaded: bool) -> str | None:
    if request.weights == "policy" and not policy_loaded:
        return "asks for the policy, but none was handed over; call load_policy first, or ask for weights='base'"
    if not request.prompt_ids:
        return "its prompt has no tokens"
    if request.max_tokens < 1:
        return f"max_tokens={request.max_tokens}; at least 1 is needed"
    if not 0 <= request.temperature < float("inf"):
        return f"temperature={request.temperature}; 0 (greedy) or a positive number is needed"
    if len(request.prompt_ids) + request.max_tokens > max_model_len:
        return (
            f"{len(request.prompt_ids)} prompt tokens and up to {request.max_tokens} completion tokens do not fit into "
            f"engine.max_model_len={max_model_len}; raise it, or lower max_completion_tokens"
        )
    return None
