"""Foreign columns: the published shapes of GSM8K, TRL and verl rows, and every option's refusals."""

from __future__ import annotations

import gzip
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from rlvr_tasks.errors import TaskError
from rlvr_tasks.mapping import column_mapping, last_boxed
from rlvr_tasks.registry import load_tasks
from rlvr_tasks.sources.jsonl import jsonl

GSM8K = {"question": "Ada has 2 bags of 3 apples. How many apples?", "answer": "2 * 3 = <<2*3=6>>6 apples.\n#### 6"}
TRL = {"prompt": [{"role": "user", "content": "What is 2 * 3?"}], "solution": "It is $\\boxed{\\frac{12}{2}}$."}
VERL = {
    "data_source": "openai/gsm8k",
    "prompt": [{"role": "user", "content": "What is 2 * 3?"}],
    "ability": "math",
    "reward_model": {"style": "rule", "ground_truth": "6"},
    "extra_info": {"split": "train", "index": 0},
}


def converted(row: dict[str, Any], **options: Any) -> Any:
    return column_mapping(**options)(row, "f:1")


def test_gsm8k_rows() -> None:
    task = converted(
        GSM8K,
        columns={"prompt": "question"},
        prompt_template="{question}\nPut the final answer in \\boxed{{}}.",
        answer_pattern=r"####\s*(.+)$",
        demonstration={"column": "answer", "remove": r"<<.*?>>|\n####.*$", "append": "\n\\boxed{{{gold}}}"},
        verifier="math",
        system="Be brief.",
    )
    assert task.answer == "6"
    assert task.prompt == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Ada has 2 bags of 3 apples. How many apples?\nPut the final answer in \\boxed{}."},
    )
    assert task.info == {"demonstration": "2 * 3 = 6 apples.\n\\boxed{6}"}


def test_trl_rows() -> None:
    task = converted(TRL, columns={"answer": "solution"}, answer_pattern="boxed", verifier="math", data_source="deepmath")
    assert (task.answer, task.verifier, task.data_source, task.prompt) == (
        "\\frac{12}{2}",
        "math",
        "deepmath",
        tuple(TRL["prompt"]),
    )


def test_verl_rows() -> None:
    columns = {"answer": "reward_model.ground_truth", "split": "extra_info.split"}
    task = converted(VERL, columns=columns, verifier="math")
    assert (task.answer, task.data_source, task.ability, task.split) == ("6", "openai/gsm8k", "math", "train")
    assert task.info["extra_info"] == {"split": "train", "index": 0}


def test_the_last_match_of_the_answer_pattern_is_the_gold() -> None:
    row = {"prompt": "q", "answer": "#### 5\nNo, wait.\n#### 6"}
    assert converted(row, answer_pattern=r"####\s*(.+)$", verifier="math").answer == "6"


def test_dots_step_into_json_strings_and_lists() -> None:
    row = {"question": "q", "meta": json.dumps({"golds": ["6", "7"]})}
    assert converted(row, columns={"prompt": "question", "answer": "meta.golds.1"}, verifier="math").answer == "7"


def test_the_rows_own_column_can_be_ignored() -> None:
    row = {"id": 7, "prompt": "q", "answer": "1", "info": "free text"}
    assert converted(row, columns={"info": None, "id": None}, verifier="math").info == {}


def test_options_win_over_columns_and_columns_over_defaults() -> None:
    row = {"prompt": "q", "answer": "1", "verifier": "exact", "data_source": "row"}
    assert converted(row, default_data_source="file").data_source == "row"
    assert converted({**row, "data_source": ""}, default_data_source="file").data_source == "file"
    assert converted(row, verifier="math", data_source="option").verifier == "math"


def test_text_of_a_row_is_never_interpreted() -> None:
    row = {"question": "{answer} {0} {question.__class__} %s", "answer": "1"}
    task = converted(row, prompt_template="Q: {question}", verifier="math")
    assert task.prompt[0]["content"] == "Q: {answer} {0} {question.__class__} %s"
    with pytest.raises(TaskError, match=r"column 'question\.__class__' is missing"):
        converted(row, prompt_template="{question.__class__}", verifier="math")


def test_the_filter_keeps_equal_values_only() -> None:
    row = {"prompt": "q", "answer": "1", "level": 3, "kind": "a"}
    assert converted(row, filter={"level": 3, "kind": ["a", "b"]}, verifier="math") is not None
    assert converted(row, filter={"level": 3, "kind": "b"}, verifier="math") is None
    with pytest.raises(TaskError, match=r"f:1: column 'levle' is missing.*did you mean 'level'"):
        converted(row, filter={"levle": 3}, verifier="math")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"columns": {"promt": "q"}}, "did you mean 'prompt'"),
        ({"columns": {"prompt": "missing"}}, "column 'missing' is missing; the row has question, answer"),
        ({"answer_pattern": "("}, "not a regular expression"),
        ({"answer_pattern": "a"}, "has 0 groups"),
        ({"answer_pattern": "(a)(b)"}, "has 2 groups"),
        ({"answer_pattern": "(zzz)"}, "finds nothing in"),
        ({"prompt_template": "{}"}, "a hole names a column"),
        ({"prompt_template": "{question!r}"}, "a hole names a column"),
        ({"prompt_template": "\\boxed{"}, "literal braces twice"),
        ({"environment": "pyton"}, "environment: no environment 'pyton'; did you mean 'python'"),
        ({"environment": "python", "env_args": {"tools": ["calc"]}}, "is ['calc']; it has python"),
        ({"demonstration": {"col": "answer"}}, "unknown key 'col'"),
        ({"demonstration": {"remove": "x"}}, "`column` is missing"),
    ],
)
def test_options_that_cannot_work_say_why(options: dict[str, Any], words: str) -> None:
    with pytest.raises(TaskError, match=re.escape(words)):
        converted(GSM8K, **{"columns": {"prompt": "question"}, "verifier": "math", **options})


