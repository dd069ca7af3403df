"""The forms a verifier may have: a function, with typed arguments, of a batch; and what each refuses."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import pydantic
import pytest

from rlvr_verifiers import Completion, Score, Task, VerifierError
from rlvr_verifiers.protocol import LoadedVerifier, adapt
from rlvr_verifiers.scoring import run_batch, run_verifier


def task(**arguments: Any) -> Task:
    return Task(id="t", prompt=({"role": "user", "content": "?"},), verifier="v", answer="4", verifier_args=arguments)


def wait(judgement: Any) -> Any:
    async def finish() -> Any:
        return await judgement

    return asyncio.run(finish())


def value(verifier: LoadedVerifier, text: str, **arguments: Any) -> Score:
    return run_verifier(verifier, task(**arguments), Completion(text=text), wait)


def keywords(task: Task, completion: Completion, *, tolerance: float = 0.0, mode: Literal["a", "b"] = "a") -> bool:
    return abs(float(completion.text) - float(task.answer)) <= tolerance


def required(task: Task, completion: Completion, *, unit: str, names: list[str] = []) -> bool:  # noqa: B006
    return completion.text == task.answer + unit + "".join(names)


@dataclasses.dataclass(frozen=True)
class Options:
    tolerance: float = 0.0
    units: tuple[str, ...] = ()


def with_dataclass(task: Task, completion: Completion, args: Options) -> bool:
    assert isinstance(args, Options)
    return abs(float(completion.text) - float(task.answer)) <= args.tolerance


class Model(pydantic.BaseModel):
    tolerance: float = pydantic.Field(0.0, ge=0)
    flag: bool = False


class WithModel:
    async def score(self, task: Task, completion: Completion, args: Model) -> bool:
        return abs(float(completion.text) - float(task.answer)) <= args.tolerance

    def check_task(self, task: Task) -> str | None:
        return None if task.answer else "no gold"


CONFIGURABLE = [keywords, with_dataclass, WithModel]


@pytest.mark.parametrize("target", CONFIGURABLE)
def test_arguments_reach_the_verifier_and_have_defaults(target: Any) -> None:
    verifier = adapt("v", target)
    assert value(verifier, "4").passed
    assert not value(verifier, "4.5").passed
    assert value(verifier, "4.5", tolerance=0.5).passed
    assert value(verifier, "4", tolerance=None).passed  # Arrow's null
    assert verifier.check_task(task(tolerance=0.5)) is None


@pytest.mark.parametrize("target", CONFIGURABLE)
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"tolerence": 1.0}, "did you mean 'tolerance'"),
        ({"tolerance": "1"}, "'tolerance'"),
        ({"zzz": 1}, "known: tolerance"),
    ],
)
def test_a_wrong_argument_is_refused_at_load_and_is_no_zero(target: Any, arguments: dict[str, Any], told: str) -> None:
    verifier = adapt("v", target)
    assert told in (verifier.check_task(task(**arguments)) or "")
    score = value(verifier, "4", **arguments)
    assert (score.value, score.reason) == (None, "verifier_error")
    assert told in score.explanation


def test_constraints_lists_and_required_arguments_are_checked() -> None:
    assert "greater than or equal to 0" in (adapt("v", WithModel).check_task(task(tolerance=-1.0)) or "")
    assert "boolean" in (adapt("v", WithModel).check_task(task(flag=1)) or "")
    assert "'a' or 'b'" in (adapt("v", keywords).check_task(task(mode="c")) or "")
    assert value(adapt("v", with_dataclass), "4", units=["m", "cm"]).passed
    assert "'unit': Field required" in (adapt("v", required).check_task(task()) or "")
    assert value(adapt("v", required), "4mxy", unit="m", names=["x", "y"]).passed
    assert adapt("v", WithModel).check_task(dataclasses.replace(task(), answer="")) == "no gold"


def untyped(task: Task, completion: Completion, *, tolerance=0.0): ...  # type: ignore[no-untyped-def]
def swallowing(task: Task, completion: Completion, **kwargs: Any) -> bool: ...  # type: ignore[empty-body]
def two(task: Task, completion: Completion, one: Options, other: Options) -> bool: ...  # type: ignore[empty-body]
def of_dict(task: Task, completion: Completion, args: dict) -> bool: ...  # type: ignore[empty-body, type-arg]


class Backwards:
    value_range = (1.0, 0.0)

    def score(self, task: Task, completion: Completion) -> bool:
        return True


class Wishful(Backwards):
    value_range = (0.0, 1.0)
    effects = frozenset({"rockets"})


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (untyped, "annotate it"),
        (swallowing, "**kwargs"),
        (two, "one `args`"),
        (of_dict, "dataclass or pydantic"),
        (Backwards, "value_range"),
        (Wishful, "rockets"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused_when_loaded(target: Any, told: str) -> None:
    with pytest.raises(VerifierError, match=told.replace("*", r"\*")):
        adapt("v", target)


def longest(task: Task, completions: Sequence[Completion]) -> list[float | None]:
    best = max(len(completion.text) for completion in completions)
    return [None if not completion.text else float(len(completion.text) == best) for completion in completions]


class Both:
    def score(self, task: Task, completion: Completion, *, base: float = 0.0) -> float:
        return base

    async def score_batch(self, task: Task, completions: Sequence[Completion], *, base: float = 0.0) -> list[float]:
        return [base + position for position in range(len(completions))]


def texts(*texts: str) -> list[Completion]:
    return [Completion(text=text) for text in texts]


def test_a_function_of_completions_judges_the_group() -> None:
    verifier = adapt("v", longest)
    scores = run_batch(verifier, task(), texts("a", "bbb", ""), wait)
    assert [score.value for score in scores] == [0.0, 1.0, None]
    assert scores[2].reason == "verifier_error"
    assert value(verifier, "a").value == 1.0  # a group of one


def test_a_class_may_have_both_forms_and_arguments_reach_both() -> None:
    verifier = adapt("v", Both)
    assert [score.value for score in run_batch(verifier, task(base=2.0), texts("a", "b"), wait)] == [2.0, 3.0]
    assert value(verifier, "a", base=5.0).value == 5.0
    assert run_batch(verifier, task(bass=1), texts("a", "b"), wait)[1].reason == "verifier_error"


class Sometimes(Both):
    def whole_group(self, task: Task) -> bool:
        return task.answer == "ranked"


def test_who_may_be_asked_one_by_one_says_so() -> None:
    assert adapt("v", longest).wants_group(task())
    assert adapt("v", Both).wants_group(task())
    sometimes = adapt("v", Sometimes)
    assert [sometimes.wants_group(dataclasses.replace(task(), answer=answer)) for answer in ("ranked", "")] == [True, False]
    ranked = dataclasses.replace(task(), answer="ranked")
    assert [score.value for score in run_batch(sometimes, ranked, texts("a", "b"), wait)] == [0.0, 1.0]
    assert [score.value for score in run_batch(sometimes, task(), texts("a", "b"), wait)] == [0.0, 0.0]


@pytest.mark.parametrize("wrong", [[1.0], 1.0, "ab", {"a": 1, "b": 2}, [1.0, "x"], [1.0, float("nan")]])
def test_a_batch_that_is_not_one_score_each_is_our_failure(wrong: Any) -> None:
    def batch(task: Task, completions: Any) -> Any:
        return wrong

    scores = run_batch(adapt("v", batch), task(), texts("a", "b"), wait)
    assert [(score.value, score.reason) for score in scores] == [(None, "verifier_error")] * 2
