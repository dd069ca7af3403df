"""`rlvr rollouts`: rows of a run's rollout tables that match, one after the other, so that a pipe starts at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq

from rlvr.run_record import RunRecord


@dataclasses.dataclass(frozen=True, kw_only=True)
class Query:
    """What a rollout must be; None is anything. Texts are compared without case."""

    evaluations: bool = False
    """Rollouts of evaluations instead of training."""
    step: tuple[int, int] | None = None
    """First and last step."""
    task: str | None = None
    """Part of the task's id."""
    source: str | None = None
    reason: str | None = None
    min_score: float | None = None
    max_score: float | None = None
    min_tokens: int | None = None
    max_tokens: int | None = None
    text: str | None = None
    """Part of the completion."""

    def matches(self, row: dict[str, Any]) -> bool:
        score, tokens = row["score"], len(row["token_ids"] or [])
        return (
            (self.task is None or self.task.lower() in row["task_id"].lower())
            and (self.source is None or self.source == row["data_source"])
            and (self.reason is None or self.reason == row["reason"])
            and (self.min_score is None or (score is not None and score >= self.min_score))
            and (self.max_score is None or (score is not None and score <= self.max_score))
            and (self.min_tokens is None or tokens >= self.min_tokens)
            and (self.max_tokens is None or tokens <= self.max_tokens)
            and (self.text is None or self.text.lower() in row["completion"].lower())
        )


def find_rollouts(run: RunRecord, query: Query) -> Iterator[dict[str, Any]]:
    """Matching rows in the order of steps, with every column of rlvr/rollout_table.py and `evaluation` (None in training)."""
    for file in run.rollout_files():
        if (file.evaluation is not None) != query.evaluations:
            continue
        if query.step is not None and not query.step[0] <= file.step <= query.step[1]:
            continue
        for row in pq.read_table(file.path).to_pylist():
            if query.matches(row):
                yield {"evaluation": file.evaluation, **row}
