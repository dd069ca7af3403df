"""Collecting a batch: dynamic sampling, carry-over, failures of ours, prompts that are too long."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest

from rlvr.collect import Collected, collect
from rlvr.config.schema import AlgorithmConfig, RlConfig
from rlvr.engines.feed import RequestFeed
from rlvr.engines.protocol import Generation, GenerationRequest
from rlvr.errors import RlvrError
from rlvr.group_scoring import ScoredTogether
from rlvr.interrupt import Interrupted, StopRequest
from rlvr.sampling import Sampler, SamplingPlan
from rlvr.turns import sample_seed
from rlvr.types import Group, Rollout
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.types import Completion, Score, Task


class Chat:
    """Prompt ids are the task's number; a completion's text is its tokens."""

    def prompt_ids(self, task: Task) -> tuple[int, ...]:
        return (1,) * int(task.info.get("length", 3))

    def plain_text(self, ids: Sequence[int]) -> str:
        return " ".join(map(str, ids))

    raw_text = plain_text


class Engine:
    """Finishes requests in reverse order; token 1 for even seeds, 0 for odd ones."""

    policy_version = 4

    def __init__(self) -> None:
        self.requests: list[GenerationRequest] = []

    async def generate(self, feed: RequestFeed) -> AsyncIterator[Generation]:
        while await feed.more():
            requests = feed.take()
            self.requests += requests
            for request in reversed(requests):
                await asyncio.sleep(0)
                yield self.answer(request)

    def answer(self, request: GenerationRequest) -> Generation:
        return Generation(
            index=request.index,
            token_ids=(request.seed % 2, 7),
            logprobs=(-0.1, -0.2),
            finish_reason="stop",
            policy_version=4,
        )


class Judge:
    """Scores by the task's own rule: `mixed` follows the token, others are constant; None is a failure of ours."""

    async def score(self, task: Task, completion: Completion) -> Score:
        rule = task.info["rule"]
        value = {"right": 1.0, "wrong": 0.0, "broken": None}.get(rule, float(completion.token_ids[0]))
        if rule == "half broken" and completion.token_ids[0]:
            value = None
        return Score(
            value=value,
            passed=value == 1.0,
            reason="ok" if value else "verifier_error" if value is None else "mismatch",
            explanation="boom",
        )

    def wants_group(self, task: Task) -> bool:
        return False


def stream(*rules: str) -> Iterator[Task]:
    for number, rule in enumerate(itertools.cycle(rules)):
        yield Task(id=f"{rule}-{number}", prompt=(), verifier="x", answer="", info={"rule": rule}, data_source=rule)


def run(tasks: Iterator[Task], carried: Sequence[Group] = (), **settings: Any) -> tuple[Collected, Engine]:
    algorithm = AlgorithmConfig(
        dynamic_sampling=settings.pop("dynamic", True), max_sampling_rounds=settings.pop("rounds", 4)
    )
    config = RlConfig(
        tasks=(), algorithm=algorithm, prompts_per_step=settings.pop("prompts", 4), group_size=8, max_prompt_tokens=5
    )
    engine = Engine()
    stop = settings.pop("stop", StopRequest())
    sampler = Sampler(engine, Judge(), Chat(), stop)  # type: ignore[arg-type]
    return asyncio.run(collect(sampler, tasks, config, carried, seed=0, step=settings.pop("step", 3))), engine


def test_a_plain_batch_keeps_every_group_in_order() -> None:
    collected, engine = run(stream("mixed", "right", "wrong"), dynamic=False)
    assert [g.task.id for g in collected.groups] == ["mixed-0", "right-1", "wrong-2", "mixed-3"]
    assert len(engine.requests) == 32
    assert collected.metrics["groups/all_right"] == 0.25
    assert collected.metrics["groups/all_wrong"] == 0.25
    completion = collected.groups[0].rollouts[2].completion
    assert completion.policy_version == 4
    assert completion.sampled_logprobs == (-0.1, -0.2)
    assert completion.token_ids[0] == sample_seed(0, "step 3 round 0", "mixed-0", 2) % 2


