r"""GSM8K and MATH as tasks of the `math` verifier, from the hub or from a local file, with their own forms of answer.

GSM8K gives its gold behind `####` in a worked solution. MATH gives a solution with `\boxed{}`; files that also have the answer in
a column of its own are read by that. Both keep the solution as the demonstration for SFT. The test sides are evaluation sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from rlvr_tasks.errors import TaskError
from rlvr_tasks.mapping import MappingOptions, column_mapping
from rlvr_tasks.rows import tasks_from_rows
from rlvr_tasks.sources.hf import hf
from rlvr_tasks.sources.jsonl import SUFFIXES, read_rows
from rlvr_verifiers.types import Task

ASK = "{task}\nReason step by step and put the final answer in \\boxed{{}}."
GSM8K = "openai/gsm8k"
MATH = "DigitalLearningGmbH/MATH-lighteval"
Split = Literal["train", "test"]
File = Annotated[str | None, Field(description="local .jsonl, .jsonl.gz or .parquet; default: from the hub")]
Prompt = Annotated[str, Field(description="the user message, with {task} for the problem; literal braces twice")]
Judging = Annotated[
    dict[str, Any] | None, Field(description="arguments of the math verifier, e.g. {form: any}; default: its own defaults")
]
Revision = Annotated[str | None, Field(description="hub commit or tag, for an exact repeat")]
_BEHIND_HASHES = r"####\s*(.+)$"


def gsm8k(
    path: File = None,
    split: Annotated[Split, Field(description="side of the hub's data set; a file is read whole")] = "train",
    prompt: Prompt = ASK,
    verifier_args: Judging = None,
    revision: Revision = None,
) -> Sequence[Task]:
    """Grade school word problems (Cobbe et al., 2021), 7,473 to train and 1,319 to test."""
    mapping: MappingOptions = {
        **_common("gsm8k", "question", prompt, verifier_args),
        "columns": {"prompt": "question", "answer": "answer"},
        "answer_pattern": _BEHIND_HASHES,
        "demonstration": {"column": "answer", "remove": r"<<.*?>>|\n####.*$", "append": "\n\\boxed{{{gold}}}"},
    }
    if path is None:
        return hf(name=GSM8K, config="main", split=split, revision=revision, **mapping)
    convert = column_mapping(default_split=split, **mapping)
    return tasks_from_rows(read_rows(_file(path, "gsm8k")), convert, path)


def competition_math(
    path: File = None,
    split: Annotated[Split, Field(description="side of the hub's data set; a file is read whole")] = "train",
    levels: Annotated[list[int] | None, Field(description="difficulties 1 to 5 to keep; default: all")] = None,
    prompt: Prompt = ASK,
    verifier_args: Judging = None,
    revision: Revision = None,
) -> Sequence[Task]:
    """Competition problems, MATH (Hendrycks et al., 2021), 7,500 to train and 5,000 to test, or a part such as MATH-500."""
    common = _common("math", "problem", prompt, verifier_args)
    if levels:
        common["filter"] = {"level": [value for level in levels for value in (level, str(level), f"Level {level}")]}
    solved: MappingOptions = {
        **common,
        "columns": {"prompt": "problem", "answer": "solution"},
        "answer_pattern": "boxed",
        "demonstration": "solution",
    }
    if path is None:
        return hf(name=MATH, split=split, revision=revision, **solved)
    answered: MappingOptions = {**common, "columns": {"prompt": "problem", "answer": "answer"}}
    both: MappingOptions = {**answered, "demonstration": "solution"}
    by_columns = {
        (True, True): column_mapping(default_split=split, **both),
        (True, False): column_mapping(default_split=split, **answered),
        (False, True): column_mapping(default_split=split, **solved),
    }

    def convert(row: Mapping[str, Any], where: str) -> Task | None:
        mapped = by_columns.get(("answer" in row, "solution" in row))
        if mapped is None:
            raise TaskError(f"{where}: no column `answer` and none `solution`; is this a file of MATH?")
        return mapped(row, where)

    return tasks_from_rows(read_rows(_file(path, "math")), convert, path)


def _common(data_source: str, problem: str, prompt: str, verifier_args: dict[str, Any] | None) -> MappingOptions:
    if "{task}" not in prompt:
        raise TaskError(f"{data_source}: `prompt` is {prompt!r}; put {{task}} where the problem belongs")
    common: MappingOptions = {
        "prompt_template": prompt.replace("{task}", f"{{{problem}}}"),
        "verifier": "math",
        "data_source": data_source,
    }
    return {**common, "verifier_args": verifier_args} if verifier_args else common


def _file(path: str, source: str) -> Path:
    file = Path(path).expanduser()
    if not file.is_file() or not file.name.endswith(SUFFIXES):
        raise TaskError(
            f"{source}: no file {file} that ends in {', '.join(SUFFIXES)} (looked from {Path.cwd()}); correct `path`"
        )
    return file
