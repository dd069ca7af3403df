"""Sample completions of tasks and score each as soon as it is finished: generation, tools and verification overlap. Where a
verifier judges the completions of a task together, they are scored as soon as the last of them is finished.

Training batches and evaluations both come from here, so what is evaluated is sampled exactly as what is trained on. A task with
an environment is a conversation: calls in the policy's turn are run, what they return is shown to it, and it goes on.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol

from rlvr.dialogue import Dialogue, completion_of, with_observation, with_turn
from rlvr.engines.protocol import Generation, GenerationRequest, RolloutEngine
from rlvr.errors import RlvrError
from rlvr.group_scoring import ScoredTogether
from rlvr.interrupt import StopRequest
from rlvr.turns import Turns, sample_seed
from rlvr.types import Rollout
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.types import Completion, Message, Score, Task

if TYPE_CHECKING:
    from rlvr.chat_template import ChatFormat


class Scorer(Protocol):
    """What scores completions while others are sampled; a `ScoringThread` is one."""

    async def score(self, task: Task, completion: Completion) -> Score: ...

    async def score_group(self, task: Task, completions: Sequence[Completion]) -> list[Score]: ...

    def wants_group(self, task: Task) -> bool:
        """Whether a task's completions go to `score_group` together, and not to `score` one by one."""
        ...


class Episode(Protocol):
    """One rollout's own environment, in a fresh state at the start."""

    ended: tuple[str, str] | None
    """Reason and explanation, once a call has left nothing to go on with."""

    async def observe(self, turn: str) -> Sequence[Message]:
        """Runs the calls in a turn (special tokens kept). What to show the policy; nothing where the turn calls no tool.

        Raises VerifierError where the environment itself fails; what a call does wrong is shown to the policy.
        """
        ...


class Environments(Protocol):
    """What opens an episode for a rollout of a task that names an environment."""

    def episode(self, task: Task) -> AbstractAsyncContextManager[Episode]: ...


class InEngineJudge(Protocol):
    """What scores with the engine itself, as a further turn of the rollout; an `EngineJudge` is one."""

    def judges(self, task: Task) -> bool: ...

    async def score(
        self, task: Task, completion: Completion, generate: Callable[[tuple[int, ...], int], Awaitable[Generation]]
    ) -> Score: ...


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SamplingPlan:
    """How completions are drawn."""

    samples: int
    """Completions per task."""
    max_tokens: int
    """Of a completion; in a conversation of all turns and what is shown between them."""
    temperature: float
    seed: int
    weights: Literal["policy", "base"] = "policy"
    max_turns: int = 8
    """Turns of the policy in a conversation; calls in the last one are not run."""


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
    """Sampled tokens; what tools returned is not counted."""


