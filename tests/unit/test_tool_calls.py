"""Readers of tool calls, by property: what is written is read again, matching is a true maximum, golds are strict."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.registry import check_task, resolve
from rlvr_verifiers.schemas import compiled, first_problem
from rlvr_verifiers.strict_json import JsonError, JsonTooLargeError, loads
from rlvr_verifiers.tool_call import Call, parse_calls
from rlvr_verifiers.tool_call.gold import Gold, read_gold
from rlvr_verifiers.tool_call.matching import matched
from rlvr_verifiers.tool_call.parse import READERS
from rlvr_verifiers.types import Completion, Score, Task

Calls = list[tuple[str, dict[str, Any]]]

OPEN, CLOSE = "<\uff5ctool\u2581calls\u2581begin\uff5c>", "<\uff5ctool\u2581calls\u2581end\uff5c>"
CALL, SEPARATOR, END = (
    "<\uff5ctool\u2581call\u2581begin\uff5c>",
    "<\uff5ctool\u2581sep\uff5c>",
    "<\uff5ctool\u2581call\u2581end\uff5c>",
)


def spelled(calls: Calls, key: str = "arguments") -> list[str]:
    return [json.dumps({"name": name, key: arguments}) for name, arguments in calls]


WRITERS: dict[str, Callable[[Calls], str]] = {
    "hermes": lambda calls: "\n".join(f"<tool_call>\n{text}\n</tool_call>" for text in spelled(calls)),
    "llama3": lambda calls: "; ".join(spelled(calls, "parameters")),
    "mistral": lambda calls: "".join(f"[TOOL_CALLS]{name}[ARGS]{json.dumps(arguments)}" for name, arguments in calls),
    "json": lambda calls: f"[{','.join(spelled(calls))}]",
    "pythonic": lambda calls: (
        "["
        + ", ".join(f"{name}({', '.join(f'{key}={value!r}' for key, value in given.items())})" for name, given in calls)
        + "]"
    ),
    "openai": lambda calls: json.dumps(
        {"tool_calls": [{"type": "function", "function": {"name": n, "arguments": json.dumps(a)}} for n, a in calls]}
    ),
    "deepseek_v3": lambda calls: (
        OPEN + "\n".join(f"{CALL}function{SEPARATOR}{n}\n```json\n{json.dumps(a)}\n```{END}" for n, a in calls) + CLOSE
    ),
    "deepseek_v31": lambda calls: OPEN + "".join(f"{CALL}{n}{SEPARATOR}{json.dumps(a)}{END}" for n, a in calls) + CLOSE,
}

# Without "<" and "[": reasoning tags and `</tool_call>` in a string are cases of their own.
TEXTS = st.text(st.characters(exclude_characters="<[", exclude_categories=["Cs"]), max_size=12)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)
NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,9}(\.[a-z_]{1,5})?", fullmatch=True).filter(
    lambda name: name not in ("true", "false", "null")
)
KEYS = st.from_regex(r"[a-z_][a-z0-9_]{0,6}", fullmatch=True).filter(lambda name: name not in ("true", "false", "null"))
CALLS = st.lists(st.tuples(NAMES, st.dictionaries(KEYS, VALUES, max_size=3)), min_size=1, max_size=3)


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=20)
@given(calls=CALLS)
def test_what_is_written_is_read_again(name: str, calls: Calls) -> None:
    text = WRITERS[name](calls)
    for reading in (parse_calls(text, name), parse_calls(text)):
        assert not reading.failures, (reading, text)
        assert [(call.name, json.dumps(call.arguments)) for call in reading.calls] == [
            (called, json.dumps(arguments)) for called, arguments in calls
        ]


def test_qwen_xml_takes_its_types_from_the_schema() -> None:
    properties = {"s": {"type": "string"}, "n": {"type": "number"}, "o": {"anyOf": [{"type": "object"}, {"type": "null"}]}}
    tools = [{"name": "f", "parameters": {"type": "object", "properties": properties}}]
    body = "".join(
        f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in (("s", "12"), ("n", "12"), ("o", '{"a": 1}'))
    )
    parsed = parse_calls(f"<tool_call>\n<function=f>\n{body}</function>\n</tool_call>", "qwen3_coder", tools)
    assert parsed.calls == (Call(name="f", arguments={"s": "12", "n": 12, "o": {"a": 1}}),)


PIECES = [
    *(
        "<tool_call>",
        "</tool_call>",
        "<function=f>",
        "<parameter=a>",
        "</parameter>",
        "</function>",
        "[TOOL_CALLS]",
        "[ARGS]",
    ),
    *(
        "<|python_tag|>",
        "<|python_start|>",
        OPEN,
        CLOSE,
        CALL,
        SEPARATOR,
        END,
        "```json\n",
        "<think>",
        "</think>",
        "[f(",
        "a=",
        ")]",
    ),
    *(
        '{"name": "f", "arguments": {"a": 1}}',
        '{"name": "f", ',
        '"parameters": ',
        '"tool_calls": [',
        '"function": ',
        '"arguments": ',
    ),
    *(
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        ",",
        ":",
        "=",
        ";",
        '"',
        "'",
        '"""',
        "\\",
        "1",
        "-",
        ".",
        "e9",
        "NaN",
        "true",
        "None",
        " ",
        "\n",
        "f",
    ),
]


