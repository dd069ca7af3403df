"""Rollouts as an Arrow table: one row a completion, everything a score can be traced with.

Messages are JSON text, because Arrow would unify their structs over rows and fill absent keys with null. Token ids and log-probs are
plain lists. A rollout that was sampled but not trained on (dynamic sampling, verifier failure) has a null advantage and reward.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from rlvr.redaction import Redactor
from rlvr.types import Group, Rollout
from rlvr_verifiers.types import Completion, Score, Task

SCHEMA = pa.schema(
    [
        ("stage", pa.string()),
        ("step", pa.int32()),
        ("task_id", pa.string()),
        ("data_source", pa.string()),
        ("verifier", pa.string()),
        ("sample", pa.int32()),  # number within its group
        ("prompt", pa.string()),  # JSON list of messages
        ("answer", pa.string()),  # the gold
        ("completion", pa.string()),  # decoded, special tokens kept
        ("messages", pa.string()),  # JSON list of messages
        ("prompt_ids", pa.list_(pa.int32())),
        ("token_ids", pa.list_(pa.int32())),
        ("sampled_logprobs", pa.list_(pa.float32())),
        ("loss_mask", pa.list_(pa.bool_())),
        ("advantage", pa.float64()),
        ("reward", pa.float64()),
        ("score", pa.float64()),  # null: our infrastructure failed
        ("passed", pa.bool_()),
        ("reason", pa.string()),
        ("explanation", pa.string()),
        ("parsed", pa.string()),
        ("score_metrics", pa.string()),  # JSON object
        ("seconds", pa.float64()),
        ("finish_reason", pa.string()),
        ("policy_version", pa.int32()),
    ]
)


def training_table(
    stage: str, step: int, trained: Sequence[Group], sampled: Sequence[Group], redactor: Redactor
) -> pa.Table:
    """Rows of the groups that entered the update, then of what was sampled at this step and did not.

    A group that dynamic sampling carries over is written twice: untrained at the step that sampled it, trained at the step it entered.
    """
    rows: list[dict[str, Any]] = []
    for group in trained:
        advantages: Sequence[float | None] = group.advantages or (None,) * len(group.rollouts)
        for sample, (rollout, advantage) in enumerate(zip(group.rollouts, advantages, strict=True)):
            rows.append({**_row(rollout, sample, redactor), "advantage": advantage, "reward": rollout.reward})
    # The same completion objects travel through the stages; rollouts around them are replaced when rewards are filled in.
    used = {id(rollout.completion) for group in trained for rollout in group.rollouts}
    for group in sampled:
        rows += [_row(r, sample, redactor) for sample, r in enumerate(group.rollouts) if id(r.completion) not in used]
    return _table(stage, step, rows)


def evaluation_table(stage: str, step: int, rollouts: Iterable[Rollout], redactor: Redactor) -> pa.Table:
    """Rows of an evaluation, samples numbered within their task."""
    seen: dict[str, int] = {}
    rows: list[dict[str, Any]] = []
    for rollout in rollouts:
        sample = seen.get(rollout.task.id, 0)
        seen[rollout.task.id] = sample + 1
        rows.append(_row(rollout, sample, redactor))
    return _table(stage, step, rows)


def _row(rollout: Rollout, sample: int, redactor: Redactor) -> dict[str, Any]:
    task, completion, score = rollout.task, rollout.completion, rollout.score

    def clean(text: str) -> str:
        return redactor.text(_storable(text))

    return {
        "task_id": clean(task.id),
        "data_source": clean(task.data_source),
        "verifier": clean(task.verifier),
        "sample": sample,
        "prompt": clean(_json(task.prompt)),
        "answer": clean(task.answer),
        "completion": clean(completion.text),
        "messages": clean(_json(completion.messages)),
        "prompt_ids": completion.prompt_ids,
        "token_ids": completion.token_ids,
        "sampled_logprobs": completion.sampled_logprobs,
        "loss_mask": completion.loss_mask,
        "score": score.value,
        "passed": score.passed,
        "reason": clean(score.reason),
        "explanation": clean(score.explanation),
        "parsed": None if score.parsed is None else clean(score.parsed),
        "score_metrics": _json(dict(score.metrics)),
        "seconds": score.seconds,
        "finish_reason": completion.finish_reason,
        "policy_version": completion.policy_version,
    }


def _table(stage: str, step: int, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([{"stage": stage, "step": step, **row} for row in rows], schema=SCHEMA)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _storable(text: str) -> str:
    """Text that UTF-8 can hold: a lone surrogate, which JSON escapes can smuggle in, is spelt out."""
    return text.encode("utf-8", "backslashreplace").decode()


def rollouts_of(table: pa.Table) -> list[Rollout]:
    """The rollouts a table was written from, as far as it keeps them: enough to summarise and compare evaluations."""
    return [
        Rollout(
            task=Task(
                id=row["task_id"],
                prompt=tuple(json.loads(row["prompt"])),
                verifier=row.get("verifier") or "",  # older tables have no such column
                answer=row["answer"],
                data_source=row["data_source"],
            ),
            completion=Completion(
                text=row["completion"],
                messages=tuple(json.loads(row["messages"])),
                prompt_ids=tuple(row["prompt_ids"]),
                token_ids=tuple(row["token_ids"]),
                sampled_logprobs=tuple(row["sampled_logprobs"]),
                loss_mask=tuple(row["loss_mask"]),
                finish_reason=row["finish_reason"],
                policy_version=row["policy_version"],
            ),
            score=Score(
                value=row["score"],
                passed=row["passed"],
                reason=row["reason"],
                explanation=row["explanation"],
                parsed=row["parsed"],
                metrics=json.loads(row["score_metrics"]),
                seconds=row["seconds"],
            ),
        )
        for row in table.to_pylist()
    ]