def test_dynamic_sampling_refills_with_informative_groups() -> None:
    collected, _ = run(stream("mixed", "right", "wrong", "right"))
    assert len(collected.groups) == 4
    assert all(g.task.data_source == "mixed" for g in collected.groups)
    assert collected.metrics["groups/zero_variance"] == 0.75
    assert collected.metrics["groups/rounds"] >= 2
    assert collected.metrics["groups/waste_fraction"] == pytest.approx(1 - 4 / collected.metrics["groups/sampled"])


def test_surplus_is_carried_over_and_used_first() -> None:
    # the first round finds 1 of 4, so the second asks for many, of which more are informative than needed
    tasks = itertools.chain(itertools.islice(stream("mixed", "right", "right", "right"), 4), stream("mixed"))
    collected, _ = run(tasks)
    assert len(collected.groups) == 4
    assert collected.carried
    again, engine = run(stream("mixed"), carried=collected.carried)
    assert (*again.groups, *again.carried)[: len(collected.carried)] == collected.carried
    assert len(engine.requests) == 8 * max(0, 4 - len(collected.carried))


def test_the_cap_ends_the_search() -> None:
    collected, engine = run(stream("right"), rounds=3)
    assert collected.groups == ()
    assert collected.metrics["groups/rounds"] == 3
    assert collected.metrics["groups/waste_fraction"] == 1
    assert collected.histogram == {1.0: len(engine.requests)}


def test_failures_of_ours_leave_the_group_and_are_counted() -> None:
    collected, _ = run(stream("half broken", "mixed"), dynamic=False)
    broken = [g for g in collected.groups if g.task.data_source == "half broken"]
    assert broken
    assert all(r.score.value is not None for g in collected.groups for r in g.rollouts)
    assert all(2 <= len(g.rollouts) < 8 for g in broken)
    assert collected.metrics["rollouts/infra_failures"] == sum(8 - len(g.rollouts) for g in collected.groups)


def test_a_broken_verifier_stops_the_run_with_its_own_words() -> None:
    with pytest.raises(RlvrError, match=r"the verifier failed on 32 of 32 completions.*most often: boom"):
        run(stream("broken"))


def test_long_prompts_are_skipped_and_counted() -> None:
    def tasks() -> Iterator[Task]:
        for number in itertools.count():
            length = 9 if number % 2 else 3
            yield Task(id=str(number), prompt=(), verifier="x", answer="", info={"rule": "mixed", "length": length})

    collected, _ = run(tasks())
    assert collected.metrics["prompts/too_long"] >= 3
    assert all(int(g.task.id) % 2 == 0 for g in collected.groups)


def test_only_long_prompts_is_an_error_not_a_loop() -> None:
    tasks = (
        Task(id=str(n), prompt=(), verifier="x", answer="", info={"rule": "mixed", "length": 9}) for n in itertools.count()
    )
    with pytest.raises(RlvrError, match=r"rl\.max_prompt_tokens=5: 1000 tasks in a row"):
        run(tasks)


def test_a_stop_request_is_seen_between_generations() -> None:
    stop = StopRequest()
    stop.requested = True
    with pytest.raises(Interrupted):
        run(stream("mixed"), stop=stop)


def test_seeds_differ_by_everything_that_names_a_draw() -> None:
    seeds = {sample_seed(*key) for key in itertools.product((0, 1), ("a", "b"), ("t", "u"), range(8))}
    assert len(seeds) == 64
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_task_drawn_twice_in_a_batch_has_seeds_of_its_own() -> None:
    (task,) = itertools.islice(stream("mixed"), 1)
    other = Task(id="other", prompt=(), verifier="x", answer="", info={"rule": "mixed"})
    _, engine = run(iter([task, other, task, task]), dynamic=False)
    seeds = [r.seed for r in sorted(engine.requests, key=lambda r: r.index)]
    assert len(set(seeds)) == 4 * 8
    assert seeds[:8] == [sample_seed(0, "step 3 round 0", task.id, g) for g in range(8)]
    assert seeds[8:16] == [sample_seed(0, "step 3 round 0", "other", g) for g in range(8)]


