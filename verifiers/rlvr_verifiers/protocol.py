"""What a verifier is, and how anything that can judge is made into one.

The protocol is one coroutine, `score(task, completion) -> Score`. A plain function, synchronous or not, does as well, and
may return a bare float or bool. A class may add, each optional:

- `check_task(task) -> str | None`: one line that says why this task cannot be judged (gold that does not parse, unknown
  argument). It runs when data is loaded, so that a bad gold never reaches training.
- `required_verifiers(task) -> Iterable[str]`: names of verifiers it calls itself; they are loaded before its clock starts.
- `prepare()`: starts what it needs in this process (a sandbox, a model); a pool's workers call it before the first clock
  starts. Raises VerifierError where it cannot work here.
- `deadline_s(task) -> float`: seconds it may take where it waits for something outside (a judge's endpoint). The pool's deadline is
  raised to that, so that the verifier's own time limit, and not the pool's, says what a slow outside is worth.
- `verifiable`: False where the score is an opinion; reports then say so.
- `reasons`: the reason codes it may give.
- `own_deadline_s(task) -> float`: for a verifier that stops what it judges by clocks of its own and always ends by itself:
  seconds that this takes at the very most. A pool then kills it only after these, and counts that as our failure.
- `built_on`: names of further packages whose sources decide its scores; `version_of` hashes them, too.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Awaitable, Callable, Iterable
from numbers import Real
from typing import Any, Protocol, cast, runtime_checkable

from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.types import Completion, Score, Task

Judgement = Score | float | bool
JudgeFunction = Callable[[Task, Completion], Judgement | Awaitable[Judgement]]

MAX_EXPLANATION = 1_000
"""Characters of `explanation` and `parsed` that are kept: both may quote hostile text and are logged for every rollout."""


@runtime_checkable
class Verifier(Protocol):
    async def score(self, task: Task, completion: Completion) -> Score: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoadedVerifier:
    """A judge of any shape behind the `Verifier` protocol."""

    name: str
    function: JudgeFunction
    check: Callable[[Task], str | None] | None = None
    requires: Callable[[Task], Iterable[str]] | None = None
    prepare: Callable[[], None] | None = None
    needs_s: Callable[[Task], float] | None = None
    verifiable: bool = True
    reasons: frozenset[str] | None = None
    """Reason codes it declares; None where it did not say."""
    own_deadline: Callable[[Task], float] | None = None
    """Where the verifier keeps its own deadlines: the second after which it is itself at fault."""
    built_on: tuple[str, ...] = ()

    async def score(self, task: Task, completion: Completion) -> Score:
        judgement = self.function(task, completion)
        if isinstance(judgement, Awaitable):
            judgement = await judgement
        return as_score(judgement, self.name)

    def check_task(self, task: Task) -> str | None:
        return None if self.check is None else self.check(task)

    def deadline_s(self, task: Task) -> float:
        """Seconds it may take, as it says itself; 0 where the pool's own deadline will do."""
        asked = [float(function(task)) for function in (self.needs_s, self.own_deadline) if function is not None]
        return max(asked, default=0.0)

    def required_verifiers(self, task: Task) -> tuple[str, ...]:
        return () if self.requires is None else tuple(self.requires(task))


def adapt(name: str, target: object) -> LoadedVerifier:
    """A function, a class without constructor arguments, or an object with a `score` method, as a verifier.

    Raises VerifierError where it is none of these.
    """
    if isinstance(target, type):
        try:
            target = cast(Callable[[], object], target)()
        except TypeError as error:
            raise VerifierError(
                f"verifier {name!r}: its class cannot be made without arguments ({error}); name an instance"
            ) from error
    function = getattr(target, "score", target)
    if not callable(function):
        kind = type(target).__name__
        raise VerifierError(
            f"verifier {name!r} is a {kind}; it must be a function (task, completion) or have a score method"
        )
    reasons: Any = getattr(target, "reasons", None)
    return LoadedVerifier(
        name=name,
        function=cast(JudgeFunction, function),
        check=getattr(target, "check_task", None),
        requires=getattr(target, "required_verifiers", None),
        prepare=getattr(target, "prepare", None),
        needs_s=getattr(target, "deadline_s", None),
        verifiable=bool(getattr(target, "verifiable", True)),
        reasons=None if reasons is None else frozenset(cast(Iterable[str], reasons)),
        own_deadline=getattr(target, "own_deadline_s", None),
        built_on=tuple(cast(Iterable[str], getattr(target, "built_on", ()))),
    )


def as_score(judgement: object, name: str) -> Score:
    """Score, float or bool to Score; a float passes from 1.0 up. Raises VerifierError on anything else, NaN included."""
    if isinstance(judgement, Score):
        _require_finite(judgement.value, name)
        return _clipped(judgement)
    if isinstance(judgement, bool):
        return Score(value=float(judgement), passed=judgement, reason="ok" if judgement else "mismatch")
    if isinstance(judgement, Real):
        value = float(judgement)
        _require_finite(value, name)
        passed = value >= 1.0
        return Score(value=value, passed=passed, reason="ok" if passed else "mismatch")
    raise VerifierError(f"verifier {name!r} returned {type(judgement).__name__}; return a Score, a float or a bool")


def _require_finite(value: float | None, name: str) -> None:
    if value is not None and not math.isfinite(value):
        raise VerifierError(
            f"verifier {name!r} returned the value {value}; return a finite number, or None for a failure of its own"
        )


def _clipped(score: Score) -> Score:
    parsed = score.parsed
    if len(score.explanation) <= MAX_EXPLANATION and (parsed is None or len(parsed) <= MAX_EXPLANATION):
        return score
    return dataclasses.replace(
        score,
        explanation=score.explanation[:MAX_EXPLANATION],
        parsed=None if parsed is None else parsed[:MAX_EXPLANATION],
    )
