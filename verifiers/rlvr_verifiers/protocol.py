"""What a verifier is, and how anything that can judge is made into one.

The protocol is one coroutine, `score(task, completion) -> Score`. A plain function, synchronous or not, does as well, and
may return a bare float or bool. It may take arguments behind these two, which are then its `verifier_args`
(`typed_arguments.py`). A function whose second parameter is called `completions` judges all completions of a task at once
and returns a list.

A class may say more, each optional:

- `score_batch(task, completions)`: all completions of one task at once, where that is quicker or their group matters. Training then
  waits for a task's last completion before it asks; any other verifier judges each completion as soon as it is finished.
- `whole_group`: False where its batch form need not be waited for. It may be a method of the task.
- `check_task(task) -> str | None`: one line that says why this task cannot be judged (gold that does not parse, unknown
  argument). It runs when data is loaded, so that a bad gold never reaches training.
- `required_verifiers(task) -> Iterable[str]`: names of verifiers it calls itself; they are loaded before its clock starts.
- `prepare()`: starts what it needs in this process (a sandbox, a model); a pool's workers call it before the first clock
  starts. Raises VerifierError where it cannot work here.
- `prepare_task(task)`: the same for what one task needs, such as a process that runs its environment. A pool's workers call it before the
  task's clock starts; it should cost nothing the second time.
- `deadline_s(task) -> float`: seconds it may take where it waits for something outside (a judge's endpoint). The pool's deadline is
  raised to that, so that the verifier's own time limit, and not the pool's, says what a slow outside is worth.
- `verifiable`: False where the score is an opinion; reports then say so.
- `own_deadline_s(task) -> float`: for a verifier that stops what it judges by clocks of its own and always ends by itself:
  seconds that this takes at the very most. A pool then kills it only after these, and counts that as our failure.
- `built_on`: names of further packages whose sources decide its scores; `version_of` hashes them, too.
- `reasons`: the reason codes it may give; `value_range`: the lowest and highest value it may give, (0, 1) if it does not say.
  Either may be a method of the task.
- `effects`: what it does outside its process, of `files`, `network` and `processes`; nothing if it does not say.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, Protocol, cast, runtime_checkable

from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.typed_arguments import TypedArguments, declared_arguments
from rlvr_verifiers.types import Completion, Score, Task

Judgement = Score | float | bool
JudgeFunction = Callable[[Task, Completion], Judgement | Awaitable[Judgement]]
BatchFunction = Callable[[Task, Sequence[Completion]], Iterable[Judgement | None] | Awaitable[Iterable[Judgement | None]]]
EFFECTS = frozenset({"files", "network", "processes"})

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
    batch: BatchFunction | None = None
    """Judges all completions of a task at once; None where it has no such form."""
    whole_group: bool | Callable[[Task], bool] = True
    """Whether the batch form, where there is one, is to be asked."""
    relative: bool = False
    """It has a batch form only, so that a score may depend on the other completions of the group."""
    check: Callable[[Task], str | None] | None = None
    requires: Callable[[Task], Iterable[str]] | None = None
    prepare: Callable[[], None] | None = None
    prepare_task: Callable[[Task], None] | None = None
    needs_s: Callable[[Task], float] | None = None
    verifiable: bool = True
    reasons: frozenset[str] | Callable[[Task], Iterable[str]] | None = None
    """Reason codes it declares; None where it did not say."""
    own_deadline: Callable[[Task], float] | None = None
    """Where the verifier keeps its own deadlines: the second after which it is itself at fault."""
    built_on: tuple[str, ...] = ()
    value_range: tuple[float, float] | Callable[[Task], tuple[float, float]] = (0.0, 1.0)
    effects: frozenset[str] = frozenset()
    """What it declares to do outside its process; of EFFECTS."""
    arguments: TypedArguments | None = None
    """Its `verifier_args`, where its signature declares them."""
    source: object = None
    """What was adapted: the function, or the object with a score method."""

    async def score(self, task: Task, completion: Completion) -> Score:
        judgement = self.function(task, completion)
        if isinstance(judgement, Awaitable):
            judgement = await judgement
        return as_score(judgement, self.name)

    def check_task(self, task: Task) -> str | None:
        if self.arguments is not None:
            try:
                self.arguments.bind(task.verifier_args)
            except VerifierError as error:
                return str(error)
        if self.check is not None:
            return self.check(task)
        if task.verifier_args and self.arguments is None:
            return f"verifier {self.name!r} declares no verifier_args, and the task gives {', '.join(map(repr, task.verifier_args))}"
        return None

    def deadline_s(self, task: Task) -> float:
        """Seconds it may take, as it says itself; 0 where the pool's own deadline will do."""
        asked = [float(function(task)) for function in (self.needs_s, self.own_deadline) if function is not None]
        return max(asked, default=0.0)

    def wants_group(self, task: Task) -> bool:
        """Whether a task's completions go to the batch form together. One that cannot say is asked one by one, and fails there."""
        if self.batch is None:
            return False
        try:
            return bool(self.whole_group(task) if callable(self.whole_group) else self.whole_group)
        except Exception:
            return False

    async def score_group(self, task: Task, completions: Sequence[Completion]) -> list[Score]:
        """All completions of a task, by the batch form where it wants them together."""
        if not completions:
            return []
        if self.batch is None or not self.wants_group(task):
            return [await self.score(task, completion) for completion in completions]
        judgements = self.batch(task, completions)
        listed = await judgements if isinstance(judgements, Awaitable) else judgements
        return as_scores(listed, len(completions), self.name)

    def required_verifiers(self, task: Task) -> tuple[str, ...]:
        return () if self.requires is None else tuple(self.requires(task))

    def reasons_for(self, task: Task) -> frozenset[str] | None:
        """What it may say of this task; None where it did not declare it."""
        return frozenset(self.reasons(task)) if callable(self.reasons) else self.reasons

    def range_for(self, task: Task) -> tuple[float, float]:
        return self.value_range(task) if callable(self.value_range) else self.value_range


