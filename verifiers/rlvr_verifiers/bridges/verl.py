"""verl's `compute_score`, both ways (call shape of verl 0.9).

In: `verl:module:function` in a task record. It gets the text without special tokens, the task's `data_source`, its gold and its
`info` as `extra_info`. A number is the value; of a dict `score` is, `acc` says whether it passed, other numbers are metrics.

Out: a file with `compute_score = compute_score_of("math")`, named in `custom_reward_function.path`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, cast

from rlvr_verifiers.bridges.background import BackgroundPool
from rlvr_verifiers.bridges.columns import missing_column
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.protocol import as_score
from rlvr_verifiers.registry import resolve
from rlvr_verifiers.types import Completion, Score, Task

_GIVEN = ("data_source", "solution_str", "ground_truth", "extra_info")


class VerlScore:
    """A verl compute_score as a verifier."""

    value_range = (-math.inf, math.inf)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def check_task(self, task: Task) -> str | None:
        missing = missing_column(self._function, {**dict.fromkeys(_GIVEN), **task.verifier_args})
        return f"compute_score asks for {missing!r}; give it in verifier_args" if missing else None

    async def score(self, task: Task, completion: Completion) -> Score:
        result: Any = self._function(
            data_source=task.data_source,
            solution_str=completion.content,
            ground_truth=task.answer,
            extra_info=dict(task.info),
            **task.verifier_args,
        )
        if inspect.isawaitable(result):
            result = await result
        return _score(result)


def _score(result: object) -> Score:
    if not isinstance(result, Mapping):
        return as_score(result, "verl")
    fields = cast("Mapping[str, Any]", result)
    if "score" not in fields:
        raise VerifierError(f"compute_score returned a dict without `score`: {', '.join(map(str, fields))}")
    plain = as_score(fields["score"], "verl")
    passed = bool(fields.get("acc", plain.passed))
    metrics = {name: float(value) for name, value in fields.items() if name != "score" and isinstance(value, int | float)}
    parsed = fields.get("pred")
    return Score(
        value=plain.value,
        passed=passed,
        reason="ok" if passed else "mismatch",
        metrics=metrics,
        parsed=parsed if isinstance(parsed, str) else None,
    )


def compute_score_of(
    verifier: str,
    *,
    verifier_args: Mapping[str, Any] | None = None,
    on_failure: float | None = None,
    deadline_s: float = 5.0,
    workers: int = 1,
) -> Callable[..., dict[str, Any]]:
    """A verifier as a verl compute_score, in killable workers.

    It returns `score`, `acc`, `reason` and `pred`. verl knows no "not judged": where our side fails it raises VerifierError,
    unless `on_failure` says which score to give instead.
    """
    resolve(verifier)
    pool = BackgroundPool(workers, deadline_s, verifier)

    def compute_score(
        data_source: str, solution_str: str, ground_truth: Any, extra_info: Mapping[str, Any] | None = None, **_: Any
    ) -> dict[str, Any]:
        task = Task(
            id=str((extra_info or {}).get("index", "verl")),
            prompt=(),
            verifier=verifier,
            answer=str(ground_truth),
            verifier_args=verifier_args or {},
            data_source=data_source,
        )
        (score,) = pool.score_group(task, [Completion(text=solution_str)])
        if score.value is None and on_failure is None:
            raise VerifierError(f"verifier {verifier!r} failed on our side: {score.explanation}")
        value = on_failure if score.value is None else score.value
        return {"score": value, "acc": score.passed, "reason": score.reason, "pred": score.parsed or ""}

    return compute_score
