"""A training batch of groups: draw tasks, sample and score them, and with dynamic sampling replace groups that teach nothing.

Dynamic sampling (DAPO, arXiv:2503.14476, section 3.2) goes on in rounds until the batch is full or the cap is reached. Later
rounds ask for as many prompts as the share kept so far suggests; informative groups beyond the batch are carried over to the
next step instead of being thrown away. They are then one policy version old, which their sampled log-probs record.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Sequence

from rlvr.advantages import is_informative
from rlvr.config.schema import RlConfig
from rlvr.errors import RlvrError
from rlvr.repetition import ends_in_a_loop
from rlvr.sampling import Sampled, Sampler, SamplingPlan
from rlvr.types import Group, Rollout
from rlvr_verifiers.types import Task

MAX_TOO_LONG_IN_A_ROW = 1000
"""Tasks in a row whose prompts exceed the limit before the run stops: the limit is wrong, not the tasks."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Collected:
    """Groups to train on, those kept for the next step, everything that was sampled, and the bookkeeping."""

    groups: tuple[Group, ...]
    carried: tuple[Group, ...]
    sampled: tuple[Group, ...]
    metrics: dict[str, float]
    histogram: dict[float, int]
    """Score value -> how often, over everything sampled in this step."""


async def collect(
    sampler: Sampler, tasks: Iterator[Task], config: RlConfig, carried: Sequence[Group], *, seed: int, step: int
) -> Collected:
    """Fills one batch of `config.prompts_per_step` groups; fewer where the cap on rounds is reached."""
    dynamic = config.algorithm.dynamic_sampling
    plan = SamplingPlan(
        samples=config.group_size,
        max_tokens=config.max_completion_tokens,
        temperature=config.temperature,
        seed=seed,
        max_turns=config.max_turns,
    )
    kept = list(carried)
    sampled: list[Group] = []
    parts: list[Sampled] = []
    counts: Counter[str] = Counter()
    for round_ in range(config.algorithm.max_sampling_rounds if dynamic else 1):
        needed = config.prompts_per_step - len(kept)
        if needed <= 0:
            break
        drawn = _draw(sampler, tasks, config, _prompts_to_ask(needed, counts, config), counts)
        part = await sampler.sample(drawn, plan, occasion=f"step {step} round {round_}")
        parts.append(part)
        counts["rounds"] += 1
        for task, rollouts in zip(drawn, part.rollouts, strict=True):
            group = Group(task=task, rollouts=rollouts)
            sampled.append(group)
            verdict = _classify(group, counts)
            if verdict != "failed" and (verdict == "informative" or not dynamic):
                kept.append(_without_failures(group))
        _stop_if_verifiers_are_down(sampled, counts)
    full = config.prompts_per_step
    return Collected(
        groups=tuple(kept[:full]),
        carried=tuple(kept[full:]),
        sampled=tuple(sampled),
        metrics=_metrics(parts, sampled, counts, carried_in=len(carried), kept=min(len(kept), full)),
        histogram=dict(Counter(r.score.value for g in sampled for r in g.rollouts if r.score.value is not None)),
    )


def _prompts_to_ask(needed: int, counts: Counter[str], config: RlConfig) -> int:
    """Enough prompts to fill the batch at the share kept so far, at most twice a batch."""
    seen = counts["groups"]
    if not seen:
        return needed
    share = max(counts["informative"], 1) / seen
    return min(math.ceil(needed / share), 2 * config.prompts_per_step)


def _draw(sampler: Sampler, tasks: Iterator[Task], config: RlConfig, number: int, counts: Counter[str]) -> list[Task]:
    drawn: list[Task] = []
    refused = 0
    while len(drawn) < number:
        task = next(tasks)
        length = len(sampler.chat.prompt_ids(task))
        if length <= config.max_prompt_tokens:
            drawn.append(task)
            refused = 0
            continue
        counts["too_long"] += 1
        refused += 1
        if refused >= MAX_TOO_LONG_IN_A_ROW:
            raise RlvrError(
                f"rl.max_prompt_tokens={config.max_prompt_tokens}: {refused} tasks in a row have longer prompts (the last, "
                f"{task.id}, {length} tokens); raise it and engine.max_model_len, or choose other tasks"
            )
    return drawn


