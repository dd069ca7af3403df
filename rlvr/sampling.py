"""Sample completions of tasks and score each as soon as it is finished: generation and verification overlap.

Training batches and evaluations both come from here, so what is evaluated is sampled exactly as what is trained on.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from rlvr.engines.protocol import Generation, GenerationRequest, RolloutEngine
from rlvr.interrupt import StopRequest
from rlvr.types import Rollout
from rlvr_verifiers.types import Completion, Score, Task

if TYPE_CHECKING:
    from rlvr.chat_template import ChatFormat


class Scorer(Protocol):
    """What scores a completion while others are sampled; a `ScoringThread` is one."""

    async def score(self, task: Task, completion: Completion) -> Score: ...


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SamplingPlan:
    """How completions are drawn."""

    samples: int
    """Completions per task."""
    max_tokens: int
    temperature: float
    seed: int
    weights: Literal["policy", "base"] = "policy"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Sampled:
    """Rollouts of each task, in the order asked for, and where the time went."""

    rollouts: tuple[tuple[Rollout, ...], ...]  # [tasks][samples]
    generate_s: float
    """Until the last completion was finished; verification went on meanwhile."""
    verify_tail_s: float
    """Waiting for verifiers after that: what verification really cost."""
    verify_busy_s: float
    """Verifiers' own time, summed over workers."""
    tokens: int


class Sampler:
    """An engine, a scorer and a chat format, which together turn tasks into rollouts."""

    def __init__(self, engine: RolloutEngine, scorer: Scorer, chat: ChatFormat, stop: StopRequest) -> None:
        self.engine = engine
        self.scorer = scorer
        self.chat = chat
        self.stop = stop

    async def sample(self, tasks: Sequence[Task], plan: SamplingPlan, occasion: str) -> Sampled:
        """Draws `plan.samples` completions of every task. The same plan, task and occasion give the same seeds.

        Raises `Interrupted` between engine steps when the user asked to stop; verifications under way are cancelled.
        """
        started = time.perf_counter()
        requests = self._requests(tasks, plan, occasion)
        scoring: dict[int, asyncio.Task[Rollout]] = {}
        try:
            async for generation in self.engine.generate(requests):
                self.stop.check()
                task = tasks[generation.index // plan.samples]
                completion = self._completion(requests[generation.index], generation)
                scoring[generation.index] = asyncio.create_task(self._score(task, completion))
            generated = time.perf_counter()
            rollouts = [await scoring[i] for i in range(len(requests))]
        finally:
            for pending in scoring.values():
                pending.cancel()
        groups = tuple(tuple(rollouts[start : start + plan.samples]) for start in range(0, len(rollouts), plan.samples))
        return Sampled(
            rollouts=groups,
            generate_s=generated - started,
            verify_tail_s=time.perf_counter() - generated,
            verify_busy_s=sum(rollout.score.seconds for rollout in rollouts),
            tokens=sum(len(rollout.completion.token_ids) for rollout in rollouts),
        )

    def _requests(self, tasks: Sequence[Task], plan: SamplingPlan, occasion: str) -> list[GenerationRequest]:
        return [
            GenerationRequest(
                index=i * plan.samples + g,
                prompt_ids=prompt_ids,
                seed=sample_seed(plan.seed, occasion, task.id, g),
                max_tokens=plan.max_tokens,
                temperature=plan.temperature,
                weights=plan.weights,
            )
            for i, task in enumerate(tasks)
            for prompt_ids in [self.chat.prompt_ids(task)]
            for g in range(plan.samples)
        ]

    def _completion(self, request: GenerationRequest, generation: Generation) -> Completion:
        plain = self.chat.plain_text(generation.token_ids)
        return Completion(
            text=self.chat.raw_text(generation.token_ids),
            messages=({"role": "assistant", "content": plain},),
            prompt_ids=request.prompt_ids,
            token_ids=generation.token_ids,
            sampled_logprobs=generation.logprobs,
            loss_mask=(True,) * len(generation.token_ids),
            finish_reason=generation.finish_reason,
            policy_version=generation.policy_version,
        )

    async def _score(self, task: Task, completion: Completion) -> Rollout:
        score = await self.scorer.score(task, completion)
        return Rollout(task=task, completion=completion, score=score)


def sample_seed(seed: int, occasion: str, task_id: str, sample: int) -> int:
    """One seed per (run, occasion, task, sample): 63 bits of a hash, so that no two draws share a stream."""
    digest = hashlib.blake2b(f"{seed}\0{occasion}\0{task_id}\0{sample}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