class Sampler:
    """An engine, a scorer and a chat format, which together turn tasks into rollouts; environments for tasks that have one."""

    def __init__(
        self,
        engine: RolloutEngine,
        scorer: Scorer,
        chat: ChatFormat,
        stop: StopRequest,
        environments: Environments | None = None,
        judge: InEngineJudge | None = None,
    ) -> None:
        self.engine = engine
        self.scorer = scorer
        self.chat = chat
        self.stop = stop
        self.environments = environments
        self.judge = judge

    async def sample(self, tasks: Sequence[Task], plan: SamplingPlan, occasion: str) -> Sampled:
        """Draws `plan.samples` completions of every task. The same plan, task and occasion give the same seeds; a task that stands
        among `tasks` again draws on, with samples numbered from where the last one ended.

        Raises `Interrupted` between engine steps when the user asked to stop; what is under way is cancelled.
        """
        if any(task.environment is not None for task in tasks):
            self.chat.check_observations()
        started = time.perf_counter()
        turns = Turns(len(tasks) * plan.samples)
        rollouts = [
            asyncio.create_task(self._rollout(start, _Draw(plan, occasion, i * plan.samples + g, earlier), turns, group))
            for i, (task, earlier) in enumerate(zip(tasks, _earlier(tasks), strict=True))
            for start in [Dialogue(task=task, prompt_ids=self.chat.prompt_ids(task))]
            for group in [self._together(task, plan.samples)]
            for g in range(plan.samples)
        ]
        try:
            async for generation in self.engine.generate(turns.feed):
                self.stop.check()
                turns.deliver(generation)
            generated = time.perf_counter()
            done = [await rollout for rollout in rollouts]
        finally:
            for rollout in rollouts:
                rollout.cancel()
        return Sampled(
            rollouts=tuple(tuple(done[start : start + plan.samples]) for start in range(0, len(done), plan.samples)),
            generate_s=generated - started,
            verify_tail_s=time.perf_counter() - generated,
            verify_busy_s=sum(rollout.score.seconds for rollout in done),
            tokens=sum(sum(rollout.completion.loss_mask) for rollout in done),
        )

    async def _rollout(self, start: Dialogue, draw: _Draw, turns: Turns, group: ScoredTogether | None) -> Rollout:
        try:
            completion, score = await self._completion(start, draw, turns)
        except BaseException as error:
            if group is not None:
                group.give_up(error)
            raise
        if group is not None:
            score = await group.score(draw.sample, None if score else completion) or score
        else:
            score = score or await self.scorer.score(start.task, completion)
        assert score is not None
        return Rollout(task=start.task, completion=completion, score=score)

    def _together(self, task: Task, samples: int) -> ScoredTogether | None:
        """None where the task's completions are scored one by one."""
        return ScoredTogether(samples, partial(self.scorer.score_group, task)) if self.scorer.wants_group(task) else None

    async def _completion(self, start: Dialogue, draw: _Draw, turns: Turns) -> tuple[Completion, Score | None]:
        """With a score where the environment failed, so that there is nothing to judge, or where the engine was the judge."""
        score: Score | None = None
        try:
            if start.task.environment is None:
                dialogue = await self._turn(start, draw, turns)
            else:
                dialogue, score = await self._conversation(start, draw, turns)
            completion = completion_of(dialogue)
            if score is None and self.judge is not None and self.judge.judges(start.task):
                score = await self.judge.score(start.task, completion, partial(self._judging, draw, turns))
        finally:
            turns.leave()
        return completion, score

    async def _judging(self, draw: _Draw, turns: Turns, prompt_ids: tuple[int, ...], max_tokens: int) -> Generation:
        """What the base says to the judge's question, greedily: no seed is needed."""
        asked = GenerationRequest(
            index=draw.number, prompt_ids=prompt_ids, seed=0, max_tokens=max_tokens, temperature=0.0, weights="base"
        )
        return await turns.next(asked)

    async def _turn(self, dialogue: Dialogue, draw: _Draw, turns: Turns) -> Dialogue:
        return with_turn(dialogue, await turns.next(draw.request(dialogue)), self.chat)

    async def _conversation(self, dialogue: Dialogue, draw: _Draw, turns: Turns) -> tuple[Dialogue, Score | None]:
        """Takes turns until one calls no tool or a limit is reached; a score where a call hung or the environment failed."""
        if self.environments is None:
            raise RlvrError(f"task {dialogue.task.id} has an environment, but nothing was given to the sampler to run one")
        try:
            async with self.environments.episode(dialogue.task) as episode:
                while True:
                    dialogue = await self._turn(dialogue, draw, turns)
                    if dialogue.finish_reason != "stop" or len(dialogue.turns) == draw.plan.max_turns:
                        return dialogue, None
                    messages = await episode.observe(dialogue.turns[-1])
                    if episode.ended is not None:
                        reason, why = episode.ended
                        return dialogue, Score(value=0.0, passed=False, reason=reason, explanation=why)
                    if not messages:
                        return dialogue, None
                    shown = self.chat.observation_ids(messages)
                    if len(dialogue.token_ids) + len(shown) >= draw.plan.max_tokens:
                        return dataclasses.replace(dialogue, finish_reason="length"), None
                    dialogue = with_observation(dialogue, messages, shown)
        except VerifierError as error:
            return dialogue, Score(value=None, passed=False, reason="environment_error", explanation=str(error))


def _earlier(tasks: Sequence[Task]) -> Iterator[int]:
    """For each task, how often one with its id stands before it."""
    seen: Counter[str] = Counter()
    for task in tasks:
        yield seen[task.id]
        seen[task.id] += 1


@dataclasses.dataclass(frozen=True, slots=True)
class _Draw:
    """The place of one rollout in a call of `sample`, from which its requests and seeds follow."""

    plan: SamplingPlan
    occasion: str
    number: int
    earlier: int
    """How often its task stands before it in the call."""

    @property
    def sample(self) -> int:
        """Its number among the task's."""
        return self.number % self.plan.samples

    @property
    def _drawn(self) -> int:
        """Its number among all that the call draws of its task."""
        return self.earlier * self.plan.samples + self.sample

    def request(self, dialogue: Dialogue) -> GenerationRequest:
        """Asks for the dialogue's next turn, with the tokens that are left."""
        plan = self.plan
        return GenerationRequest(
            index=self.number,
            prompt_ids=dialogue.prompt_ids + dialogue.token_ids,
            seed=sample_seed(plan.seed, self.occasion, dialogue.task.id, self._drawn, len(dialogue.turns)),
            max_tokens=plan.max_tokens - len(dialogue.token_ids),
            temperature=plan.temperature,
            weights=plan.weights,
        )
