"""Tool-calling rows of other projects: the Berkeley leaderboard's files, xLAM's and ToolRL's shapes."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from rlvr_tasks.errors import TaskError
from rlvr_tasks.mapping import calls_in
from rlvr_tasks.registry import load_tasks
from rlvr_tasks.tool_shapes import openai_tools
from rlvr_verifiers.registry import check_task
from rlvr_verifiers.scoring import score_now
from rlvr_verifiers.tool_call import gold_completion
from rlvr_verifiers.tool_env import gold_completion as solve_environment
from rlvr_verifiers.types import Completion


def jsonl(path: Path, *rows: dict[str, Any]) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


AREA = {
    "name": "geometry.area",
    "description": "Area of a rectangle.",
    "parameters": {
        "type": "dict",
        "properties": {
            "width": {"type": "float", "description": "Width."},
            "height": {"type": "float"},
            "units": {"type": "array", "items": {"type": "string"}, "enum": ["cm", "m"]},
            "corner": {"type": "tuple", "items": {"type": "integer"}},
            "options": {"type": "dict", "properties": {"exact": {"type": "boolean"}}, "required": ["exact"]},
            "note": {"type": "any"},
        },
        "required": ["width", "height"],
    },
}


def bfcl_folder(folder: Path) -> Path:
    question = [[{"role": "user", "content": "What is the area of 3 by 4.5?"}]]
    golds: list[list[Any]] = [
        [{"geometry.area": {"width": [3], "height": [4.5], "units": [["m"], ""]}}],
        [
            {"geometry.area": {"width": ["3", 3], "height": [4.5, ""]}}
        ],  # the first choice does not fit, "" cannot be left out
        [{"geometry.area": {"width": [3]}}],  # lacks a required argument
        [{"geometry.area": {"width": [3], "height": [4.5], "depth": [1]}}],  # no such argument
    ]
    rows = [{"id": f"simple_python_{n}", "question": question, "function": [AREA]} for n in range(len(golds))]
    jsonl(folder / "BFCL_v4_simple_python.json", *rows)
    answers = [{"id": f"simple_python_{n}", "ground_truth": gold} for n, gold in enumerate(golds)]
    jsonl(folder / "possible_answer" / "BFCL_v4_simple_python.json", *answers)
    jsonl(folder / "BFCL_v4_irrelevance.json", {"id": "irrelevance_0", "question": question, "function": [AREA]})
    return folder


def test_bfcl_golds_that_cannot_pass_are_refused_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    arguments = {"path": str(bfcl_folder(tmp_path)), "categories": ["simple_python", "irrelevance"], "format": "hermes"}
    with caplog.at_level(logging.WARNING):
        tasks = load_tasks({"source": "bfcl", "args": arguments})
    assert [task.id for task in tasks] == ["simple_python_0", "simple_python_1", "irrelevance_0"]
    assert caplog.messages == ["bfcl: 2 of 5 golds are refused: simple_python_2, simple_python_3"]
    assert all(score_now(task, gold_completion(task)).passed for task in tasks)
    schema = tasks[0].tools[0]["function"]["parameters"]
    assert schema["properties"] == {
        "width": {"type": "number", "description": "Width."},
        "height": {"type": "number"},
        "units": {"type": "array", "items": {"type": "string", "enum": ["cm", "m"]}},
        "corner": {"type": "array", "items": {"type": "integer"}},
        "options": {"type": "object", "properties": {"exact": {"type": "boolean"}}, "required": ["exact"]},
        "note": {},
    }
    call = '<tool_call>{"name": "geometry.area", "arguments": {"width": 3, "height": 4.5%s}}</tool_call>'
    for text, passes in ((call % "", True), (call % ', "units": ["m"]', True), (call % ', "units": ["km"]', False)):
        assert score_now(tasks[0], Completion(text=text)).passed is passes, text
    assert not score_now(tasks[2], Completion(text=call % "")).passed
    assert score_now(tasks[2], Completion(text="I cannot do that.")).passed


def test_bfcl_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="no category simple_java; known: all, simple_python"):
        load_tasks({"source": "bfcl", "args": {"categories": "simple_java"}})
    with pytest.raises(TaskError, match=r"no file .*BFCL_v4_simple_python\.json"):
        load_tasks({"source": "bfcl", "args": {"path": str(tmp_path), "categories": "simple_python"}})


XLAM = {
    "id": 7,
    "query": "Weather in Oslo and Rome?",
    "tools": json.dumps(
        [
            {
                "name": "weather",
                "description": "Weather.",
                "parameters": {
                    "city": {"type": "str", "description": "City."},
                    "days": {"type": "int, optional", "description": "", "default": "1"},
                    "hours": {"type": "List[int], optional", "description": ""},
                    "where": {"type": "Optional[Dict[str, float]]", "description": ""},
                    "other": {"type": "Union[int, str]", "description": "", "default": ""},
                },
            }
        ]
    ),
    "answers": json.dumps([{"name": "weather", "arguments": {"city": city}} for city in ("Oslo", "Rome")]),
}


def test_xlam_rows_need_no_conversion(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "xlam.jsonl", XLAM)
    mapping = {"columns": {"prompt": "query", "answer": "answers"}, "tools_shape": "xlam", "verifier": "tool_call"}
    (task,) = load_tasks({"source": "jsonl", "args": {"path": str(path), **mapping, "verifier_args": {"format": "json"}}})
    schema = task.tools[0]["function"]["parameters"]
    assert schema["required"] == ["city"]
    assert {
        name: {key: part[key] for key in part if key != "description"} for name, part in schema["properties"].items()
    } == {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "hours": {"type": "array", "items": {"type": "integer"}},
        "where": {"type": "object"},
        "other": {},
    }
    assert score_now(task, Completion(text=XLAM["answers"])).passed
    assert not score_now(task, Completion(text=XLAM["answers"].replace("Rome", "Roma"))).passed


def test_toolrl_rows_need_no_conversion(tmp_path: Path) -> None:
    gold = '<think>Both.</think>\n<tool_call>\n{"name": "a", "parameters": {"x": 1}}\n{"name": "b", "parameters": {}}\n</tool_call>'
    rows = [
        {"prompt": [{"role": "user", "content": "Do a and b."}], "reward_model": {"style": "rule", "ground_truth": gold}},
        {
            "prompt": "Hi.",
            "reward_model": {"style": "rule", "ground_truth": "<think>No.</think><response>Hello.</response>"},
        },
    ]
    path = jsonl(tmp_path / "toolrl.jsonl", *rows)
    mapping = {"columns": {"answer": "reward_model.ground_truth"}, "answer_calls": "hermes", "verifier": "tool_call"}
    first, second = load_tasks({"source": "jsonl", "args": {"path": str(path), **mapping}})
    assert json.loads(first.answer) == [{"name": "a", "arguments": {"x": 1}}, {"name": "b", "arguments": {}}]
    assert score_now(first, Completion(text=gold)).passed
    assert second.answer == "[]"
    assert score_now(second, Completion(text="<response>Hello.</response>")).passed


@pytest.mark.parametrize(
    ("answer", "complaint"), [("<tool_call>{</tool_call>", "no JSON"), ("", "neither a call"), (5, "needs text")]
)
def test_an_answer_without_readable_calls_is_refused(answer: object, complaint: str) -> None:
    with pytest.raises(TaskError, match=complaint):
        calls_in(answer, "hermes")


@pytest.mark.parametrize(
    ("value", "shape", "complaint"),
    [
        ("x", "bfcl", "expected a list of tools of the shape bfcl"),
        ([3], "xlam", "a tool is int"),
        ([{"name": "f", "parameters": {"type": "set"}}], "bfcl", "the type 'set' is none of string"),
        ([{"name": "f", "parameters": {"a": "int"}}], "xlam", "the parameter 'a' is str"),
        ([{"parameters": {}}], "bfcl", "needs a name"),
    ],
)
def test_tools_of_another_shape_are_refused(value: object, shape: Any, complaint: str) -> None:
    with pytest.raises(TaskError, match=complaint):
        openai_tools(value, shape)


def test_tools_of_an_environment_are_filled_in(tmp_path: Path) -> None:
    row = {
        "prompt": "Delete /a.txt.",
        "verifier": "tool_env",
        "environment": "files",
        "env_args": {"files": {"/a.txt": ""}},
        "answer": {"calls": [{"name": "delete", "arguments": {"path": "/a.txt"}}]},
    }
    (task,) = load_tasks({"source": "jsonl", "args": {"path": str(jsonl(tmp_path / "rows.jsonl", row))}})
    assert "delete" in {schema["function"]["name"] for schema in task.tools}
    assert check_task(task) is None
    unknown = jsonl(tmp_path / "unknown.jsonl", {**row, "environment": "filez"})
    with pytest.raises(TaskError, match="did you mean 'files'"):
        load_tasks({"source": "jsonl", "args": {"path": str(unknown)}})


GENERATED = [("tool_calls", {}), ("tool_env", {"environment": "files"}), ("tool_env", {"environment": "shop"})]


@pytest.mark.parametrize(("source", "arguments"), GENERATED)
def test_generated_tasks_are_solvable_disjoint_and_the_same_each_time(source: str, arguments: dict[str, Any]) -> None:
    def made(**more: Any) -> list[Any]:
        return list(load_tasks({"source": source, "args": {**arguments, "size": 60, **more}}))

    train, held_out = made(), [task for seed in range(3) for task in made(split="eval", seed=seed)]
    assert made() == train
    assert made(size=20) == train[:20]
    assert len({task.id for task in train}) == 60
    assert not {task.prompt[0]["content"] for task in train} & {task.prompt[0]["content"] for task in held_out}
    solve = gold_completion if source == "tool_calls" else solve_environment
    for task in train:
        assert score_now(task, solve(task)).passed, task
        assert not score_now(task, Completion(text="")).passed
        assert json.loads(task.answer) == [] or not score_now(task, Completion(text="Done.")).passed


@pytest.mark.parametrize(("source", "arguments"), GENERATED)
def test_demonstrations_are_solved_conversations(source: str, arguments: dict[str, Any]) -> None:
    tasks = list(load_tasks({"source": source, "args": {**arguments, "size": 20}}))
    taught = load_tasks({"source": source, "args": {**arguments, "size": 20, "demonstrate": True}}, check_golds=False)
    for task, shown in zip(tasks, taught, strict=True):
        assert (shown.id, shown.tools, shown.verifier) == (task.id, task.tools, "")
        assert shown.prompt[: len(task.prompt)] == task.prompt
        assert shown.prompt[-1]["role"] == "assistant"
        turns = shown.prompt[len(task.prompt) :]
        assert score_now(task, Completion(text="", messages=turns)).passed, shown
