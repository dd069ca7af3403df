"""Reward functions of other trainers give the same scores through their own call path and through ours."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.metadata
import importlib.util
import math
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlvr_verifiers import Completion, Score, Task, VerifierError, check_task, score_group_now, score_now
from rlvr_verifiers.bridges.formula import Formula
from rlvr_verifiers.bridges.prime import RubricVerifier
from rlvr_verifiers.bridges.rows import task_from_open_instruct_row, task_from_verl_row
from rlvr_verifiers.bridges.similarity import METRICS
from rlvr_verifiers.protocol import adapt
from rlvr_verifiers.tool_env import Environments, offered

FOREIGN = """
import asyncio

def trl_exact(completions, solution, **kwargs):
    return [None if not gold else float(c[-1]["content"] == gold) for c, gold in zip(completions, solution)]

def trl_first_to_say(prompts, completions, unit, log_metric=None):
    seen, rewards = set(), []
    for completion, each in zip(completions, unit):
        text = completion[-1]["content"] + each
        rewards.append(0.0 if text in seen else 0.5)
        seen.add(text)
    log_metric("distinct", len(seen))
    return rewards

async def trl_async(prompts, completions, answer, **kwargs):
    await asyncio.sleep(0)
    return [float(len(completion[0]["content"])) for completion in completions]

def trl_ids(completions, completion_ids, **kwargs):
    return [1.0 for _ in completion_ids]

def compute_score(data_source, solution_str, ground_truth, extra_info=None, strict=True):
    acc = solution_str == ground_truth if strict else ground_truth in solution_str
    return {"score": 1.0 if acc else -1.0, "acc": acc, "pred": solution_str, "index": extra_info["index"]}

async def compute_async(data_source, solution_str, ground_truth, extra_info):
    return data_source == "gsm8k" and solution_str == ground_truth

def load_environment():
    import types
    def exact(completion, answer): return float(completion[-1]["content"] == answer)
    async def brief(completion, info, state, parser): return float(len(completion[-1]["content"]) <= info["limit"] and parser == "p")
    def longest(completions, answers):
        lengths = [len(c[-1]["content"]) for c in completions]
        return [float(n == max(lengths)) for n in lengths]
    rubric = types.SimpleNamespace(funcs=[exact, brief, longest], weights=[1.0, 0.2, 0.1], parser="p")
    return types.SimpleNamespace(rubric=rubric)
"""


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("foreign") / "rewards.py"
    path.write_text(textwrap.dedent(FOREIGN))
    return path


def task(verifier: str, answer: str = "4", arguments: dict[str, Any] | None = None, **info: Any) -> Task:
    prompt = ({"role": "user", "content": "2 + 2?"},)
    return Task(
        id="t",
        prompt=prompt,
        verifier=verifier,
        answer=answer,
        verifier_args=arguments or {},
        data_source="gsm8k",
        info=info,
    )


def group(*texts: str) -> list[Completion]:
    return [Completion(text=text) for text in texts]


def values(scores: list[Score]) -> list[float | None]:
    return [score.value for score in scores]


def test_a_trl_function_gets_the_whole_group_and_its_columns(foreign: Path) -> None:
    exact = task(f"trl:{foreign}:trl_exact")
    assert values(score_group_now(exact, group("4", "5"))) == [1.0, 0.0]
    assert values(score_group_now(task(f"trl:{foreign}:trl_exact", ""), group("4"))) == [None]
    assert values(score_group_now(task(f"trl:{foreign}:trl_first_to_say", unit="m"), group("4", "4", "5"))) == [
        0.5,
        0.0,
        0.5,
    ]
    assert values(score_group_now(task(f"trl:{foreign}:trl_async"), group("four", "4"))) == [4.0, 1.0]
    assert score_now(exact, Completion(text="4")).passed


def test_a_trl_function_that_cannot_be_served_is_refused_at_load(foreign: Path) -> None:
    assert "'unit'" in (check_task(task(f"trl:{foreign}:trl_first_to_say")) or "")
    with pytest.raises(VerifierError, match="completion_ids"):
        check_task(task(f"trl:{foreign}:trl_ids"))
    with pytest.raises(VerifierError, match="cannot be loaded"):
        check_task(task(f"trl:{foreign}:missing"))


TRL_ENVIRONMENT = """
class Counter:
    def reset(self, start, limit=10, **columns):
        self.count, self.limit, self._log = start, limit, []

    async def add(self, amount: int) -> int:
        '''Adds to the counter.

        Args:
            amount: what is added.

        Returns:
            The new count.
        '''
        if amount < 0:
            raise ValueError("amount is negative")
        self.count += amount
        return self.count

    def get_reward(self):
        return self.count / self.limit

