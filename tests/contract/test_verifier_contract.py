"""What every built-in verifier promises: the same score each time and in every thread, no exception whatever the text."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import random
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlvr_verifiers.conformance import Case
from rlvr_verifiers.conformance import check as check_conformance
from rlvr_verifiers.registry import BUILT_IN, check_task, resolve, version_of
from rlvr_verifiers.scoring import score_now
from rlvr_verifiers.tool_env import offered
from rlvr_verifiers.types import Completion, Score, Task
from rlvr_verifiers.wire import FrameBuffer, pack
from tests.contract.judge_server import JudgeServer
from tests.contract.verifier_server import serving


def task(verifier: str, answer: str, /, **arguments: Any) -> Task:
    prompt = ({"role": "user", "content": "Which?"},)
    return Task(id=f"{verifier}-1", prompt=prompt, verifier=verifier, answer=answer, verifier_args=arguments)


def environment_task() -> Task:
    goods = {"mug": {"price": 700, "stock": 3}}
    sample = dataclasses.replace(task("tool_env", '{"outputs": ["700"]}'), environment="shop", env_args={"products": goods})
    return dataclasses.replace(sample, tools=offered(sample))


# A judge on this machine, which keeps what it was asked for the time of these tests.
os.environ.setdefault("RLVR_JUDGE_CACHE", tempfile.mkdtemp(prefix="rlvr-judge-"))
JUDGE = JudgeServer(lambda messages: "Score: 10" if "Hello!" in messages[1]["content"] else "Score: 1")

# For every built-in: a task, a completion that passes it, and one that does not.
FENCED = "```python\ndef double(n):\n    return {}\n```"
SAMPLES: dict[str, tuple[Task, str, str]] = {
    "exact": (task("exact", "Paris", tag="answer"), "<answer>Paris</answer>", "<answer>Rome</answer>"),
    "regex": (task("regex", r"[A-Z]\w+ \d{4}"), "March 1999", "march 1999"),
    "format": (task("format", "", tags=["think", "answer"]), "<think>a</think><answer>b</answer>", "<answer>b</answer>"),
    "choice": (task("choice", "B", count=4), "Answer: B", "Answer: C"),
    "code": (
        task("code", '{"style": "function", "entry_point": "double", "cases": [{"args": [4], "expected": 8}]}'),
        FENCED.format("n * 2"),
        FENCED.format("n + 2"),
    ),
    "judge": (
        task("judge", "", endpoint=JUDGE.endpoint, model="small", rubric="Say hello."),
        "Hello!",
        "Bye.",
    ),
    "math": (task("math", r"\frac{3}{4}"), r"\boxed{0.75}", r"\boxed{0.74}"),
    "json_schema": (
        task(
            "json_schema", '{"n": 4}', schema={"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
        ),
        '```json\n{"n": 4}\n```',
        '{"n": 5}',
    ),
    "ifeval": (
        task("ifeval", '{"instruction_id_list": ["keywords:existence"], "kwargs": [{"keywords": ["Rhine"]}]}'),
        "The Rhine.",
        "The Elbe.",
    ),
    "reasoning_gym": (
        task(
            "reasoning_gym",
            json.dumps(
                {"name": "power_function", "entry": {"question": "2^3?", "answer": "8", "metadata": {"solution": 8}}}
            ),
        ),
        "Answer: 8",
        "Answer: 9",
    ),
    "sql": (
        task(
            "sql",
            json.dumps(
                {
                    "query": "SELECT n FROM t WHERE n > 2",
                    "schema": "CREATE TABLE t (n INTEGER)",
                    "databases": ["INSERT INTO t VALUES (1), (2), (3), (4)"],
                }
            ),
        ),
        "```sql\nSELECT n FROM t WHERE n >= 3\n```",
        "```sql\nSELECT n FROM t WHERE n >= 2\n```",
    ),
    "tool_call": (
        dataclasses.replace(
            task("tool_call", '[{"name": "double", "arguments": {"n": 4}}]'),
            tools=({"name": "double", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}},),
        ),
        '<tool_call>{"name": "double", "arguments": {"n": 4}}</tool_call>',
        '<tool_call>{"name": "double", "arguments": {"n": 5}}</tool_call>',
    ),
    "tool_env": (environment_task(), "It costs 700 cents.", "It costs 7000 cents."),
    "openai_grader": (
        task(
            "openai_grader",
            "Paris",
            grader={
                "type": "string_check",
                "operation": "eq",
                "input": "{{sample.output_text}}",
                "reference": "{{item.answer}}",
            },
        ),
        "Paris",
        "Rome",
    ),
    "remote": (task("remote", "Paris", verifier="exact", args={"ignore_case": True}), "paris", "Rome"),
    "multi": (
        task(
            "multi",
            "42",
            verifiers=[{"name": "math"}, {"name": "format", "weight": 0, "args": {"once": ["boxed"]}, "gate": True}],
        ),
        r"\boxed{42}",
        "#### 42",
    ),
}

MEGABYTE = 1_000_000
HOSTILE = {
    "empty": "",
    "space": " \n\t",
    "nul": "\x00" * 100,
    "surrogates": "\ud800\udfff \\boxed{\udc80}",
    "megabyte": "a" * MEGABYTE,
    "megabyte of boxes": "\\boxed{" * (MEGABYTE // 7),
    "megabyte of closed boxes": "\\boxed{1}, " * (MEGABYTE // 11),
    "megabyte of braces": "{" * MEGABYTE,
    "megabyte in a box": "\\boxed{" + "1" * MEGABYTE + "}",
    "megabyte of markers": "answer: " * (MEGABYTE // 8),
    "megabyte of hashes": "#### " * (MEGABYTE // 5),
    "megabyte of tags": "<answer>" * (MEGABYTE // 8),
    "megabyte of closing tags": "<answer></answer>" * (MEGABYTE // 17),
    "megabyte of thoughts": "<think></think>" * (MEGABYTE // 15),
    "megabyte of code": "`" * MEGABYTE,
    "megabyte of digits and spaces": "1 " * (MEGABYTE // 2),
    "deep parentheses": "\\boxed{" + "(" * 900 + "1" + ")" * 900 + "}",
    "deep fractions": "\\boxed{" + "\\frac{1}{" * 200 + "1" + "}" * 200 + "}",
    "deep lists": "\\boxed{" + "(1," * 400 + "1" + ")" * 400 + "}",
    "nested plus-minus": "\\boxed{" + "\\{1\\pm" * 200 + "1" + "\\}" * 200 + "}",
    "tower": "\\boxed{9^{9^{9^{9^{9}}}}}",
    "power of a sum": "\\boxed{(a+b+c+d+e+f+g+h)^{64}}",
    "product of sums": "\\boxed{" + "(a+b+c+d)" * 200 + "}",
    "sum of fractions": "\\boxed{" + "+".join(f"\\frac{{1}}{{x+{n}}}" for n in range(100)) + "}",
    "huge digits": "\\boxed{" + "7" * 1999 + "}",
    "huge exponent": "\\boxed{1e999999}",
    "many roots": "\\boxed{" + "+".join(f"\\sqrt{{{n}}}" for n in range(999_999_000_000, 999_999_000_050)) + "}",
    "code": "\\boxed{__import__('os').system('touch /tmp/owned')}",
    "format string": "\\boxed{%s%n{0.__class__}}",
    "many letters": "Answer: " + ", ".join("ABCDEFGH" * 100),
    "megabyte of calls": "<tool_call>{}</tool_call>" * (MEGABYTE // 25),
    "deep JSON": '<tool_call>{"name": "double", "arguments": ' + '{"n": ' * 5_000,
    "deep literals": "[double(n=" + "[" * 20_000,
    "signs": "[double(n=" + "-" * 20_000 + "1)]",
    "open string": "[double(n='" + "\\'" * 20_000,
    "xml parameters": "<tool_call><function=double>" + "<parameter=n>1</parameter>" * 2_000,
    "blanks in JSON": '{"name"' + " " * 60_000,
    "right to left": "\\boxed{\u202e42}",
}


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    """For `remote`, which asks one."""
    with serving(["exact"]):
        yield


def same(score: Score) -> Score:
    """Without what was measured with a clock or a gauge, and what asking a judge cost: the second time nothing."""
    changing = ("_s", "_mb", "_tokens", "calls", "cached", "cost")
    metrics = {name: value for name, value in score.metrics.items() if not name.endswith(changing)}
    return dataclasses.replace(score, seconds=0.0, metrics=metrics)


def test_every_built_in_has_a_sample_here() -> None:
    assert SAMPLES.keys() == BUILT_IN.keys()


@pytest.mark.parametrize("name", SAMPLES)
def test_right_passes_and_wrong_does_not(name: str) -> None:
    sample, right, wrong = SAMPLES[name]
    assert check_task(sample) is None
    passed, failed = score_now(sample, Completion(text=right)), score_now(sample, Completion(text=wrong))
    assert (passed.passed, passed.reason) == (True, "ok")
    assert passed.value is not None
    assert passed.value > 0
    assert (failed.passed, failed.value) == (False, 0.0)
    assert failed.reason != "ok"
    assert failed.explanation


@pytest.mark.parametrize("name", SAMPLES)
def test_an_unknown_argument_is_refused_at_load(name: str) -> None:
    sample = SAMPLES[name][0]
    problem = check_task(dataclasses.replace(sample, verifier_args={**sample.verifier_args, "surprise": 1}))
    assert problem is not None
    assert "surprise" in problem


@pytest.mark.parametrize("name", SAMPLES)
def test_a_gold_alone_an_echo_and_nothing_do_not_pass(name: str) -> None:
    sample = SAMPLES[name][0]
    for text in ("", " ", "Which?", "I do not know."):
        assert not score_now(sample, Completion(text=text)).passed, text


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("name", SAMPLES)
def test_hostile_text_is_scored_zero_soon_and_the_same_each_time(name: str, hostile: str) -> None:
    sample = SAMPLES[name][0]
    completion = Completion(text=HOSTILE[hostile])
    begin = time.process_time()
    score = score_now(sample, completion)
    seconds = time.process_time() - begin
    assert score.value == 0.0, score
    assert not score.passed
    declared = resolve(name).reasons_for(sample)
    assert declared is None or score.reason in declared
    assert same(score_now(sample, completion)) == same(score)
    assert seconds < 1.0  # measured: 0.1 at most; the bound only has to tell linear from quadratic
    assert [Score.from_json(frame) for frame in FrameBuffer().feed(pack(score.to_json()))] == [score]


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=()), max_size=60), finish=st.sampled_from(["stop", "length", "abort"]))
def test_no_text_raises(name: str, text: str, finish: Any) -> None:
    sample = SAMPLES[name][0]
    for wrapped in (text, f"\\boxed{{{text}}}", f"Answer: {text}", f"<think>a</think><answer>{text}</answer>"):
        score = score_now(sample, Completion(text=wrapped, finish_reason=finish))
        assert score.value is not None, score
        assert math.isfinite(score.value)


GRAMMAR = [
    "1",
    "2",
    "x",
    "i",
    "+",
    "-",
    "^",
    "/",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ",",
    "_",
    "%",
    "$",
    "=",
    " ",
    ".",
    "5 cm",
    "or",
    "and",
]
GRAMMAR += [
    r"\frac",
    r"\sqrt",
    r"\pm",
    r"\pi",
    r"\infty",
    r"\cup",
    r"\{",
    r"\}",
    r"\text{a}",
    r"^\circ",
    r"\cdot",
    r"\%",
    r"\$",
    r"\in",
]


def test_math_never_raises_on_a_shuffle_of_its_own_grammar() -> None:
    random_source = random.Random(0)
    samples = [
        SAMPLES["math"][0],
        task("math", r"(1, \sqrt2)"),
        task("math", r"\{1,2\}"),
        task("math", "5 cm"),
        task("math", "east"),
    ]
    for _ in range(6_000):
        answer = "".join(random_source.choices(GRAMMAR, k=random_source.randint(1, 14)))
        assert score_now(random_source.choice(samples), Completion(text=f"\\boxed{{{answer}}}")).value is not None, answer


@pytest.mark.parametrize("name", SAMPLES)
def test_sixteen_threads_say_what_one_says(name: str) -> None:
    sample, right, wrong = SAMPLES[name]
    completions = [
        Completion(text=text) for text in (right, wrong, HOSTILE["deep lists"], HOSTILE["tower"], "Answer: 7") * 20
    ]
    serial = [same(score_now(sample, completion)) for completion in completions]
    with ThreadPoolExecutor(16) as threads:
        assert [
            same(score) for score in threads.map(lambda completion: score_now(sample, completion), completions)
        ] == serial


@pytest.mark.parametrize("name", SAMPLES)
def test_a_version_names_distribution_and_source(name: str) -> None:
    assert version_of(name).startswith("rlvr ")
    assert len(version_of(name).rpartition("sha256:")[2]) == 16


OWN_CASES = {"judge", "tool_env"}  # theirs depend on a server or a file of this test


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_conformance_suite_finds_nothing(name: str) -> None:
    report = check_conformance(name, own_cases(name) if name in OWN_CASES else None)  # None: the file that comes with it
    assert report.passed, report.text()


def own_cases(name: str) -> list[Case]:
    sample, right, wrong = SAMPLES[name]
    return [Case(task=sample, completion=Completion(text=text), passed=text == right) for text in (right, wrong)]
