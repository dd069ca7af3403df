"""Training data from scored completions of one prompt: pairs of a better and a worse one, or the verified ones to learn by heart.

Left out of both: completions whose verifier failed (their score is unknown), and those cut at the token limit (as data they would teach to
stop in the middle of a sentence). Completions with the same text count once.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from rlvr.types import Rollout
from rlvr_tasks.record import record_from_task


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PairRule:
    """Which pairs of a prompt's completions are worth learning from."""

    margin: float = 0.0
    """The scores must differ by more than 0 and by at least this."""
    same_length: float | None = None
    """Lengths may differ by at most this share of the longer one, so that length is not what is learnt; None: any."""
    per_prompt: int = 1
    """At most so many pairs, those with the largest difference of scores first; no completion is in two of them."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """What happened to the completions of all prompts."""

    prompts: int = 0
    completions: int = 0
    unscored: int = 0
    truncated: int = 0
    repeated: int = 0
    without_pair: int = 0
    """Prompts that gave nothing."""
    rows: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in dataclasses.fields(self)})


@dataclasses.dataclass(frozen=True, slots=True)
class _Candidate:
    sample: int
    rollout: Rollout
    score: float

    @property
    def tokens(self) -> int:
        return len(self.rollout.completion.token_ids)

    @property
    def text(self) -> str:
        return self.rollout.completion.content


def pairs_of(rollouts: Sequence[Rollout], rule: PairRule, provenance: dict[str, Any]) -> tuple[list[dict[str, Any]], Counts]:
    """Preference rows from the completions of one task, and what became of the completions."""
    candidates, counts = _candidates(rollouts)
    found = [
        (better, worse)
        for one, other in itertools.combinations(candidates, 2)
        for better, worse in [(one, other) if one.score > other.score else (other, one)]
        if better.score > worse.score
        and better.score - worse.score >= rule.margin
        and _alike(better, worse, rule.same_length)
    ]
    # Larger differences first; of equal ones those of like length, then the order of sampling.
    found.sort(key=lambda p: (p[1].score - p[0].score, abs(p[0].tokens - p[1].tokens), p[0].sample, p[1].sample))
    rows = [_pair_row(better, worse, provenance) for better, worse in _disjoint(found, rule.per_prompt)]
    return rows, counts + Counts(rows=len(rows), without_pair=int(not rows))


def verified_of(
    rollouts: Sequence[Rollout], per_prompt: int, provenance: dict[str, Any]
) -> tuple[list[dict[str, Any]], Counts]:
    """Rejection-sampled demonstrations: at most `per_prompt` completions that passed, in the order of sampling."""
    candidates, counts = _candidates(rollouts)
    passed = [candidate for candidate in candidates if candidate.rollout.score.passed][:per_prompt]
    rows: list[dict[str, Any]] = []
    for candidate in passed:
        task = candidate.rollout.task
        details = {"sample": candidate.sample, "score": candidate.score, "tokens": candidate.tokens}
        info = {**task.info, "demonstration": candidate.text, "provenance": {**provenance, **details}}
        rows.append(record_from_task(dataclasses.replace(task, id=f"{task.id}/{candidate.sample}", info=info)))
    return rows, counts + Counts(rows=len(rows), without_pair=int(not rows))


def _candidates(rollouts: Sequence[Rollout]) -> tuple[list[_Candidate], Counts]:
    kept: list[_Candidate] = []
    unscored = truncated = repeated = 0
    seen: set[str] = set()
    for sample, rollout in enumerate(rollouts):
        text = rollout.completion.content
        if rollout.score.value is None:
            unscored += 1
        elif rollout.completion.finish_reason != "stop":
            truncated += 1
        elif text in seen or not text.strip():
            repeated += 1
        else:
            seen.add(text)
            kept.append(_Candidate(sample, rollout, rollout.score.value))
    return kept, Counts(prompts=1, completions=len(rollouts), unscored=unscored, truncated=truncated, repeated=repeated)


def _alike(one: _Candidate, other: _Candidate, same_length: float | None) -> bool:
    return same_length is None or abs(one.tokens - other.tokens) <= same_length * max(one.tokens, other.tokens)


def _disjoint(found: Sequence[tuple[_Candidate, _Candidate]], most: int) -> Iterator[tuple[_Candidate, _Candidate]]:
    used: set[int] = set()
    for better, worse in found:
        if most > 0 and not used & {better.sample, worse.sample}:
            used |= {better.sample, worse.sample}
            most -= 1
            yield better, worse


def _pair_row(better: _Candidate, worse: _Candidate, provenance: dict[str, Any]) -> dict[str, Any]:
    task = better.rollout.task
    details = {
        "chosen": {"sample": better.sample, "tokens": better.tokens, "reason": better.rollout.score.reason},
        "rejected": {"sample": worse.sample, "tokens": worse.tokens, "reason": worse.rollout.score.reason},
    }
    kept = {name: value for name, value in task.info.items() if name not in ("chosen", "rejected", "demonstration")}
    info = {**kept, "provenance": {**provenance, **details}}
    pair_id = f"{task.id}/{better.sample}-{worse.sample}"
    return {
        **record_from_task(dataclasses.replace(task, id=pair_id, info=info)),
        "chosen": better.text,
        "rejected": worse.text,
        "score_chosen": better.score,
        "score_rejected": worse.score,
    }
