"""What flows through a verifier: a task and a completion go in, a score comes out.

All three are frozen: a stage returns a new value and never edits one it was given. `to_json` / `from_json` give plain
JSON-able dictionaries, which is also how values travel to the worker processes (never pickle: completions are hostile text).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

Message = Mapping[str, Any]
"""One chat message: `{"role": ..., "content": ...}`, plus `tool_calls` and the like where a format has them."""

FinishReason = Literal["stop", "length", "abort"]
"""`stop`: the policy ended its turn. `length`: it was cut at the token limit. `abort`: the engine gave up on the request."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One prompt and what is needed to judge an answer to it.

    Example: Task(id="arith-17", prompt=({"role": "user", "content": "13 + 29 = ?"},), verifier="math", answer="42")
    """

    id: str
    """Stable across runs: resume, deduplication and contamination checks rely on it."""
    prompt: tuple[Message, ...]
    """Messages, never pre-templated text."""
    verifier: str
    """Registry name, `module:function` or `file.py:function`."""
    answer: str
    """The gold; JSON text where it is structured."""
    verifier_args: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    tools: tuple[Mapping[str, Any], ...] = ()
    """OpenAI function schemas offered to the policy for this task."""
    environment: str | None = None
    env_args: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    data_source: str = ""
    """Where the row came from; metrics are reported per source."""
    ability: str = ""
    split: str = "train"
    info: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    """Free-form provenance: licence, original id, difficulty."""

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Task:
        values = dict(data)
        values["prompt"] = tuple(values["prompt"])
        values["tools"] = tuple(values.get("tools") or ())
        return cls(**values)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """What the policy wrote, as tokens and as text. L = number of completion tokens."""

    text: str
    """Decoded with special tokens kept: what the policy really emitted."""
    messages: tuple[Message, ...] = ()
    """The same as chat messages, special tokens removed; the last one is the policy's final turn."""
    prompt_ids: tuple[int, ...] = ()
    token_ids: tuple[int, ...] = ()  # [L]
    sampled_logprobs: tuple[float, ...] = ()  # [L] log p under the engine at the sampling temperature
    loss_mask: tuple[bool, ...] = ()  # [L] False on tokens the policy did not write (tool output)
    finish_reason: FinishReason = "stop"
    policy_version: int = 0
    """Number of the adapter hand-over that wrote these tokens."""

    @property
    def content(self) -> str:
        """The final turn as a reader sees it, or the raw text where there are no messages."""
        if not self.messages:
            return self.text
        content = self.messages[-1].get("content")
        return content if isinstance(content, str) else ""

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Completion:
        values = dict(data)
        for name in ("messages", "prompt_ids", "token_ids", "sampled_logprobs", "loss_mask"):
            values[name] = tuple(values.get(name) or ())
        return cls(**values)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """A verifier's judgement.

    `value is None` says that *our side* failed (verifier bug, sandbox down): the rollout leaves its group and is counted,
    it is never treated as 0. A completion that stalls, floods or crashes its grader earns 0 with that reason, or stalling
    would be a way out.
    """

    value: float | None
    passed: bool
    """Whether the task counts as solved; accuracy and pass@k are computed from this, never from `value`."""
    reason: str
    """A short code, for example ok, mismatch, no_answer, timeout, crash, verifier_error."""
    explanation: str = ""
    """One sentence for a human: what was compared with what."""
    parsed: str | None = None
    """The answer as the verifier understood it."""
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict[str, float])
    seconds: float = 0.0
    """Time spent verifying, from the start of execution, never from queueing."""

    @property
    def is_opinion(self) -> bool:
        """Whether a judge's opinion is in it (metric `opinion`, set by verifiers that verify nothing)."""
        return any(name == "opinion" or name.endswith("/opinion") for name in self.metrics)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Score:
        return cls(**data)
