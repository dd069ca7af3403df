"""The math verifier: extraction, bounds, policies, golds, and the shape of the tree. The labelled pairs have their own file."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import pytest

from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.math import Policy, UnreadableError, adapters, parse, verify
from rlvr_verifiers.math.tree import Binding, Collection, Matrix, Number, Quantity, Relation, Sequence, SetOperation, Text
from rlvr_verifiers.registry import check_task
from rlvr_verifiers.scoring import score_now
from rlvr_verifiers.types import Completion, Task
from tests.local_data import local_rows


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "unparsed"),
        ("9" * 3000, "too_large"),
        ("(" * 100 + "1" + ")" * 100, "too_large"),
        ("+".join("1" * 900), "type_mismatch"),
        ("1,2," * 400 + "1", "type_mismatch"),
        (r"\frac" * 300, "too_large"),
        (r"1\frac{" * 12 + "1" + "}{2}" * 12, "mismatch"),
        ("(" * 30 + "1,2)" * 30, "unparsed"),
        ("-" * 1500 + "5", "ok"),
    ],
)
def test_degenerate_answers(answer: str, reason: str) -> None:
    assert verify(rf"\boxed{{{answer}}}", "5").reason == reason


EXTRACTION = [
    # the last complete box, brace-matched, behind the reasoning
    (r"\boxed{1} then \boxed{2}", "2", "ok"),
    (r"\boxed{1} then \boxed{2}", "1", "mismatch"),
    (r"\boxed{\frac{1}{2}}", "1/2", "ok"),
    (r"\boxed{\boxed{5}}", "5", "ok"),
    (r"\boxed{5} and then \boxed{6", "5", "ok"),
    (r"\fbox{5}", "5", "ok"),
    (r"set \{1 and \boxed{5}", "5", "ok"),
    ("a } b { \\boxed{5}", "5", "ok"),
    ("<think>\\boxed{1}</think> \\boxed{2}", "2", "ok"),
    ("<think>\\boxed{2}", "2", "no_answer"),
    ("reasoning \\boxed{1}</think> so 2", "1", "no_answer"),
    (r"\boxed{1}, \boxed{2}", "1,2", "ok"),
    (r"\boxed{1} and \boxed{2}", "2, 1", "ok"),
    (r"\boxed{1} and \boxed{2}", "2", "type_mismatch"),
    (r"\boxed{1}, \boxed{2}, or \boxed{3}", "3", "hedge"),
    (r"either $\boxed{1}$, $\boxed{2}$", "2", "hedge"),
    (r"\boxed{1/2} or \boxed{0.5}", "1/2", "ok"),
    (r"It might be \boxed{7} but let me check. \boxed{8}", "8", "ok"),
    # other markers
    ("work\n#### 18", "18", "ok"),
    ("#### 5\n#### 6", "6", "ok"),
    ("<answer>18</answer>", "18", "ok"),
    ("<answer>The answer is 18.</answer>", "18", "ok"),
    ("<answer>18", "18", "no_answer"),
    ("Answer: 18", "18", "ok"),
    ("**Answer:** 18", "18", "ok"),
    ("Final Answer:\n\n$18$", "18", "ok"),
    ("The answer is $18.", "18", "ok"),
    ("The answer is 3.5. I am sure.", "3.5", "ok"),
    ("The answer is not 5.", "5", "no_answer"),
    ("The answer is 5. The answer is not 6.", "5", "ok"),
    ("Answer: 5\nAnswer: 6", "6", "ok"),
    ("answer = 12", "12", "ok"),
    ("The answer is 5 because I counted.", "5", "unparsed"),
    # a marker is needed
    ("I get 18", "18", "no_answer"),
    ("18", "18", "no_answer"),
    ("", "18", "no_answer"),
    ("the sum is 5 so 18.", "18", "no_answer"),
]


@pytest.mark.parametrize(("response", "gold", "reason"), EXTRACTION)
def test_extraction(response: str, gold: str, reason: str) -> None:
    assert verify(response, gold).reason == reason


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("so the answer is 12", "no_answer"),
        ("Answer: 12", "no_answer"),
        ("#### 12", "no_answer"),
        (r"so \boxed{12", "no_answer"),
        (r"so \boxed{12} and th", "ok"),
        ("Answer: 12\nBut wait", "ok"),
        ("The answer is 12. But wa", "ok"),
    ],
)
def test_an_answer_cut_by_the_token_limit_does_not_count(response: str, reason: str) -> None:
    assert verify(response, "12", truncated=True).reason == reason


def test_tolerance_is_relative_and_off_by_default() -> None:
    assert verify(r"\boxed{3.1416}", r"\pi").reason == "mismatch"
    assert verify(r"\boxed{3.1416}", r"\pi", tolerance=1e-4).reason == "ok"
    assert verify(r"\boxed{3.15}", r"\pi", tolerance=1e-4).reason == "mismatch"
    assert verify(r"\boxed{x}", r"\pi", tolerance=0.5).reason == "mismatch"
    assert verify(r"\boxed{3.1416}", "3.14159", tolerance=1e-5).reason == "ok"
    assert verify(r"\boxed{(3.1416, 1)}", r"(\pi, 1)", tolerance=1e-4).reason == "ok"


@pytest.mark.parametrize("gold", ["", r"\sin", "1/0", "9" * 3000, "5 or because", r"\begin{pmatrix} 1", r"(1, \frac{2}{0})"])
def test_a_gold_that_cannot_be_read_is_found_at_load_and_never_scored_as_wrong(gold: str) -> None:
    problem = check_task(Task(id="t", prompt=(), verifier="math", answer=gold))
    assert problem is not None
    assert "\n" not in problem
    assert verify(r"\boxed{5}", gold).value is None


def test_a_tower_too_large_to_evaluate_is_a_usable_gold_for_the_same_tower() -> None:
    gold = "2^{3^{4^{5}}}"
    assert check_task(Task(id="t", prompt=(), verifier="math", answer=gold)) is None
    assert verify(r"\boxed{2^{3^{4^5}}}", gold).reason == "ok"
    assert verify(r"\boxed{2^{3^{4^6}}}", gold).reason == "too_large"


def test_the_tree_is_typed() -> None:
    assert isinstance(parse("5"), Number)
    assert isinstance(parse("(1,2)"), Sequence)
    assert isinstance(parse("1,2"), Collection)
    assert isinstance(parse("5 cm"), Quantity)
    assert isinstance(parse("x = 5"), Binding)
    assert isinstance(parse("east"), Text)
    assert isinstance(parse("x < 5"), Relation)
    assert isinstance(parse(r"(1,2)\cup(3,4)"), SetOperation)
    assert isinstance(parse(r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"), Matrix)
    with pytest.raises(UnreadableError) as caught:
        parse(r"\begin{pmatrix}")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.reason) == (str(caught.value), "unparsed")


def test_arguments_of_a_task_reach_the_comparison_and_wrong_ones_are_found_at_load() -> None:
    def task(**arguments: object) -> Task:
        return Task(id="t", prompt=(), verifier="math", answer="42", verifier_args=arguments)

    assert not score_now(task(), Completion(text=r"\boxed{13 + 29}")).passed
    assert score_now(task(form="any"), Completion(text=r"\boxed{13 + 29}")).passed
    assert score_now(task(pattern=r"<<(\d+)>>"), Completion(text="<<41>> <<42>>")).passed
    assert check_task(task(form="any", units="required", percent="value", order="any", decimals="exact")) is None
    for arguments in ({"form": "all"}, {"decimals": "two"}, {"from": "any"}, {"pattern": "("}, {"tolerance": -1}):
        assert check_task(task(**arguments)) is not None, arguments


def test_a_policy_refuses_values_that_it_does_not_know() -> None:
    with pytest.raises(VerifierError, match="give one of number, any"):
        Policy(form="numbers")  # pyright: ignore[reportArgumentType]
    with pytest.raises(VerifierError, match="tolerance"):
        Policy(tolerance=float("nan"))


@pytest.mark.parametrize(
    ("question", "gold", "answer", "reason"),
    [
        (r"Factor $28z^{97}+7z^{96}$.", r"7z^{96}(4z+1)", r"28z^{97}+7z^{96}", "type_mismatch"),
        (r"Factor $28z^{97}+7z^{96}$.", r"7z^{96}(4z+1)", r"7z^{96}+28z^{97}", "type_mismatch"),
        (r"Factor $28z^{97}+7z^{96}$.", r"7z^{96}(4z+1)", r"z^{96}(4z+1)\cdot 7", "ok"),
        (r"Simplify \[\frac{3}{\sqrt{27}}.\]", r"\frac{\sqrt3}{3}", r"\frac{3}{\sqrt{27}}", "type_mismatch"),
        (r"Simplify \[\frac{3}{\sqrt{27}}.\]", r"\frac{\sqrt3}{3}", r"\frac{1}{\sqrt{3}}", "ok"),
        (r"Let $y = (x+1)^2$. Expand.", r"x^2+2x+1", r"y = (x+1)^2", "type_mismatch"),
        (r"If $4x + 3y = -2$, what is $4x+3y$?", "-2", r"4x+3y=-2", "type_mismatch"),
        (r"Write $0.35$ as a fraction.", r"\frac{7}{20}", "0.35", "type_mismatch"),
        (r"Which is larger, $2\sqrt3$ or $3$?", r"2\sqrt3", r"2\sqrt{3}", "ok"),
        (r"How many are $3$ and $4$?", "7", "7", "ok"),
    ],
)
def test_an_answer_that_repeats_the_question_is_none(question: str, gold: str, answer: str, reason: str) -> None:
    assert verify(rf"\boxed{{{answer}}}", gold, question=question).reason == reason
    assert verify(rf"\boxed{{{answer}}}", gold, policy=Policy(form="any"), question=question).passed
    task = Task(id="t", prompt=({"role": "user", "content": question},), verifier="math", answer=gold)
    assert score_now(task, Completion(text=rf"\boxed{{{answer}}}")).reason == reason


MERSENNE = "(2^{61}-1)(2^{89}-1)(2^{127}-1)"


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (r"\sqrt2", r"\sqrt2+e^{-1000}"),  # too small a part to show in 700 digits
        (r"\frac{\pi}{2}", r"\arctan(10^{400})"),
        ("x+1", rf"x+1+{MERSENNE}x+(x+y+z)^{{60}}-(x+y+z)^{{60}}"),  # nothing, modulo primes that one can know
        (r"\sin x", r"\sin x+e^{-1000}x"),
        (r"\frac{1}{2004!}", r"\frac{1}{2006!}"),
    ],
)
def test_differences_made_to_be_overlooked(gold: str, answer: str) -> None:
    values = Policy(form="any", decimals="exact")
    assert not verify(rf"\boxed{{{answer}}}", gold, policy=values).passed
    assert not verify(rf"\boxed{{{gold}}}", answer, policy=values).passed


def test_rounding_noise_is_no_difference() -> None:
    for noise in (r"\sin \pi", r"(\sqrt2-\frac{2}{\sqrt2})", r"(x+y+z)^{60}-(z+y+x)^{60}"):
        assert verify(rf"\boxed{{x+\sqrt2+{noise}}}", r"x+\sqrt2").passed, noise


def test_the_import_is_light() -> None:
    """No symbolic library, and mpmath only once something needs it."""
    program = (
        "import sys; from rlvr_verifiers.math import verify\n"
        r"assert verify(r'\boxed{\sqrt8}', r'2\sqrt2').passed"
        "\nassert not {'sympy', 'mpmath', 'torch', 'numpy'} & sys.modules.keys(), sys.modules.keys()\n"
        r"assert verify(r'\boxed{\sin 2}', r'2\sin 1\cos 1').passed"
        "\nassert 'mpmath' in sys.modules and 'sympy' not in sys.modules\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


def test_the_call_shape_of_math_verify() -> None:
    gold = adapters.parse(r"$\frac{1}{2}$")
    assert adapters.verify(gold, adapters.parse(r"Hence $x = \boxed{0.5}$."))
    assert adapters.verify(gold, adapters.parse("2^{-1}"))
    assert not adapters.verify(gold, adapters.parse(r"\boxed{0.4}"))
    assert not adapters.verify(gold, adapters.parse("I would say a half or so."))
    assert not adapters.parse("<think>hmm")
    assert not adapters.verify(adapters.parse("1/0"), adapters.parse("1/0"))


def test_the_call_shape_of_trl() -> None:
    completions = [r"\boxed{0.5}", [{"role": "assistant", "content": r"\boxed{13+29}"}], r"\boxed{1}", "0.5"]
    solutions = [r"so $\boxed{\frac12}$", "42", r"\frac{1}{0}", "0.5"]
    assert adapters.accuracy_reward(completions, solutions, prompts=["?"] * 4) == [1.0, 0.0, None, 0.0]


@pytest.mark.parametrize("file", ["gsm8k_test.jsonl", "gsm8k_train.jsonl"])
def test_every_gsm8k_solution_reaches_its_gold(file: str) -> None:
    answers = [row["answer"] for row in local_rows(file)]
    assert not [answer for answer in answers if not verify(answer, answer.rpartition("####")[2].strip()).passed]


def test_every_math_gold_can_be_read_and_equals_itself() -> None:
    """None is left over: all 5,000 of the test set are read, 32 of them as text."""
    golds = [row["answer"] for row in local_rows("math_test.jsonl")]
    unread = [gold for gold in golds if check_task(Task(id="t", prompt=(), verifier="math", answer=gold)) is not None]
    assert not unread
    assert not [gold for gold in golds if not verify(rf"\boxed{{{gold}}}", gold).passed]


def test_every_math500_solution_reaches_its_gold() -> None:
    assert not [row["answer"] for row in local_rows("math500.jsonl") if not verify(row["solution"], row["answer"]).passed]