@pytest.mark.parametrize("name", ["auto", *READERS])
@settings(max_examples=40)
@given(pieces=st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=24))
def test_no_text_raises_and_a_call_is_never_both_read_and_lost(name: str, pieces: list[str]) -> None:
    parsed = parse_calls("".join(pieces), name)
    assert parsed.attempted == bool(parsed.calls or parsed.failures)
    for call in parsed.calls:
        assert loads(json.dumps(call.arguments)) == call.arguments


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="no tool call format 'yaml'; known: auto, hermes"):
        parse_calls("", "yaml")


def brute_force(wants: list[set[int]], calls: int) -> int:
    best = 0
    for order in itertools.permutations(range(max(calls, len(wants)))):
        best = max(best, sum(call in wants[number] for number, call in enumerate(order[: len(wants)])))
    return best


@given(st.lists(st.sets(st.integers(0, 4), min_size=1), min_size=1, max_size=5), st.lists(st.integers(0, 4), max_size=5))
def test_matching_is_a_maximum(accepted: list[set[int]], made: list[int]) -> None:
    answer = json.dumps([{"f": {"a": sorted(values)}} for values in accepted])
    gold = read_gold(answer)
    calls = [Call(name="f", arguments={"a": value}) for value in made]
    found = matched(gold, calls)
    wants = [{number for number, value in enumerate(made) if value in values} for values in accepted]
    assert len(found) == brute_force(wants, len(calls))
    assert len(set(found.values())) == len(found)
    assert all(call in wants[number] for number, call in found.items())


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ("", "not strict JSON"),
        ("5", "give a list of calls"),
        ('[{"name": "f", "arguments": {"a": 1, "a": 2}}]', "appears twice"),
        ('[{"name": "f", "arguments": [1]}]', "no JSON object"),
        ('[{"name": "f"}]', "neither"),
        ('[{"f": {"a": []}}]', "non-empty list"),
        ('[{"f": {"a": "x"}}]', "non-empty list"),
        ('{"calls": [], "order": "random"}', "any or strict"),
        ('{"calls": [], "ordering": "any"}', "nothing else"),
        ('[{"name": "f", "arguments": {"a": {"$any": []}}}]', "$any"),
        ('[{"name": "f", "arguments": {"a": {"$regex": "x"}}}]', "known are $any"),
        ('[{"name": "f", "arguments": {"a": {"$num": {"value": 1}}}}]', "$num"),
        ('[{"name": "f", "arguments": {"a": {"$any": [1], "b": 2}}}]', "stands beside"),
    ],
)
def test_an_unreadable_gold_is_refused(answer: str, complaint: str) -> None:
    with pytest.raises(VerifierError, match="(?s)cannot be used.*" + complaint.replace("$", r"\$")):
        read_gold(answer)


def tool_task(answer: str, parameters: dict[str, Any], **arguments: Any) -> Task:
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    return Task(id="t", prompt=(), verifier="tool_call", answer=answer, tools=(tool,), verifier_args=arguments)


@pytest.mark.parametrize(
    ("answer", "parameters", "complaint"),
    [
        ('[{"name": "g", "arguments": {}}]', {"type": "object"}, "none of the task's tools"),
        (
            '[{"name": "f", "arguments": {"a": "1"}}]',
            {"properties": {"a": {"type": "integer"}}},
            "does not fit the tool's schema",
        ),
        ('[{"name": "f", "arguments": {"b": 1}}]', {"properties": {"a": {}}}, "does not fit the tool's schema"),
        ("[]", {"type": "dict"}, "no JSON Schema"),
        ("[]", {"properties": {"a": {"$ref": "https://example.org/schema"}}}, "only references into itself"),
        ("[]", {"properties": {"a": {"$ref": "#/$defs/missing"}}}, "does not hold"),
    ],
)
def test_a_task_that_nobody_can_solve_is_refused(answer: str, parameters: dict[str, Any], complaint: str) -> None:
    problem = check_task(tool_task(answer, parameters))
    assert problem is not None
    assert complaint in problem


def judge(task: Task, completion: Completion) -> Score:
    score = resolve("tool_call").function(task, completion)
    assert isinstance(score, Score)
    return score


