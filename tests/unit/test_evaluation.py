"""What an evaluation's rollouts amount to, and whose they are."""

from __future__ import annotations

import pytest

from rlvr.errors import RlvrError
from rlvr.evaluation import check_ids, summarise
from rlvr.types import Rollout
from rlvr_verifiers.types import Completion, Score, Task


def rollout(task_id: str, value: float | None, source: str = "gsm") -> Rollout:
    return Rollout(
        task=Task(id=task_id, prompt=(), verifier="exact", answer="1", data_source=source),
        completion=Completion(text="1"),
        score=Score(value=value, passed=bool(value), reason="verifier_error" if value is None else "ok"),
    )


def test_tasks_of_two_sources_with_one_id_are_refused() -> None:
    tasks = [rollout(task_id, 1.0, source).task for source in ("gsm", "math") for task_id in ("0", "1")]
    check_ids(tasks[:2], "eval.tasks")
    with pytest.raises(RlvrError, match=r"eval\.tasks: 2 ids are each those of several tasks \(first '0'\)"):
        check_ids(tasks, "eval.tasks")


def test_one_failure_of_ours_costs_pass_at_k_one_task() -> None:
    rollouts = [rollout(str(task), float(task < 10)) for task in range(20) for _ in range(4)]
    rollouts[0] = rollout("0", None)
    found = summarise("sft", rollouts)
    assert {k: estimate.n for k, estimate in found.pass_at.items()} == {1: 20, 2: 20, 4: 19}
    assert found.pass_at[4].value == pytest.approx(9 / 19)
    assert found.pass_at[1] == found.accuracy
    every = summarise("sft", [rollout(str(task), value) for task in range(3) for value in (1.0, 0.0, None, 1.0)])
    assert list(every.pass_at) == [1, 2]