class Talks:
    def reset(self, **columns):
        return "more for the prompt"

    def look(self) -> str:
        '''Looks.'''
        return ""

def no_class(**columns): ...
"""


def counter_task(path: Path, name: str = "Counter") -> Task:
    named = f"trl:{path}:{name}"
    made = dataclasses.replace(task(named, start=1), environment=named, env_args={"limit": 8})
    return dataclasses.replace(made, tools=offered(made))


def test_an_environment_class_of_trl_runs_and_rewards_as_it_does_there(tmp_path: Path) -> None:
    path = tmp_path / "counter.py"
    path.write_text(TRL_ENVIRONMENT)
    counter = counter_task(path)
    assert check_task(counter) is None
    (schema,) = counter.tools
    assert schema["function"]["name"] == "add"
    assert schema["function"]["parameters"]["properties"] == {"amount": {"description": "what is added.", "type": "integer"}}

    async def rollout() -> list[Any]:
        async with Environments(format="hermes").episode(counter) as episode:
            turns = [f'<tool_call>{{"name": "add", "arguments": {{"amount": {n}}}}}</tool_call>' for n in (2, -1, 4)]
            return [message for turn in turns for message in await episode.observe(turn)]

    shown = asyncio.run(rollout())
    assert [message["content"] for message in shown] == ["3", "error: ValueError: amount is negative", "7"]
    reply = {"role": "assistant", "content": "Done."}
    score = score_now(counter, Completion(text="Done.", messages=(*shown, reply)))

    scope: dict[str, Any] = {}
    exec(compile(TRL_ENVIRONMENT, "counter", "exec"), scope)
    theirs = scope["Counter"]()  # as the trainer does: reset with the row, call, ask
    theirs.reset(prompt=[], start=1, limit=8)
    for amount in (2, 4):
        asyncio.run(theirs.add(amount))
    assert score.value == theirs.get_reward() == 7 / 8
    assert score_now(counter, Completion(text="Done.")).value == 1 / 8


def test_an_environment_class_of_trl_that_cannot_be_served_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "counter.py"
    path.write_text(TRL_ENVIRONMENT)
    with pytest.raises(VerifierError, match="has no get_reward"):
        check_task(counter_task(path, "Talks"))
    talks = dataclasses.replace(counter_task(path, "Talks"), verifier="tool_env", answer='{"outputs": ["x"]}')
    assert "returns a text for the prompt" in (check_task(dataclasses.replace(talks, info={})) or "")
    counter = counter_task(path)
    assert "its own" in (check_task(dataclasses.replace(counter, environment="shop")) or "")
    with pytest.raises(VerifierError, match="has to be a class"):
        offered(dataclasses.replace(counter, environment=f"trl:{path}:no_class"))


def test_a_verl_function_is_called_as_verl_calls_it(foreign: Path) -> None:
    name = f"verl:{foreign}:compute_score"
    right = score_now(task(name, index=3), Completion(text="4<|im_end|>", messages=({"role": "assistant", "content": "4"},)))
    assert (right.value, right.passed, right.parsed, right.metrics["index"]) == (1.0, True, "4", 3.0)
    wrong = score_now(task(name, index=3), Completion(text="it is 4"))
    assert (wrong.value, wrong.passed, wrong.reason) == (-1.0, False, "mismatch")
    assert score_now(task(name, arguments={"strict": False}, index=3), Completion(text="it is 4")).passed
    assert score_now(task(f"verl:{foreign}:compute_async"), Completion(text="4")).passed
    failed = score_now(task(name), Completion(text="4"))  # extra_info lacks what the function reads
    assert (failed.value, failed.reason) == (None, "verifier_error")


def test_a_rubric_is_called_by_argument_name_and_weighted(foreign: Path) -> None:
    graded = task(f"verifiers:{foreign}:load_environment", limit=2)
    assert check_task(graded) is None
    scores = score_group_now(graded, group("4", "5", "four"))
    assert values(scores) == [pytest.approx(1.2), pytest.approx(0.2), pytest.approx(0.1)]
    assert scores[0].metrics == {"exact": 1.0, "brief": 1.0, "longest": 0.0}
    assert (scores[0].passed, scores[1].passed) == (True, False)


@pytest.mark.parametrize("target", [SimpleNamespace(funcs=[], weights=[]), SimpleNamespace(), 3])
def test_what_is_no_rubric_is_refused(target: Any) -> None:
    with pytest.raises(VerifierError, match="rubric"):
        RubricVerifier(target)


def test_a_rubric_function_that_asks_for_the_unknown_is_refused_at_load() -> None:
    def mystery(completion: Any, secret: str) -> float:
        return 0.0

    assert "mystery asks for 'secret'" in (adapt("v", RubricVerifier(mystery)).check_task(task("v")) or "")


def test_rows_of_verl_and_open_instruct_become_tasks() -> None:
    row = {
        "data_source": "openai/gsm8k",
        "prompt": [{"role": "user", "content": "?"}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": "42"},
        "extra_info": {"index": 7, "split": "test"},
    }
    made = task_from_verl_row(row, "math")
    assert (made.id, made.answer, made.split, made.info["index"]) == ("openai/gsm8k-7", "42", "test", 7)
    instructed = task_from_open_instruct_row(
        {
            "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "x"}],
            "ground_truth": ["42"],
            "dataset": ["gsm8k"],
        }
    )
    assert (instructed.verifier, instructed.answer, len(instructed.prompt)) == ("math", "42", 1)
    with pytest.raises(VerifierError, match="'f1'"):
        task_from_open_instruct_row({"messages": "?", "ground_truth": "x", "dataset": "f1"})
    with pytest.raises(VerifierError, match="2 entries"):
        task_from_open_instruct_row({"messages": "?", "ground_truth": ["x", "y"], "dataset": "math"})


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("a + 2 * b", 2.5),
        ("min(a, b) - -1", 1.5),
        ("(a * b) ** 0.5", math.sqrt(0.75)),
        ("max(0, a - 1) + sqrt(4)", 2.5),
        ("1 / 4", 0.25),
    ],
)
def test_a_formula_is_arithmetic(formula: str, value: float) -> None:
    assert Formula.parse(formula, frozenset("ab")).value({"a": 1.5, "b": 0.5}) == pytest.approx(value)


@pytest.mark.parametrize(
    "formula",
    [
        "a.b",
        "a[0]",
        "c",
        "eval('1')",
        "(lambda: 1)()",
        "a if b else 0",
        "a < b",
        "[a]",
        "'x'",
        "True",
        "a @ b",
        "min",
        "a +",
        "1" * 3_000,
        "+".join("a" * 400),
        "a := 1",
        "__import__('os')",
        "min(*[a])",
        "sqrt(x=1)",
    ],
)
def test_anything_else_is_no_formula(formula: str) -> None:
    with pytest.raises(VerifierError, match="calculate_output"):
        Formula.parse(formula, frozenset("ab"))


@pytest.mark.parametrize("formula", ["a / b", "a ** 9999", "exp(99999)", "sqrt(0 - 1)", "log(b)", "9 ** 9 ** 9 ** 9"])
def test_a_formula_without_a_value_says_so_at_once(formula: str) -> None:
    with pytest.raises(VerifierError, match="fails"):
        Formula.parse(formula, frozenset("ab")).value({"a": 2.0, "b": 0.0})


@pytest.mark.parametrize(
    ("metric", "given", "reference", "value"),
    [
        ("fuzzy_match", "kitten", "sitting", 2 * 4 / 13),  # longest common subsequence: ittn
        ("fuzzy_match", "", "", 1.0),
        ("fuzzy_match", "abc", "", 0.0),
        ("rouge_1", "the cat sat", "The cat ran!", 2 / 3),
        ("rouge_2", "the cat sat", "The cat ran!", 0.5),
        ("rouge_5", "the cat", "the cat", 0.0),
        ("rouge_l", "police kill the gunman", "police killed the gunman", 3 / 4),
    ],
)
def test_similarity_is_what_the_libraries_say(metric: str, given: str, reference: str, value: float) -> None:
    assert METRICS[metric](given, reference) == pytest.approx(value)


def test_export_and_import_of_trl_are_inverse(foreign: Path) -> None:
    from rlvr_verifiers.bridges.trl import reward_function

    reward = reward_function("math", answer="solution", workers=1)
    prompts, texts, golds = (
        ["?"] * 4,
        [r"\boxed{4}", r"\boxed{5}", "4", [{"role": "assistant", "content": r"\boxed{1/2}"}]],
        ["4", "4", "4", "0.5"],
    )
    assert reward(prompts, texts, solution=golds, completion_ids=[[1]] * 4, trainer_state=None) == [1.0, 0.0, 0.0, 1.0]
    assert reward.__name__ == "math"
    with pytest.raises(VerifierError, match="cannot judge"):
        reward(["?"], ["x"], solution=[r"\int x"])


def test_export_to_verl_and_back(foreign: Path) -> None:
    from rlvr_verifiers.bridges.verl import compute_score_of

    compute_score = compute_score_of("exact")
    assert compute_score("d", "Paris", "Paris", {"index": 1}) == {"score": 1.0, "acc": True, "reason": "ok", "pred": "Paris"}
    assert compute_score("d", "Rome", "Paris")["score"] == 0.0
    failing = compute_score_of(f"verl:{foreign}:compute_score")
    with pytest.raises(VerifierError, match="on our side"):
        failing("d", "4", "4")
    assert compute_score_of(f"verl:{foreign}:compute_score", on_failure=0.0)("d", "4", "4")["score"] == 0.0


def verl_loader() -> Callable[[str, str], Any]:
    """verl's own `load_extern_object`, which `custom_reward_function` goes through, from its file where verl is installed (`make bench`);
    else the same few steps."""
    try:
        file = str(importlib.metadata.distribution("verl").locate_file("verl/utils/import_utils.py"))
        return module_at(file).load_extern_object
    except importlib.metadata.PackageNotFoundError:
        return lambda path, name: getattr(module_at(path), name)


def module_at(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("loaded_for_a_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_verl_loads_a_verifier_from_a_file_of_one_line_and_gets_its_scores(tmp_path: Path) -> None:
    path = tmp_path / "reward.py"
    path.write_text(
        'from rlvr_verifiers.bridges.verl import compute_score_of\n\ncompute_score = compute_score_of("exact")\n'
    )
    compute_score = verl_loader()(str(path), "compute_score")
    for text in ("4", "5", "", "4 "):
        extra = {"index": 3, "num_turns": None, "rollout_reward_scores": {}}  # as its reward managers call it
        theirs = compute_score(data_source="gsm8k", solution_str=text, ground_truth="4", extra_info=extra)
        ours = score_now(task("exact"), Completion(text=text))
        assert (theirs["score"], theirs["acc"]) == (ours.value, ours.passed)


def test_scores_are_the_same_by_both_ways(foreign: Path) -> None:
    scope: dict[str, Any] = {}
    exec(compile(FOREIGN, "rewards", "exec"), scope)
    texts = ["4", "5", "", "44", "four"]
    chat = [[{"role": "assistant", "content": text}] for text in texts]
    theirs = scope["trl_exact"](chat, ["4"] * 5)
    assert values(score_group_now(task(f"trl:{foreign}:trl_exact"), group(*texts))) == theirs
    theirs = asyncio.run(scope["trl_async"](["2 + 2?"] * 5, chat, ["4"] * 5))
    assert values(score_group_now(task(f"trl:{foreign}:trl_async"), group(*texts))) == theirs
    theirs = [scope["compute_score"]("gsm8k", text, "4", {"index": 0})["score"] for text in texts]
    ours = [score_now(task(f"verl:{foreign}:compute_score", index=0), completion) for completion in group(*texts)]
    assert values(ours) == theirs
