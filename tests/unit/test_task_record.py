"""The record: what is accepted, what is refused with which words, and that nothing is lost on the way there and back."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlvr_tasks.errors import TaskError
from rlvr_tasks.record import canonical_json, content_id, fingerprint, record_from_task, task_from_record
from rlvr_tasks.rows import tasks_from_rows
from rlvr_verifiers.types import Task

LETTERS = 'aZ0é\u2028😀"\\{}[]\n\t\x00 '
TEXT = st.text(LETTERS, max_size=8)
NAME = st.text(LETTERS, min_size=1, max_size=4)
SCALAR = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
KEY = st.sampled_from(["a", "é", "", "key", "\n", "NaN"])
OBJECT = st.dictionaries(KEY, SCALAR | st.lists(SCALAR, max_size=2) | st.dictionaries(KEY, SCALAR, max_size=2), max_size=2)
MESSAGE = st.fixed_dictionaries({"role": st.sampled_from(["system", "assistant", "tool"]), "content": TEXT})
QUESTION = st.fixed_dictionaries({"role": st.just("user"), "content": TEXT.map("?{}".format)})
TASKS = st.builds(
    Task,
    id=NAME,
    prompt=st.lists(MESSAGE, max_size=2).flatmap(lambda before: QUESTION.map(lambda last: (*before, last))),
    verifier=NAME,
    answer=TEXT,
    verifier_args=OBJECT,
    tools=st.lists(OBJECT, max_size=2).map(tuple),
    environment=st.none() | NAME,
    env_args=OBJECT,
    data_source=TEXT,
    ability=TEXT,
    split=NAME,
    info=OBJECT,
)
ROW: dict[str, Any] = {"id": "a", "prompt": "1 + 1?", "verifier": "math", "answer": "2"}


@given(TASKS)
def test_a_task_survives_its_record_and_a_line_of_json(task: Task) -> None:
    line = json.dumps(record_from_task(task))
    assert task_from_record(json.loads(line)) == task


@given(TASKS)
def test_real_json_objects_mean_the_same_as_json_strings(task: Task) -> None:
    record = record_from_task(task)
    decoded = {name: json.loads(record[name]) for name in ("verifier_args", "env_args", "info")}
    decoded["tools"] = list(task.tools) or None
    assert task_from_record({**record, **decoded}) == task


def test_a_plain_prompt_is_one_user_message() -> None:
    assert task_from_record(ROW).prompt == ({"role": "user", "content": "1 + 1?"},)


def test_unknown_columns_are_kept_in_info() -> None:
    task = task_from_record({**ROW, "info": '{"licence": "MIT"}', "level": 3, "score": float("nan"), "empty": None})
    assert task.info == {"licence": "MIT", "level": 3, "score": "NaN"}


@pytest.mark.parametrize(("given", "answer"), [(2, "2"), (0.5, "0.5"), ({"b": 1, "a": [2]}, '{"a":[2],"b":1}'), ("", "")])
def test_numbers_and_structures_become_the_text_of_the_answer(given: Any, answer: str) -> None:
    assert task_from_record({**ROW, "answer": given}).answer == answer


def test_ids_come_from_content_and_only_from_content() -> None:
    unnamed = {name: value for name, value in ROW.items() if name != "id"}
    first = task_from_record(unnamed)
    assert first.id == content_id(first) == task_from_record({**unnamed, "info": '{"seen": 1}', "data_source": "x"}).id
    for change in ({"prompt": "1 + 2?"}, {"answer": "3"}, {"verifier": "exact"}, {"verifier_args": {"tolerance": 1}}):
        assert task_from_record({**unnamed, **change}).id != first.id


def test_the_id_of_a_known_row_never_changes() -> None:
    """Resume and deduplication across releases rest on it."""
    assert task_from_record({"prompt": "1 + 1?", "verifier": "math", "answer": "2"}).id == "d3f266f97dbc68ca"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompt": None}, "prompt: missing"),
        ({"prompt": []}, "prompt: expected text or a list"),
        ({"prompt": "  "}, r"prompt\[0\].content: empty"),
        ({"prompt": [{"role": "human", "content": "x"}]}, r"prompt\[0\].role: found 'human'"),
        ({"prompt": [{"role": "user", "content": [{"type": "image"}]}]}, r"prompt\[0\].content: expected text"),
        ({"prompt": ["x"]}, r"prompt\[0\]: expected {role, content}"),
        ({"verifier": None}, "verifier: missing"),
        ({"verifier": 3}, "verifier: expected text"),
        ({"answer": None}, "answer: missing"),
        ({"answer": True}, "answer: found True"),
        ({"answer": float("inf")}, "answer: "),
        ({"verifier_args": "[1]"}, "verifier_args: expected a JSON object"),
        ({"verifier_args": "{"}, "verifier_args: not valid JSON"),
        ({"verifier_args": '{"a": 1, "a": 2}'}, "verifier_args: the key 'a' appears twice"),
        ({"verifier_args": '{"a": NaN}'}, "verifier_args: NaN is not JSON"),
        ({"verifier_args": {"a": float("nan")}}, "a value that JSON cannot hold"),
        ({"tools": "{}"}, "tools: expected a JSON list"),
        ({"id": True}, "id: expected text or an integer"),
        ({"info": {"x": 1}, "x": 2}, "info: x is also a column"),
        ({"prompt": "\ud800"}, "surrogate"),
    ],
)
def test_a_bad_field_is_named_with_its_place(change: dict[str, Any], words: str) -> None:
    with pytest.raises(TaskError, match=f"^data.jsonl:7: {words}" if "surrogate" not in words else words):
        task_from_record({**ROW, **change}, "data.jsonl:7")


def test_only_what_can_be_learnt_from_may_lack_verifier_and_answer() -> None:
    dialogue = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    assert task_from_record({"prompt": dialogue}).verifier == ""
    assert task_from_record({"prompt": "hi", "info": {"demonstration": "hello"}}).answer == ""


def test_all_bad_rows_are_reported_together_ten_in_full() -> None:
    rows = [(f"f:{number}", {**ROW, "id": str(number), **({"answer": None} if number % 2 else {})}) for number in range(40)]
    with pytest.raises(TaskError) as caught:
        tasks_from_rows(rows, task_from_record, "f")
    message = str(caught.value)
    assert message.startswith("f: 20 of 40 rows cannot be used")
    assert message.count("answer: missing") == 10
    assert "f:1: answer" in message
    assert message.endswith("... and 10 more")


def test_a_file_that_fails_in_one_way_says_so_once() -> None:
    with pytest.raises(TaskError, match=r"^f: none of the 3 rows can be used: verifier: missing"):
        tasks_from_rows([(f"f:{n}", {"prompt": str(n)}) for n in range(3)], task_from_record, "f")


def test_given_ids_must_be_unique_and_equal_content_is_numbered() -> None:
    with pytest.raises(TaskError, match="f:2: id: 'a' is also the id of f:1"):
        tasks_from_rows([("f:1", ROW), ("f:2", {**ROW, "prompt": "other"})], task_from_record, "f")
    unnamed = {name: value for name, value in ROW.items() if name != "id"}
    tasks = tasks_from_rows([("f:1", unnamed), ("f:2", unnamed), ("f:3", unnamed)], task_from_record, "f")
    assert [task.id.removeprefix(tasks[0].id) for task in tasks] == ["", "-2", "-3"]


def test_no_rows_is_an_error() -> None:
    with pytest.raises(TaskError, match="no tasks"):
        tasks_from_rows([], task_from_record, "f")


def test_the_fingerprint_sees_every_field_and_the_order() -> None:
    first, second = task_from_record(ROW), task_from_record({**ROW, "id": "b"})
    prints = {
        fingerprint(tasks) for tasks in ([first, second], [second, first], [first], [task_from_record({**ROW, "x": 1})])
    }
    assert len(prints) == 4
    assert fingerprint([first, second]) == fingerprint([task_from_record(ROW), second])


def test_canonical_json_does_not_depend_on_key_order() -> None:
    assert canonical_json({"b": 1, "a": "é"}) == canonical_json({"a": "é", "b": 1}) == '{"a":"é","b":1}'


def test_the_error_can_be_pickled() -> None:
    assert str(pickle.loads(pickle.dumps(TaskError("file:1: what")))) == "file:1: what"
