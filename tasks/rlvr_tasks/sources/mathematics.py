r"""GSM8K and MATH as tasks of the `math` verifier, from the hub or from a local file, with their own forms of answer.

GSM8K gives its gold behind `####` in a worked solution. MATH gives a solution with `\boxed{}`; files that also have the answer in
a column of its own are read by that. Both keep the solution as the demonstration for SFT, unless tools are offered: GSM8K's calculator
notes then become calls (`demonstrate`, in `calculator.py`). The test sides are evaluation sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict, Unpack

from rlvr_tasks.errors import TaskError
from rlvr_tasks.mapping import MappingOptions, column_mapping
from rlvr_tasks.offers import tool_names
from rlvr_tasks.rows import tasks_from_rows
from rlvr_tasks.sources.calculator import TOOL, demonstrated
from rlvr_tasks.sources.hf import hf
from rlvr_tasks.sources.jsonl import SUFFIXES, read_rows
from rlvr_verifiers.types import Task

ASK = "{task}\nReason step by step and put the final answer in \\boxed{{}}."
ASK_WITH_TOOLS = "{task}\nReason step by step, call {tools} for calculations, and put the final answer in \\boxed{{}}."
GSM8K = "openai/gsm8k"
MATH = "DigitalLearningGmbH/MATH-lighteval"
Split = Literal["train", "test"]
File = Annotated[str | None, Field(description="local .jsonl, .jsonl.gz or .parquet; default: from the hub")]
Revision = Annotated[str | None, Field(description="hub commit or tag, for an exact repeat")]
_BEHIND_HASHES = r"####\s*(.+)$"


class Asking(TypedDict, total=False):
    """How the problems are put, and what may be used to solve them."""

    prompt: Annotated[
        str,
        Field(
            description="the user message, with {task} for the problem; literal braces twice; default: asks for steps and a box, "
            "and to call the tools where there are any"
        ),
    ]
    environment: Annotated[str, Field(description="environment whose tools the policy may call, e.g. python; default: none")]
    env_args: Annotated[dict[str, Any], Field(description="its arguments, e.g. {timeout_s: 2}")]
    verifier_args: Annotated[
        dict[str, Any], Field(description="arguments of the math verifier, e.g. {form: any}; default: its own defaults")
    ]


def gsm8k(
    path: File = None,
    split: Annotated[Split, Field(description="side of the hub's data set; a file is read whole")] = "train",
    demonstrate: Annotated[
        bool, Field(description="solutions that call python, as conversations for SFT, instead of tasks to solve")
    ] = False,
    revision: Revision = None,
    **asking: Unpack[Asking],
) -> Sequence[Task]:
    """Grade school word problems (Cobbe et al., 2021), 7,473 to train and 1,319 to test."""
    mapping: MappingOptions = {
        **_common("gsm8k", "question", asking),
        "columns": {"prompt": "question", "answer": "answer"},
        "answer_pattern": _BEHIND_HASHES,
    }
    if demonstrate:
        _require_python(asking)
        mapping["demonstration"] = "answer"
    elif "environment" not in asking:  # else it would teach to do without the tools
        mapping["demonstration"] = {"column": "answer", "remove": r"<<.*?>>|\n####.*$", "append": "\n\\boxed{{{gold}}}"}
    if path is None:
        tasks = hf(name=GSM8K, config="main", split=split, revision=revision, **mapping)
    else:
        convert = column_mapping(default_split=split, **mapping)
        tasks = tasks_from_rows(read_rows(_file(path, "gsm8k")), convert, path)
    return demonstrated(tasks) if demonstrate else tasks


def competition_math(
    path: File = None,
    split: Annotated[Split, Field(description="side of the hub's data set; a file is read whole")] = "train",
    levels: Annotated[list[int] | None, Field(description="difficulties 1 to 5 to keep; default: all")] = None,
    revision: Revision = None,
    **asking: Unpack[Asking],
) -> Sequence[Task]:
    """Competition problems, MATH (Hendrycks et al., 2021), 7,500 to train and 5,000 to test, or a part such as MATH-500."""
    common = _common("math", "problem", asking)
    if levels:
        common["filter"] = {"level": [value for level in levels for value in (level, str(level), f"Level {level}")]}
    # A solution without calls would teach to do without the tools.
    shown: MappingOptions = {} if "environment" in asking else {"demonstration": "solution"}
    solved: MappingOptions = {
        **common,
        "columns": {"prompt": "problem", "answer": "solution"},
        "answer_pattern": "boxed",
        **shown,
    }
    if path is None:
        return hf(name=MATH, split=split, revision=revision, **solved)
    answered: MappingOptions = {**common, "columns": {"prompt": "problem", "answer": "answer"}}
    both: MappingOptions = {**answered, **shown}
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


def _common(data_source: str, problem: str, asking: Asking) -> MappingOptions:
    prompt = asking.get("prompt") or _default_prompt(asking)
    if "{task}" not in prompt:
        raise TaskError(f"{data_source}: `prompt` is {prompt!r}; put {{task}} where the problem belongs")
    common: MappingOptions = {
        "prompt_template": prompt.replace("{task}", f"{{{problem}}}"),
        "verifier": "math",
        "data_source": data_source,
    }
    if "verifier_args" in asking:
        common["verifier_args"] = asking["verifier_args"]
    if "environment" in asking:
        common["environment"] = asking["environment"]
        common["env_args"] = asking.get("env_args", {})
    elif "env_args" in asking:
        raise TaskError(f"{data_source}: `env_args` are those of an environment; name it with `environment`")
    return common


def _default_prompt(asking: Asking) -> str:
    if "environment" not in asking:
        return ASK
    names = tool_names(asking["environment"], asking.get("env_args", {}))
    return ASK_WITH_TOOLS.replace("{tools}", f"the tool{'s' if len(names) > 1 else ''} {', '.join(names)}")


def _require_python(asking: Asking) -> None:
    """Calculator notes become calls of `python`, so somebody has to offer it."""
    if "environment" not in asking or TOOL not in tool_names(asking["environment"], asking.get("env_args", {})):
        raise TaskError(
            f"gsm8k: `demonstrate` shows calls of the tool {TOOL}; give `environment: {TOOL}`, or leave it out: without tools every "
            "task has its solution as demonstration"
        )


def _file(path: str, source: str) -> Path:
    file = Path(path).expanduser()
    if not file.is_file() or not file.name.endswith(SUFFIXES):
        raise TaskError(
            f"{source}: no file {file} that ends in {', '.join(SUFFIXES)} (looked from {Path.cwd()}); correct `path`"
        )
    return file
