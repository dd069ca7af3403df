"""Hostile tool calls: nothing is executed, nothing is slow, and no way of writing many calls or none pays."""

from __future__ import annotations

import builtins
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from rlvr_verifiers.scoring import score_now
from rlvr_verifiers.tool_call import FORMATS, parse_calls
from rlvr_verifiers.types import Completion, Task

PARAMETERS = {"type": "object", "properties": {"n": {"type": "integer"}, "s": {"type": "string"}}, "required": ["n"]}
TOOLS = ({"type": "function", "function": {"name": "f", "parameters": PARAMETERS}},)


def task(answer: object = ({"name": "f", "arguments": {"n": 4}},), **arguments: Any) -> Task:
    return Task(id="t", prompt=(), verifier="tool_call", answer=json.dumps(answer), tools=TOOLS, verifier_args=arguments)


def call(**arguments: Any) -> str:
    return f"<tool_call>\n{json.dumps({'name': 'f', 'arguments': arguments})}\n</tool_call>"


@pytest.mark.parametrize(
    "form", ["{}", "[{}]", "[f(n={})]", "[f(s={}, n=4)]", "[f(n=4), {}]", '{{"name": "f", "parameters": {}}}']
)
@pytest.mark.parametrize("format_name", FORMATS)
def test_no_text_is_executed(form: str, format_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owned = tmp_path / "owned"
    for name in ("eval", "exec", "compile", "__import__"):
        monkeypatch.setattr(builtins, name, _refuse)
    for payload in (
        f"__import__('os').system('touch {owned}')",
        f"open('{owned}', 'w')",
        f"(lambda: exec('open(\\'{owned}\\', \\'w\\')'))()",
        f"[x for x in ().__class__.__base__.__subclasses__() if open('{owned}', 'w')]",
    ):
        parsed = parse_calls(form.format(payload), format_name, TOOLS)
        assert not any("owned" in json.dumps(dict(found.arguments)) for found in parsed.calls)
    assert not owned.exists()


def _refuse(*args: object, **kwargs: object) -> Any:
    raise AssertionError("text was given to the interpreter")


SIZE = 60_000
UNITS = {
    "open tags": "<tool_call>",
    "empty tags": "<tool_call></tool_call>",
    "objects": '<tool_call>{"name": "f", "arguments": {"n": 4}}',
    "braces": "{",
    "brackets": "[",
    "mixed brackets": "[{",
    "quotes": '"',
    "escapes": '"\\"',
    "separators": ";{}",
    "mistral marks": "[TOOL_CALLS]",
    "mistral names": "[TOOL_CALLS]f",
    "function marks": "<tool_call><function=f><parameter=n>",
    "parameters": "<parameter=n>1</parameter>",
    "deepseek": "<\uff5ctool\u2581calls\u2581begin\uff5c><\uff5ctool\u2581call\u2581begin\uff5c>",
    "names": '{"name":',
    "name keys": '{"name": "f", ',
    "arguments": '"arguments":',
    "python calls": "[f(",
    "keywords": "n=1,",
    "signs": "-",
    "digits": "1",
    "dots": "1.",
    "letters": "a",
    "blanks": " ",
    "line breaks": "\n",
    "thoughts": "<think></think>",
    "end tokens": "<|im_end|>",
    "triple quotes": "'''",
    "commas": "1,",
}


SOON_S, TRIES = 0.1, 3
"""A busy machine stalls now and then; what is slow is slow every time."""


def seconds(scored: Task, completion: Completion, value: float) -> float:
    """Of CPU, until the score is there, which has this value."""
    begin = time.thread_time()
    score = score_now(scored, completion)
    took = time.thread_time() - begin
    assert score.value == value
    return took


@pytest.mark.parametrize("format_name", FORMATS)
def test_every_format_is_linear(format_name: str) -> None:
    """Each unit repeated to the size that is still read, bare and where a value stands: under 0.1 s of CPU."""
    slow: list[str] = []
    for name, unit in UNITS.items():
        for start in (
            "",
            "[f(n=",
            '{"name": "f", "arguments": {"n": ',
            '<tool_call>{"name": "f", "arguments": {"n": ',
            "[TOOL_CALLS]f[ARGS]",
        ):
            completion = Completion(text=start + unit * (SIZE // len(unit)))
            if not any(seconds(task(format=format_name), completion, 0.0) < SOON_S for _ in range(TRIES)):
                slow.append(f"{start}{name}")
    assert not slow


def test_a_giant_but_legal_call_is_scored_in_time() -> None:
    many = [{"name": "f", "arguments": {"n": n, "s": "x" * 900}} for n in range(60)]
    text = "".join(f"<tool_call>{json.dumps(item)}</tool_call>" for item in many)
    assert any(seconds(task(many), Completion(text=text), 1.0) < SOON_S for _ in range(TRIES))


@pytest.mark.parametrize("partial", [False, True])
def test_more_calls_never_earn_more(partial: bool) -> None:
    """Hedging is trying several values in the hope that one counts."""
    gold = ({"name": "f", "arguments": {"n": 4}}, {"name": "f", "arguments": {"n": 5}})
    best = score_now(task(gold, partial=partial), Completion(text=call(n=4))).value
    assert best == (0.5 if partial else 0.0)
    for count in range(3, 12):
        hedge = "".join(call(n=n) for n in range(3, 3 + count))
        assert score_now(task(gold, partial=partial), Completion(text=hedge)).value == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "}",
        "...",
        "<think>",
        "<tool_call>",
        "<tool_call></tool_call>",
        '<tool_call>{"name": "f"}</tool_call>',
        "[f(n=)]",
        "</tool_call>",
        '{"name": "f", "arguments": {"n": 4}}',
        "[TOOL_CALLS]",
    ],
)
@pytest.mark.parametrize("format_name", ["auto", "hermes", "pythonic", "llama3", "mistral"])
def test_where_no_call_is_wanted_only_an_answer_in_words_passes(text: str, format_name: str) -> None:
    assert score_now(task((), format=format_name), Completion(text=text)).value == 0.0
    assert score_now(task((), format=format_name), Completion(text="None of the tools can do that.")).passed


def test_the_environment_is_left_alone() -> None:
    before = (dict(os.environ), Path.cwd())
    for text in (call(n=4), "[f(n=4)]", "[f(s='$HOME', n=4)]"):
        score_now(task(), Completion(text=text))
    assert (dict(os.environ), Path.cwd()) == before