def test_a_turn_cut_at_the_token_limit_never_counts() -> None:
    task = tool_task('[{"name": "f", "arguments": {}}]', {})
    text = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
    assert judge(task, Completion(text=text)).passed
    cut = judge(task, Completion(text=text, finish_reason="length"))
    assert (cut.value, cut.reason) == (0.0, "malformed")


def test_special_tokens_count_and_a_parsed_message_does_where_there_is_no_text() -> None:
    task = tool_task('[{"name": "f", "arguments": {}}]', {}, format="mistral")
    plain = ({"role": "assistant", "content": "f{}"},)
    assert judge(task, Completion(text="[TOOL_CALLS]f[ARGS]{}", messages=plain)).passed
    calls = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    assert judge(task, Completion(text="", messages=(message,))).passed
    conversation = (message, {"role": "tool", "content": "ok"})
    assert not judge(task, Completion(text="[TOOL_CALLS]f[ARGS]{}", messages=conversation)).passed


@pytest.mark.parametrize("last", ["{}", "{"])
def test_a_message_with_more_calls_than_are_read_scores_0(last: str) -> None:
    """The 65th, readable or not; with it a completion must not choose to have no score."""
    task = tool_task('[{"name": "f", "arguments": {}}]', {})
    calls = [{"type": "function", "function": {"name": "f", "arguments": written}} for written in ("{}",) * 64 + (last,)]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    score = judge(task, Completion(text="", messages=(message,)))
    assert (score.value, score.reason, score.explanation) == (0.0, "too_large", "more than 64 calls in one turn")


def test_references_inside_a_schema_are_followed_and_composed_objects_stay_open() -> None:
    point = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    schema = {"type": "object", "properties": {"p": {"$ref": "#/$defs/point"}}, "$defs": {"point": point}}
    validator = compiled(schema, closed=True)
    assert first_problem(validator, {"p": {"x": 1}}) is None
    assert "integer" in (first_problem(validator, {"p": {"x": 1.0}}) or "")
    assert "y" in (first_problem(validator, {"p": {"x": 1, "y": 2}}) or "")
    composed = {"properties": {"a": {}}, "allOf": [{"properties": {"b": {"type": "string"}}}]}
    assert first_problem(compiled(composed, closed=True), {"a": 1, "b": "x"}) is None


def test_unique_items_and_patterns_are_bounded() -> None:
    unique = compiled({"type": "array", "uniqueItems": True})
    assert first_problem(unique, [1, True, "1", [1]]) is None
    assert first_problem(unique, [1, 1.0]) is not None
    assert first_problem(unique, [{"a": 1, "b": 2}, {"b": 2, "a": 1}]) is not None
    slow = compiled({"type": "string", "pattern": "^(a|a)*$"})
    assert first_problem(slow, "aaa") is None
    assert first_problem(slow, "a" * 5_000 + "!") is not None


@pytest.mark.parametrize(
    "text", ["", "[1] 2", "{'a': 1}", '{"a": 1, "a": 1}', "NaN", "-Infinity", "1e999", "[1,]", "\ufeff1", "01", '"\n"']
)
def test_strict_json_refuses(text: str) -> None:
    with pytest.raises(JsonError):
        loads(text)


@pytest.mark.parametrize("text", ["[" * 33 + "]" * 33, "[" * 100_000, "1" * 101, "[" + "1," * 6_000 + "1]"])
def test_strict_json_has_bounds(text: str) -> None:
    with pytest.raises(JsonTooLargeError):
        loads(text)


def test_brackets_in_strings_are_no_depth() -> None:
    assert loads('["' + "[" * 100 + '"]') == ["[" * 100]


def test_gold_without_order_is_any() -> None:
    assert read_gold("[]") == Gold(calls=())


@pytest.mark.parametrize(
    ("gold", "given", "passes"),
    [
        ("1", "true", False),
        ("0", "false", False),
        ("true", "1", False),
        ("5", '"5"', False),
        ('"5"', "5", False),
        ("5", "5.0", True),
        ("5.0", "5", True),
        ("null", "false", False),
        ('""', "null", False),
        ("[1]", "[true]", False),
        ('{"a": 0}', '{"a": false}', False),
        ('{"a": 0}', '{"a": 0, "b": 0}', False),
        ("[]", "{}", False),
    ],
)
def test_values_are_compared_by_kind_also_where_no_schema_does(gold: str, given: str, passes: bool) -> None:
    task = Task(id="t", prompt=(), verifier="tool_call", answer=f'[{{"name": "f", "arguments": {{"a": {gold}}}}}]')
    text = f'<tool_call>{{"name": "f", "arguments": {{"a": {given}}}}}</tool_call>'
    assert judge(task, Completion(text=text)).passed is passes
