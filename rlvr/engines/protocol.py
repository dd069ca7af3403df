"""The contract of a rollout engine: plain requests in, finished generations out, one policy version at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from rlvr_verifiers.types import FinishReason

if TYPE_CHECKING:
    from rlvr.engines.feed import RequestFeed

NO_POLICY = -1
"""`policy_version` of an engine before its first hand-over, and of generations sampled from the base."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GenerationRequest:
    """One completion to sample. Plain data, so that an HTTP engine can be the same protocol."""

    index: int
    """The caller's number for it, handed back on the generation."""
    prompt_ids: tuple[int, ...]
    seed: int
    """One per (prompt, sample): the same request gives the same completion."""
    max_tokens: int
    temperature: float
    """0 is greedy."""
    weights: Literal["policy", "base"] = "policy"
    """`base` samples with the adapter switched off, for the comparison with the untrained model."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """What was sampled. L = number of tokens, the end-of-turn token included where it was sampled."""

    index: int
    token_ids: tuple[int, ...]  # [L]
    logprobs: tuple[float, ...]  # [L] under the distribution that was sampled from (temperature applied)
    finish_reason: FinishReason
    policy_version: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PolicySnapshot:
    """Weights to hand over, on disk (tmpfs where there is one)."""

    version: int
    kind: Literal["lora", "full"]
    path: Path
    """lora: a PEFT adapter folder. full: a folder of safetensors that `save_pretrained` wrote."""


class RolloutEngine(Protocol):
    """`policy_version` is the version of the weights that the next request will be sampled from."""

    policy_version: int

    def generate(self, requests: Sequence[GenerationRequest] | RequestFeed) -> AsyncIterator[Generation]:
        """Yields each generation as it finishes, so that scoring overlaps with sampling.

        With a feed it goes on until the feed is closed and empty; what is put in joins the sequences that are being sampled.
        """
        ...

    async def load_policy(self, snapshot: PolicySnapshot) -> None:
        """Takes the snapshot's weights into use; on return nothing of the old version is cached (KV prefixes included)."""
        ...

    async def score_tokens(
        self, sequences: Sequence[Sequence[int]], weights: Literal["policy", "base"]
    ) -> list[list[float]]:
        """log p(token t | tokens < t) for t = 1 .. T-1 of each sequence, at temperature 1. For the proof of sync."""
        ...

    async def sleep(self) -> None:
        """Frees device memory that the learner can use; a no-op where there is none to free."""
        ...

    async def wake(self) -> None: ...

    def close(self) -> None: ...
