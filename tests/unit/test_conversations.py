"""Rollouts of several turns: what is sampled and what is shown, token by token, their limits, and whose failure is whose."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from rlvr.engines.feed import RequestFeed
from rlvr.engines.protocol import Generation, GenerationRequest
from rlvr.errors import RlvrError
from rlvr.interrupt import Interrupted, StopRequest
from rlvr.sampling import Sampler, SamplingPlan
from rlvr.types import Rollout
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.types import Completion, Message, Score, Task

CALL, REPLY, END, CUT = 50, 60, 9, 70
"""Token ids: a turn that calls a tool, one that answers, the end of a turn; a turn that never ends."""


class Chat:
    """Texts are tokens. A tool's message of n words is n tokens 100, then token 101 for the policy's next turn."""

    def prompt_ids(self, task: Task) -> tuple[int, ...]:
        return (1, 2, 3)

    def raw_text(self, ids: Sequence[int]) -> str:
        return " ".join(map(str, ids))

    def plain_text(self, ids: Sequence[int]) -> str:
        return self.raw_text([i for i in ids if i != END])

    def check_observations(self) -> None: ...

    def observation_ids(self, messages: Sequence[Message]) -> tuple[int, ...]:
        return (100,) * sum(len(str(message["content"]).split()) for message in messages) + (101,)


class Engine:
    """The n-th turn of every rollout is `script[n]`; keeps what it was asked."""

    policy_version = 1

    def __init__(self, *script: int) -> None:
        self.script = script
        self.requests: list[GenerationRequest] = []
        self.turns: dict[int, int] = {}

    async def generate(self, feed: RequestFeed) -> AsyncIterator[Generation]:
        while await feed.more():
            for request in feed.take():
                await asyncio.sleep(0)
                self.requests.append(request)
                turn = self.turns.get(request.index, 0)
                self.turns[request.index] = turn + 1
                first = self.script[min(turn, len(self.script) - 1)]
                yield Generation(
                    index=request.index,
                    token_ids=(first, END) if first != CUT else (CUT, CUT),
                    logprobs=(-0.5 - turn, -0.1),
                    finish_reason="length" if first == CUT else "stop",
                    policy_version=1,
                )


class Episodes:
    """An environment whose tool returns what `tool` returns; counts the episodes that are open."""

    def __init__(self, tool: Callable[[Task, str], Any]) -> None:
        self.tool = tool
        self.open = 0
        self.opened = 0
        self.unopened = self.unclosed = 0
        """The one of them that cannot be opened, or closed."""

    @contextlib.asynccontextmanager
    async def episode(self, task: Task) -> AsyncIterator[Episodes.Episode]:
        self.open += 1
        self.opened += 1
        number = self.opened
        try:
            if number == self.unopened:
                raise VerifierError("no station is free")
            yield Episodes.Episode(task, self.tool)
        finally:
            self.open -= 1
        if number == self.unclosed:
            raise VerifierError("the station stays on")

    class Episode:
        def __init__(self, task: Task, tool: Callable[[Task, str], Any]) -> None:
            self.task = task
            self.tool = tool
            self.ended: tuple[str, str] | None = None

        async def observe(self, turn: str) -> list[Message]:
            if str(CALL) not in turn.split():
                return []
            result = self.tool(self.task, turn)
            if isinstance(result, tuple):
                self.ended = result
                return []
            return [{"role": "tool", "content": await result if asyncio.iscoroutine(result) else result}]


class Judge:
    def __init__(self) -> None:
        self.seen: list[Completion] = []

    async def score(self, task: Task, completion: Completion) -> Score:
        self.seen.append(completion)
        return Score(value=1.0, passed=True, reason="ok")

    def wants_group(self, task: Task) -> bool:
        return False


def sample(
    engine: Engine,
    tool: Callable[[Task, str], Any] = lambda task, turn: "it rains",
    *,
    samples: int = 1,
    unopened: int = 0,
    unclosed: int = 0,
    **plan: Any,
) -> list[Rollout]:
    episodes = Episodes(tool)
    episodes.unopened, episodes.unclosed = unopened, unclosed
    task = Task(id="t", prompt=(), verifier="x", answer="", environment="weather")
    sampler = Sampler(engine, Judge(), Chat(), StopRequest(), episodes)  # type: ignore[arg-type]
    settings = SamplingPlan(samples=samples, temperature=1.0, seed=0, **{"max_tokens": 20, **plan})
    sampled = asyncio.run(sampler.sample([task], settings, "test"))
    assert episodes.open == 0
    assert episodes.opened == samples
    assert sampled.tokens == sum(sum(r.completion.loss_mask) for r in sampled.rollouts[0])
    return list(sampled.rollouts[0])


def test_what_was_sampled_counts_and_what_was_shown_does_not() -> None:
    engine = Engine(CALL, REPLY)
    [rollout] = sample(engine)
    completion = rollout.completion
    assert completion.prompt_ids == (1, 2, 3)
    assert completion.token_ids == (CALL, END, 100, 100, 101, REPLY, END)
    assert completion.loss_mask == (True, True, False, False, False, True, True)
    assert completion.sampled_logprobs == (-0.5, -0.1, 0.0, 0.0, 0.0, -1.5, -0.1)
    assert completion.text == f"{CALL} {END}{REPLY} {END}"
    assert [(m["role"], m["content"]) for m in completion.messages] == [
        ("assistant", str(CALL)),
        ("tool", "it rains"),
        ("assistant", str(REPLY)),
    ]
    assert completion.content == str(REPLY)


def test_each_turn_is_asked_for_after_exactly_what_was_sampled_and_shown() -> None:
    engine = Engine(CALL, CALL, REPLY)
    [rollout] = sample(engine)
    ids = (*rollout.completion.prompt_ids, *rollout.completion.token_ids)
    for request in engine.requests:
        assert ids[: len(request.prompt_ids)] == request.prompt_ids
    assert [len(r.prompt_ids) for r in engine.requests] == [3, 8, 13]
    assert [r.max_tokens for r in engine.requests] == [20, 15, 10]
    assert len({r.seed for r in engine.requests}) == 3


def test_turns_and_tokens_have_limits() -> None:
    engine = Engine(CALL)
    [rollout] = sample(engine, max_turns=3, max_tokens=100)
    assert len(engine.requests) == 3
    assert rollout.completion.finish_reason == "stop"
    assert rollout.completion.messages[-1]["role"] == "assistant"  # the third turn's call was not run
    [rollout] = sample(Engine(CALL), max_tokens=8)  # 2 sampled, 3 shown, 2 sampled; 3 more do not fit
    assert rollout.completion.finish_reason == "length"
    assert len(rollout.completion.token_ids) == 7
    [rollout] = sample(Engine(CALL, CUT))
    assert rollout.completion.finish_reason == "length"


def test_a_giant_result_ends_the_conversation_and_is_not_shown() -> None:
    [rollout] = sample(Engine(CALL, REPLY), lambda task, turn: "word " * 1000)
    assert rollout.completion.token_ids == (CALL, END)
    assert rollout.completion.finish_reason == "length"


def test_a_tool_that_hangs_ends_the_conversation_with_its_reason() -> None:
    engine = Engine(CALL, REPLY)
    [rollout] = sample(engine, lambda task, turn: ("tool_timeout", "look ran longer than 10 s"))
    assert (rollout.score.value, rollout.score.reason) == (0.0, "tool_timeout")
    assert rollout.score.explanation == "look ran longer than 10 s"
    assert rollout.completion.token_ids == (CALL, END)
    assert len(engine.requests) == 1


def test_a_slow_tool_holds_up_nobody_else() -> None:
    order: list[int] = []

    async def slow_once(task: Task, turn: str) -> str:
        mine = len(order)
        order.append(mine)
        if mine == 0:
            await others_done.wait()
        return "done"

    class Counting(Engine):
        async def generate(self, feed: RequestFeed) -> AsyncIterator[Generation]:
            async for generation in super().generate(feed):
                yield generation
                if sum(turn == 2 for turn in self.turns.values()) == 3:
                    others_done.set()

    others_done = asyncio.Event()
    rollouts = sample(Counting(CALL, REPLY), slow_once, samples=4)
    assert all(r.completion.content == str(REPLY) for r in rollouts)


def test_a_failing_environment_is_our_failure_and_never_a_zero() -> None:
    def broken(task: Task, turn: str) -> str:
        raise VerifierError("the weather station is gone")

    judge_free = sample(Engine(CALL, REPLY), broken, samples=2)
    for rollout in judge_free:
        assert rollout.score.value is None
        assert rollout.score.reason == "environment_error"
        assert "weather station" in rollout.score.explanation


def test_an_environment_that_fails_fails_its_own_rollout_alone() -> None:
    broken: list[str] = []

    def first_breaks(task: Task, turn: str) -> str:
        broken.append(turn)
        if len(broken) == 1:
            raise VerifierError("the station is gone")
        return "it rains"

    rollouts = sample(Engine(CALL, REPLY), first_breaks, samples=5, unopened=2, unclosed=4)
    failed = sorted(rollout.score.explanation for rollout in rollouts if rollout.score.value is None)
    assert failed == ["no station is free", "the station is gone", "the station stays on"]
    assert sum(rollout.score.passed for rollout in rollouts) == 2


def test_an_error_in_our_own_code_is_no_environments_failure() -> None:
    def wrong(task: Task, turn: str) -> str:
        raise AttributeError("a bug")

    with pytest.raises(AttributeError, match="a bug"):
        sample(Engine(CALL, REPLY), wrong)


def test_an_interrupt_closes_every_episode() -> None:
    stop = StopRequest()
    episodes = Episodes(lambda task, turn: _stop(stop))
    task = Task(id="t", prompt=(), verifier="x", answer="", environment="weather")
    sampler = Sampler(Engine(CALL), Judge(), Chat(), stop, episodes)  # type: ignore[arg-type]
    plan = SamplingPlan(samples=4, temperature=1.0, seed=0, max_tokens=100)

    async def scenario() -> None:
        with pytest.raises(Interrupted):
            await sampler.sample([task], plan, "test")
        await asyncio.sleep(0)
        assert episodes.open == 0

    asyncio.run(scenario())


def _stop(stop: StopRequest) -> str:
    stop.requested = True
    return "fine"


def test_a_task_with_an_environment_needs_something_to_run_it() -> None:
    task = Task(id="t-1", prompt=(), verifier="x", answer="", environment="weather")
    sampler = Sampler(Engine(CALL), Judge(), Chat(), StopRequest())  # type: ignore[arg-type]
    with pytest.raises(RlvrError, match="t-1"):
        asyncio.run(sampler.sample([task], SamplingPlan(samples=1, temperature=1.0, seed=0, max_tokens=9), "test"))


def test_a_closed_feed_takes_nothing_more() -> None:
    feed = RequestFeed()
    feed.close()
    assert asyncio.run(feed.more()) is False
    with pytest.raises(RuntimeError, match="request 3"):
        feed.put(GenerationRequest(index=3, prompt_ids=(1,), seed=0, max_tokens=1, temperature=1.0))
