"""Held-out accuracy: avg@n, unbiased pass@k and intervals, per source, and the paired comparison with the base.

Every evaluation of a run draws with the same seeds (common random numbers), so differences are the policy's.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from rlvr.config.schema import EvalConfig
from rlvr.errors import RlvrError
from rlvr.sampling import Sampler, SamplingPlan
from rlvr.statistics import Estimate, PairedComparison, avg_at_n, compare_paired, pass_at_k, task_means
from rlvr.types import Rollout
from rlvr_verifiers.types import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What one evaluation found. Accuracy counts `Score.passed`, never the reward."""

    label: str
    """For example `base`, `sft`, `rl 20`."""
    outcomes: dict[str, list[bool]]
    """Task id -> whether each scored sample passed; tasks whose verifier always failed are absent."""
    accuracy: Estimate
    """avg@n, which is pass@1."""
    pass_at: dict[int, Estimate]
    """Each over the tasks with at least k scored samples: its `n` says how many."""
    per_source: dict[str, Estimate]
    reasons: dict[str, float]
    infra_failures: int
    truncated_fraction: float
    tokens_mean: float
    opinion_fraction: float
    """Share of the scores that are a judge's opinion, not a verification."""
    rollouts: tuple[Rollout, ...]

    def summary(self) -> dict[str, Any]:
        """Plain data for metrics and summary files; rollouts are kept elsewhere."""
        return {
            "label": self.label,
            "tasks": len(self.outcomes),
            "pass@1": dataclasses.asdict(self.accuracy),
            **{f"pass@{k}": dataclasses.asdict(estimate) for k, estimate in self.pass_at.items() if k > 1},
            "per_source": {source: dataclasses.asdict(e) for source, e in self.per_source.items()},
            "reasons": self.reasons,
            "infra_failures": self.infra_failures,
            "truncated_fraction": self.truncated_fraction,
            "tokens_mean": self.tokens_mean,
            "opinion_fraction": self.opinion_fraction,
        }


async def evaluate(
    sampler: Sampler,
    tasks: Sequence[Task],
    config: EvalConfig,
    *,
    label: str,
    seed: int,
    weights: Literal["policy", "base"] = "policy",
) -> Evaluation:
    """Samples `config.samples` completions of every task and scores them.

    Raises `RlvrError` where two tasks have one id, and where no completion could be scored at all: an accuracy of nothing is not 0.
    """
    check_ids(tasks, f"evaluation `{label}`")
    plan = SamplingPlan(
        samples=config.samples,
        max_tokens=config.max_completion_tokens,
        temperature=config.temperature,
        seed=seed,
        weights=weights,
        max_turns=config.max_turns,
    )
    sampled = await sampler.sample(tasks, plan, occasion="evaluation")
    return summarise(label, [rollout for group in sampled.rollouts for rollout in group])


def check_ids(tasks: Sequence[Task], where: str) -> None:
    """Raises `RlvrError` where two tasks have one id: outcomes are kept by id, so they would count as one task."""
    several = [task_id for task_id, number in Counter(task.id for task in tasks).items() if number > 1]
    if several:
        raise RlvrError(
            f"{where}: {len(several)} ids are each those of several tasks (first {several[0]!r}), which would be counted as one; "
            "ids must be unique over all sources of a list"
        )


def summarise(label: str, rollouts: Sequence[Rollout]) -> Evaluation:
    """The evaluation that these rollouts amount to."""
    outcomes: dict[str, list[bool]] = {}
    source_of: dict[str, str] = {}
    for rollout in rollouts:
        source_of[rollout.task.id] = rollout.task.data_source or "tasks"
        if rollout.score.value is not None:
            outcomes.setdefault(rollout.task.id, []).append(rollout.score.passed)
    if not outcomes:
        detail = rollouts[0].score.explanation if rollouts else "there were no tasks"
        raise RlvrError(
            f"evaluation `{label}`: not one completion could be scored ({detail}); repair the verifier or the tasks"
        )
    per_source: dict[str, dict[str, list[bool]]] = {}
    for task_id, passed in outcomes.items():
        per_source.setdefault(source_of[task_id], {})[task_id] = passed
    most = max(map(len, outcomes.values()))
    ks = [k for k in (1, 2, 4, 8, 16, 32, 64) if k <= most]
    return Evaluation(
        label=label,
        outcomes=outcomes,
        accuracy=avg_at_n(outcomes),
        pass_at={k: pass_at_k({task: passed for task, passed in outcomes.items() if len(passed) >= k}, k) for k in ks},
        per_source={source: avg_at_n(part) for source, part in sorted(per_source.items())},
        reasons={reason: n / len(rollouts) for reason, n in Counter(r.score.reason for r in rollouts).most_common()},
        infra_failures=sum(r.score.value is None for r in rollouts),
        truncated_fraction=sum(r.completion.finish_reason == "length" for r in rollouts) / len(rollouts),
        tokens_mean=sum(len(r.completion.token_ids) for r in rollouts) / len(rollouts),
        opinion_fraction=sum(r.score.is_opinion for r in rollouts) / len(rollouts),
        rollouts=tuple(rollouts),
    )


def compare(baseline: Evaluation, candidate: Evaluation) -> PairedComparison:
    """Candidate minus baseline over the tasks that both could score."""
    first, second = task_means(baseline.outcomes), task_means(candidate.outcomes)
    shared = first.keys() & second.keys()
    return compare_paired({task: first[task] for task in sorted(shared)}, {task: second[task] for task in sorted(shared)})