def test_an_environment_offers_its_own_tools_to_every_row(tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}
    rows = [{"prompt": f"{n}?", "answer": "1", "tools": [tool] if n else None} for n in range(2)]
    args = {"path": str(write(tmp_path / "a.jsonl", rows)), "verifier": "math"}
    python = load_tasks({"source": "jsonl", "args": {**args, "environment": "python", "env_args": {"timeout_s": 2}}})
    assert [[each["function"]["name"] for each in task.tools] for task in python] == [["python"]] * 2
    assert {(task.environment, task.env_args["timeout_s"], task.verifier) for task in python} == {("python", 2, "math")}
    plain = load_tasks({"source": "jsonl", "args": args})
    assert [[each["function"]["name"] for each in task.tools] for task in plain] == [[], ["search"]]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"environment": "pyton"}, "environment: no environment 'pyton'; did you mean 'python'"),
        ({"env_args": {"timeout_s": 2}}, "gsm8k: `env_args` are those of an environment; name it"),
        ({"demonstrate": True}, "shows calls of the tool python; give `environment: python`"),
        ({"demonstrate": True, "environment": "shop"}, "shows calls of the tool python; give `environment: python`"),
    ],
)
def test_gsm8k_says_what_tools_it_cannot_offer(args: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = write(tmp_path / "gsm8k.jsonl", [GSM8K])
    with pytest.raises(TaskError, match=re.escape(words)):
        load_tasks({"source": "gsm8k", "args": {"path": str(path), **args}})


def test_a_second_system_message_is_refused() -> None:
    prompt = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    with pytest.raises(TaskError, match="already opens with a system message"):
        converted({"prompt": prompt, "answer": "1"}, system="t", verifier="math")


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("\\boxed{1} then \\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("\\boxed{unclosed", None),
        ("none", None),
        ("so $\\boxed 3$.", "3"),
        ("\\fbox{12}", "12"),
        ("\\boxed", None),
        ("\\boxed{" * 20_000, None),
    ],
)
def test_the_last_box_is_found_with_its_braces(text: str, content: str | None) -> None:
    assert last_boxed(text) == content


RECORDS = [
    {"prompt": f"{n} + 1?", "verifier": "math", "answer": str(n + 1), "verifier_args": {"tolerance": n}} for n in range(3)
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        with gzip.open(path, "wt", encoding="utf-8") as file:
            file.write(text)
    else:
        path.write_text(text, encoding="utf-8")
    return path


def test_plain_and_packed_files_give_the_same_tasks(tmp_path: Path) -> None:
    plain = jsonl(path=str(write(tmp_path / "a.jsonl", RECORDS)))
    assert list(plain) == list(jsonl(path=str(write(tmp_path / "a.jsonl.gz", RECORDS))))
    assert plain[0].data_source == "a"


def test_several_files_are_one_sequence(tmp_path: Path) -> None:
    paths = [str(write(tmp_path / name, RECORDS[index : index + 1])) for index, name in enumerate(("a.jsonl", "b.jsonl"))]
    assert [task.answer for task in jsonl(path=paths)] == ["1", "2"]


def test_broken_lines_are_reported_by_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(RECORDS[0]) + "\n\n{broken\n[1]\n", encoding="utf-8")
    with pytest.raises(TaskError) as caught:
        jsonl(path=str(path))
    assert f"{path}:3: not valid JSON" in str(caught.value)
    assert f"{path}:4: expected a JSON object, found list" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gone.jsonl", None, "no file"),
        ("data.txt", b"x", "is none of .jsonl"),
        ("data.jsonl", b"\xff\xfe", "not UTF-8"),
        ("data.jsonl.gz", b"no gzip", "damaged gzip"),
        ("empty.jsonl", b"", "no tasks"),
    ],
)
def test_unusable_files_are_named(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(TaskError, match=words) as caught:
        jsonl(path=str(tmp_path / name))
    assert name in str(caught.value)


def test_rows_without_the_pattern_are_dropped_only_on_request(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "answer": "\\boxed{1}"}, {"prompt": "b", "answer": "it is 2"}]
    options: dict[str, Any] = {"path": str(write(tmp_path / "a.jsonl", rows)), "verifier": "math", "answer_pattern": "boxed"}
    with pytest.raises(TaskError, match="1 of 2 rows cannot be used"):
        jsonl(**options)
    assert [task.answer for task in jsonl(**options, unreadable_golds="drop")] == ["1"]


def test_unreadable_golds_are_dropped_only_on_request_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = str(write(tmp_path / "a.jsonl", [*RECORDS, {"prompt": "?", "verifier": "math", "answer": ""}]))
    assert len(jsonl(path=path)) == 4
    with caplog.at_level(logging.WARNING):
        assert len(jsonl(path=path, unreadable_golds="drop")) == 3
    assert "dropped 1 of 4 rows" in caplog.text
