"""Pairs and demonstrations from scored completions: which are taken, which are left out, and what a row says of its origin."""

from __future__ import annotations

import json
from typing import Any

from rlvr.preference.from_rollouts import Counts, PairRule, pairs_of, verified_of
from rlvr.types import Rollout
from rlvr_tasks.preferences import unusable_preferences
from rlvr_tasks.record import task_from_record
from rlvr_verifiers.types import Completion, Score, Task

TASK = Task(id="t", prompt=({"role": "user", "content": "Q?"},), verifier="exact", answer="a", info={"licence": "MIT"})


def rollout(text: str, value: float | None, *, tokens: int = 3, finish: Any = "stop", passed: bool | None = None) -> Rollout:
    ids = (1,) * tokens
    return Rollout(
        task=TASK,
        completion=Completion(text=text, token_ids=ids, finish_reason=finish),
        score=Score(value=value, passed=bool(value) if passed is None else passed, reason="r"),
    )


def texts(rollouts: list[Rollout], **rule: Any) -> list[tuple[str, str]]:
    rows, _ = pairs_of(rollouts, PairRule(**rule), {})
    return [(row["chosen"], row["rejected"]) for row in rows]


FIVE = [rollout("a", 0.0), rollout("b", 1.0), rollout("c", 0.4), rollout("d", 1.0, tokens=9), rollout("e", 0.0, tokens=9)]


def test_the_best_is_paired_with_the_worst() -> None:
    assert texts(FIVE) == [("b", "a")]
    assert texts(FIVE, per_prompt=9) == [("b", "a"), ("d", "e")]  # nobody is in two pairs


def test_equal_scores_are_no_preference_and_the_margin_is_kept() -> None:
    assert texts([rollout("a", 1.0), rollout("b", 1.0)]) == []
    assert texts([rollout("a", 1.0), rollout("b", 0.7)], margin=0.5) == []
    assert texts([rollout("a", 1.0), rollout("b", 0.5)], margin=0.5) == [("a", "b")]


def test_the_same_length_option_looks_at_tokens() -> None:
    long_winner = [rollout("a", 0.0, tokens=10), rollout("b", 1.0, tokens=20), rollout("c", 0.9, tokens=11)]
    assert texts(long_winner) == [("b", "a")]
    assert texts(long_winner, same_length=0.2) == [("c", "a")]
    assert texts(long_winner, same_length=0.0) == []


def test_what_cannot_be_used_is_counted() -> None:
    rollouts = [
        rollout("a", None),
        rollout("b", 1.0, finish="length"),
        rollout("c", 1.0),
        rollout("c", 1.0),
        rollout(" ", 0.0),
        rollout("d", 0.0),
    ]
    rows, counts = pairs_of(rollouts, PairRule(), {})
    assert [(row["chosen"], row["rejected"]) for row in rows] == [("c", "d")]
    assert counts == Counts(prompts=1, completions=6, unscored=1, truncated=1, repeated=2, rows=1)
    _, nothing = pairs_of(rollouts[:3], PairRule(), {})
    assert (nothing.without_pair, nothing.rows) == (1, 0)
    assert (counts + nothing).completions == 9


def test_a_row_is_a_preference_record_that_says_where_it_comes_from() -> None:
    (row,), _ = pairs_of(FIVE, PairRule(), {"model": "m", "seed": 3})
    task = task_from_record(json.loads(json.dumps(row)))
    assert (task.id, task.prompt, task.info["chosen"], task.info["licence"]) == ("t/1-0", TASK.prompt, "b", "MIT")
    assert (task.info["score_chosen"], task.info["score_rejected"]) == (1.0, 0.0)
    origin = task.info["provenance"]
    assert (origin["model"], origin["seed"]) == ("m", 3)
    assert origin["chosen"] == {"sample": 1, "tokens": 3, "reason": "r"}
    assert unusable_preferences([task]) == {}


def test_verified_completions_become_demonstrations() -> None:
    rows, counts = verified_of([*FIVE, rollout("f", 0.5, passed=False)], 3, {"model": "m"})
    assert [json.loads(row["info"])["demonstration"] for row in rows] == ["b", "c", "d"]
    assert counts.rows == 3
    task = task_from_record(rows[0])
    assert task.info["provenance"] == {"model": "m", "sample": 1, "score": 1.0, "tokens": 3}
    assert verified_of([rollout("a", 0.0)], 3, {})[1].without_pair == 1