def _classify(group: Group, counts: Counter[str]) -> str:
    """Counts the group; `failed` where fewer than two of its completions could be scored."""
    counts["groups"] += 1
    values = [r.score.value for r in group.rollouts if r.score.value is not None]
    counts["infra_failures"] += len(group.rollouts) - len(values)
    if len(values) < 2:
        counts["failed"] += 1
        return "failed"
    if is_informative(values):
        counts["informative"] += 1
        return "informative"
    counts["zero_variance"] += 1
    scored = [r.score for r in group.rollouts if r.score.value is not None]
    counts["all_right"] += all(score.passed for score in scored)
    counts["all_wrong"] += not any(score.passed for score in scored)
    return "zero_variance"


def _without_failures(group: Group) -> Group:
    scored = tuple(r for r in group.rollouts if r.score.value is not None)
    return dataclasses.replace(group, rollouts=scored)


def _stop_if_verifiers_are_down(sampled: Sequence[Group], counts: Counter[str]) -> None:
    if sampled and counts["failed"] == len(sampled):
        worst = Counter(r.score.explanation for g in sampled for r in g.rollouts if r.score.value is None).most_common(1)
        reason = f"; most often: {worst[0][0]}" if worst else ""
        raise RlvrError(
            f"the verifier failed on {counts['infra_failures']} of {sum(len(g.rollouts) for g in sampled)} completions of this "
            f"step, so there is nothing to learn from{reason}. Failures of ours are never scored 0: repair the verifier and resume"
        )


def _metrics(
    parts: Sequence[Sampled], sampled: Sequence[Group], counts: Counter[str], *, carried_in: int, kept: int
) -> dict[str, float]:
    rollouts = [r for g in sampled for r in g.rollouts]
    scored = [r for r in rollouts if r.score.value is not None]
    groups = max(1, counts["groups"])
    trained = kept - min(kept, carried_in)
    metrics = {
        "groups/sampled": float(counts["groups"]),
        "groups/kept": float(kept),
        "groups/carried_in": float(carried_in),
        "groups/all_right": counts["all_right"] / groups,
        "groups/all_wrong": counts["all_wrong"] / groups,
        "groups/zero_variance": counts["zero_variance"] / groups,
        "groups/waste_fraction": max(0.0, 1 - trained / groups) if sampled else 0.0,
        "groups/rounds": float(counts["rounds"]),
        "prompts/too_long": float(counts["too_long"]),
        "rollouts/infra_failures": float(counts["infra_failures"]),
        "time/rollout_s": sum(part.generate_s for part in parts),
        "time/verify_s": sum(part.verify_tail_s for part in parts),
        "time/verify_busy_s": sum(part.verify_busy_s for part in parts),
        "tokens/generated": float(sum(part.tokens for part in parts)),
    }
    if rollouts:
        metrics |= _rollout_metrics(rollouts, scored)
    return metrics


def _rollout_metrics(rollouts: Sequence[Rollout], scored: Sequence[Rollout]) -> dict[str, float]:
    lengths = [len(r.completion.token_ids) for r in rollouts]
    values = [r.score.value for r in scored if r.score.value is not None]
    mean = math.fsum(values) / max(1, len(values))
    reasons = Counter(r.score.reason for r in rollouts)
    per_source: dict[str, list[bool]] = {}
    for rollout in scored:
        per_source.setdefault(rollout.task.data_source or "tasks", []).append(rollout.score.passed)
    turns = [sum(message["role"] == "assistant" for message in r.completion.messages) for r in rollouts]
    conversations = {"completion/turns_mean": sum(turns) / len(turns), "completion/turns_max": float(max(turns))}
    return {
        "reward/mean": mean,
        "reward/std": math.sqrt(math.fsum((v - mean) ** 2 for v in values) / max(1, len(values))),
        "accuracy": sum(r.score.passed for r in scored) / max(1, len(scored)),
        "completion/tokens_mean": sum(lengths) / len(lengths),
        "completion/tokens_max": float(max(lengths)),
        "completion/truncated_fraction": sum(r.completion.finish_reason == "length" for r in rollouts) / len(rollouts),
        **(conversations if any(r.task.environment is not None for r in rollouts) else {}),
        "completion/repeated_fraction": sum(ends_in_a_loop(r.completion.token_ids) for r in rollouts) / len(rollouts),
        **{f"reasons/{reason}": n / len(rollouts) for reason, n in sorted(reasons.items())},
        **{f"accuracy/{source}": sum(passed) / len(passed) for source, passed in sorted(per_source.items())},
    }