def test_scoring_overlaps_with_generation() -> None:
    """The first finished completion is being scored before the last one is generated."""
    events: list[str] = []

    class Watched(Engine):
        async def generate(self, feed: RequestFeed) -> AsyncIterator[Generation]:
            async for generation in super().generate(feed):
                events.append("generated")
                yield generation
                await asyncio.sleep(0)

    class Watching(Judge):
        async def score(self, task: Task, completion: Completion) -> Score:
            events.append("scored")
            return await super().score(task, completion)

    sampler = Sampler(Watched(), Watching(), Chat(), StopRequest())  # type: ignore[arg-type]
    plan = SamplingPlan(samples=8, max_tokens=4, temperature=1.0, seed=0)
    asyncio.run(sampler.sample([next(stream("mixed"))], plan, "test"))
    assert events.index("scored") < len(events) - 1 - events[::-1].index("generated")


class Together(Judge):
    """Ranks the completions of `mixed` tasks within their group; scores all others alone."""

    def __init__(self, fail: str = "") -> None:
        self.groups: list[tuple[str, list[Completion]]] = []
        self.fail = fail

    def wants_group(self, task: Task) -> bool:
        return task.info["rule"] == "mixed"

    async def score(self, task: Task, completion: Completion) -> Score:
        assert not self.wants_group(task)
        return await super().score(task, completion)

    async def score_group(self, task: Task, completions: Sequence[Completion]) -> list[Score]:
        if self.fail:
            raise VerifierError(self.fail)
        self.groups.append((task.id, list(completions)))
        return [Score(value=float(place), passed=False, reason="ranked") for place in range(len(completions))]


def sampled_together(scorer: Together, *rules: str) -> tuple[tuple[Rollout, ...], ...]:
    plan = SamplingPlan(samples=3, max_tokens=4, temperature=1.0, seed=0)
    tasks = list(itertools.islice(stream(*rules), len(rules)))
    sampler = Sampler(Engine(), scorer, Chat(), StopRequest())  # type: ignore[arg-type]
    return asyncio.run(sampler.sample(tasks, plan, "test")).rollouts


def test_who_judges_groups_gets_the_samples_of_one_task_in_one_call_and_in_their_order() -> None:
    scorer = Together()
    rollouts = sampled_together(scorer, "mixed", "right", "mixed")
    assert sorted(name for name, _ in scorer.groups) == ["mixed-0", "mixed-2"]
    groups = dict(scorer.groups)
    for place in (0, 2):  # the engine finishes them in reverse order
        assert [rollout.completion for rollout in rollouts[place]] == groups[f"mixed-{place}"]
        assert [rollout.score.value for rollout in rollouts[place]] == [0.0, 1.0, 2.0]
    assert [rollout.score.reason for rollout in rollouts[1]] == ["ok"] * 3


def test_a_group_that_cannot_be_judged_leaves_nobody_waiting() -> None:
    with pytest.raises(VerifierError, match="closed"):
        sampled_together(Together(fail="the pool was closed"), "mixed", "mixed")


def test_who_has_nothing_to_judge_or_never_comes_keeps_no_group_waiting() -> None:
    async def main() -> tuple[list[Score | None], list[Sequence[Completion]], list[BaseException | Score | None]]:
        seen: list[Sequence[Completion]] = []

        async def judge(completions: Sequence[Completion]) -> list[Score]:
            seen.append(completions)
            return [Score(value=1.0, passed=True, reason=completion.text) for completion in completions]

        group = ScoredTogether(3, judge)
        arrivals = [group.score(2, Completion(text="c")), group.score(0, None), group.score(1, Completion(text="b"))]
        scores = await asyncio.gather(*arrivals)
        late = ScoredTogether(3, judge)
        waiting = asyncio.create_task(late.score(0, Completion(text="a")))
        await asyncio.sleep(0)
        late.give_up(RlvrError("no environment"))
        return list(scores), seen, await asyncio.gather(waiting, late.score(1, None), return_exceptions=True)

    scores, seen, left = asyncio.run(asyncio.wait_for(main(), 5))
    assert [score and score.reason for score in scores] == ["c", None, "b"]
    assert [[completion.text for completion in completions] for completions in seen] == [["b", "c"]]
    assert isinstance(left[0], RlvrError)