def adapt(name: str, target: object) -> LoadedVerifier:
    """A function, a class without constructor arguments, or an object with a `score` or `score_batch` method, as a verifier.

    Raises VerifierError where it is none of these, or declares something that cannot be.
    """
    if isinstance(target, type):
        try:
            target = cast(Callable[[], object], target)()
        except TypeError as error:
            raise VerifierError(
                f"verifier {name!r}: its class cannot be made without arguments ({error}); name an instance"
            ) from error
    single: Any = getattr(target, "score", None)
    batch: Any = getattr(target, "score_batch", None)
    if single is None and batch is None:
        if not callable(target):
            kind = type(target).__name__
            raise VerifierError(
                f"verifier {name!r} is a {kind}; it must be a function (task, completion) or have a score method"
            )
        single, batch = (None, target) if _takes_completions(target) else (target, None)
    arguments = declared_arguments(name, cast(JudgeFunction, single or batch))
    single, batch = _bound(single, arguments), _bound(batch, arguments)
    reasons: Any = getattr(target, "reasons", None)
    return LoadedVerifier(
        name=name,
        function=cast(JudgeFunction, single) if single is not None else _one_of_batch(name, cast(BatchFunction, batch)),
        batch=cast("BatchFunction | None", batch),
        whole_group=getattr(target, "whole_group", True),
        relative=single is None,
        check=getattr(target, "check_task", None),
        requires=getattr(target, "required_verifiers", None),
        prepare=getattr(target, "prepare", None),
        prepare_task=getattr(target, "prepare_task", None),
        needs_s=getattr(target, "deadline_s", None),
        verifiable=bool(getattr(target, "verifiable", True)),
        own_deadline=getattr(target, "own_deadline_s", None),
        built_on=tuple(cast(Iterable[str], getattr(target, "built_on", ()))),
        reasons=cast(Any, reasons if reasons is None or callable(reasons) else frozenset(cast(Iterable[str], reasons))),
        value_range=_value_range(name, getattr(target, "value_range", (0.0, 1.0))),
        effects=_effects(name, getattr(target, "effects", ())),
        arguments=arguments,
        source=target,
    )


def _takes_completions(function: Callable[..., object]) -> bool:
    try:
        return list(inspect.signature(function).parameters)[1:2] == ["completions"]
    except (TypeError, ValueError):  # a builtin: it has no signature to read
        return False


def _bound(function: Any, arguments: TypedArguments | None) -> Any:
    """The function of two parameters that takes the rest from the task."""
    if function is None or arguments is None:
        return function

    def judge(task: Task, completion: object) -> object:
        positional, keywords = arguments.bind(task.verifier_args)
        return function(task, completion, *positional, **keywords)

    return judge


def _one_of_batch(name: str, batch: BatchFunction) -> JudgeFunction:
    """A batch form asked about one completion."""

    async def judge(task: Task, completion: Completion) -> Judgement:
        judgements = batch(task, (completion,))
        listed = await judgements if isinstance(judgements, Awaitable) else judgements
        return as_scores(listed, 1, name)[0]

    return judge


def _value_range(name: str, value: Any) -> Any:
    if callable(value):
        return value
    try:
        low, high = (float(end) for end in value)
    except (TypeError, ValueError):
        low, high = 1.0, 0.0
    if not low <= high:
        raise VerifierError(
            f"verifier {name!r}: value_range is {value!r}; give its lowest and highest value, as in (0.0, 1.0)"
        )
    return low, high


def _effects(name: str, value: Any) -> frozenset[str]:
    effects = frozenset(cast(Iterable[str], value))
    if not effects <= EFFECTS:
        raise VerifierError(f"verifier {name!r}: effects are {', '.join(sorted(EFFECTS))}, not {sorted(effects - EFFECTS)}")
    return effects


def as_scores(judgements: object, count: int, name: str) -> list[Score]:
    """What a batch form returned, one Score for each completion; None in it is a completion it could not judge.

    Raises VerifierError where their number is not `count`, and as `as_score` does.
    """
    if not isinstance(judgements, Iterable) or isinstance(judgements, str | bytes | Mapping):
        raise VerifierError(
            f"verifier {name!r} returned {type(cast(object, judgements)).__name__} for a batch; return a list of scores"
        )
    listed = list(cast(Iterable[object], judgements))
    if len(listed) != count:
        raise VerifierError(f"verifier {name!r} returned {len(listed)} scores for {count} completions; return one for each")
    return [_unjudged(name) if each is None else as_score(each, name) for each in listed]


def _unjudged(name: str) -> Score:
    explanation = f"verifier {name!r} gave no score (None)"
    return Score(value=None, passed=False, reason="verifier_error", explanation=explanation)


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
