"""Finds a source by name, checks its arguments, and gives its tasks: finite (`load_tasks`) or endless (`open_stream`).

Built-ins are one dict; plug-ins come from the entry point group `rlvr.tasks`, or as `module:function`.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import importlib.metadata
import inspect
import itertools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Protocol, cast, get_args, get_origin, get_type_hints

import typing_extensions
from pydantic import ValidationError, validate_call
from pydantic.fields import FieldInfo

from rlvr_tasks.errors import TaskError
from rlvr_tasks.offers import with_tools
from rlvr_tasks.procedural import ProceduralTasks
from rlvr_tasks.protocol import SourceFunction, TaskSource
from rlvr_tasks.rows import listed
from rlvr_tasks.sources.arithmetic import arithmetic
from rlvr_tasks.sources.bfcl import bfcl
from rlvr_tasks.sources.calculations import calculations
from rlvr_tasks.sources.concise import concise
from rlvr_tasks.sources.contests import contests
from rlvr_tasks.sources.hf import hf
from rlvr_tasks.sources.ifeval import ifeval
from rlvr_tasks.sources.jsonl import jsonl
from rlvr_tasks.sources.mathematics import competition_math, gsm8k
from rlvr_tasks.sources.mix import mix
from rlvr_tasks.sources.prime import verifiers
from rlvr_tasks.sources.programs import human_eval, mbpp
from rlvr_tasks.sources.reasoning_gym import reasoning_gym
from rlvr_tasks.sources.small_functions import small_functions
from rlvr_tasks.sources.sql import sql
from rlvr_tasks.sources.tools import tool_calls, tool_env
from rlvr_tasks.stream import MixStream, TaskStream
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.registry import check_task
from rlvr_verifiers.types import Task

ENTRY_POINT_GROUP = "rlvr.tasks"

SAMPLED_GOLDS = 64
"""Golds of a procedural source that are checked when it is loaded."""

BUILT_IN: dict[str, SourceFunction] = {
    "arithmetic": arithmetic,
    "bfcl": bfcl,
    "calculations": calculations,
    "gsm8k": gsm8k,
    "contests": contests,
    "concise": concise,
    "hf": hf,
    "human_eval": human_eval,
    "ifeval": ifeval,
    "jsonl": jsonl,
    "math": competition_math,
    "mbpp": mbpp,
    "mix": mix,
    "reasoning_gym": reasoning_gym,
    "sql": sql,
    "tool_calls": tool_calls,
    "tool_env": tool_env,
    "small_functions": small_functions,
    "verifiers": verifiers,
}


class SourceConfig(Protocol):
    """One entry of a config's task list."""

    @property
    def source(self) -> str: ...
    @property
    def weight(self) -> float: ...
    @property
    def limit(self) -> int | None: ...
    @property
    def args(self) -> Mapping[str, Any]: ...


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Argument:
    name: str
    type: str
    required: bool
    default: str
    doc: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SourceInfo:
    """A source as `rlvr tasks list` shows it."""

    name: str
    doc: str
    arguments: tuple[Argument, ...]


def load_tasks(config: Mapping[str, Any] | SourceConfig, *, check_golds: bool = True) -> Sequence[Task]:
    """All tasks of one source, at most `limit` of them.

    With `check_golds` every task must name a verifier, and its gold must be one that this verifier understands; SFT alone
    may do without. Raises TaskError for unknown sources and arguments, unusable rows and golds, and an endless source
    without a limit.
    """
    name, _, limit, arguments = _read(config)
    tasks = _open(name, arguments)
    if isinstance(tasks, TaskSource):
        if limit is None:
            raise TaskError(f"source {name!r} is endless; give it a `limit` to use it where a fixed set is needed")
        tasks = tuple(itertools.islice(tasks, limit))
    return _finite(name, tasks, limit, check_golds)


def open_stream(
    configs: Sequence[Mapping[str, Any] | SourceConfig], seed: int, *, shuffle: bool = True, check_golds: bool = True
) -> TaskSource:
    """One endless stream over the sources, mixed by weight; each finite source is shuffled anew every epoch."""
    if not configs:
        raise TaskError("no task sources are listed; add at least one, such as {source: jsonl, args: {path: train.jsonl}}")
    streams: list[TaskSource] = []
    weights: list[float] = []
    for number, config in enumerate(configs):
        name, weight, limit, arguments = _read(config)
        tasks = _open(name, arguments)
        if isinstance(tasks, TaskSource) and limit is None:
            streams.append(tasks)
        else:
            part = tuple(itertools.islice(tasks, limit)) if isinstance(tasks, TaskSource) else tasks
            finite = _finite(name, part, limit, check_golds)
            streams.append(TaskStream(finite, seed=seed + number, shuffle=shuffle))
        weights.append(weight)
    return streams[0] if len(streams) == 1 else MixStream(streams, weights=weights, seed=seed)


def available() -> tuple[SourceInfo, ...]:
    """Every built-in and plug-in with its arguments. A plug-in that cannot be imported is listed with the reason."""
    return tuple(_info(name) for name in sorted({*BUILT_IN, *_plug_ins()}))


def check_answers(tasks: Sequence[Task], origin: str) -> None:
    """Raises one TaskError that lists the tasks whose gold their verifier cannot use."""
    problems: list[str] = []
    for task in tasks:
        if not task.verifier:
            problem = "no verifier; name one in the row or in the source's arguments"
        else:
            try:
                problem = check_task(task)
            except VerifierError as error:
                raise TaskError(f"{origin}: task {task.id!r}: {error}") from None
        if problem:
            problems.append(f"{task.id}: {problem}")
    if problems:
        headline = f"{origin}: {len(problems)} of {len(tasks)} tasks have a gold that cannot be judged; correct or leave out those rows"
        raise TaskError(listed(f"{headline} (files: `unreadable_golds: drop`)", problems))


def _finite(name: str, tasks: Sequence[Task], limit: int | None, check_golds: bool) -> Sequence[Task]:
    tasks = tasks if limit is None else tasks[:limit]
    if not tasks:
        raise TaskError(f"source {name!r} has no tasks; check its arguments and `limit`")
    if not isinstance(tasks, ProceduralTasks):
        tasks = with_tools(tasks)
    if check_golds:
        # A generator's golds are sound or not as a whole; making all of them twice would cost more than it shows.
        check_answers(tasks.sampled(SAMPLED_GOLDS) if isinstance(tasks, ProceduralTasks) else tasks, f"source {name!r}")
    return tasks


def _read(config: Mapping[str, Any] | SourceConfig) -> tuple[str, float, int | None, Mapping[str, Any]]:
    if not isinstance(config, Mapping):
        return config.source, config.weight, config.limit, config.args
    for key in config:
        if key not in ("source", "weight", "limit", "args"):
            raise TaskError(f"{key!r} is no key of a task source{_suggestion(key, ('source', 'weight', 'limit', 'args'))}")
    source = config.get("source")
    if not isinstance(source, str):
        raise TaskError(f"a task source needs `source`, one of {', '.join(sorted(BUILT_IN))}")
    limit = config.get("limit")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise TaskError(f"source {source!r}: limit {limit!r} is not a positive whole number")
    return source, float(config.get("weight", 1.0)), limit, config.get("args") or {}


def _open(name: str, arguments: Mapping[str, Any]) -> Sequence[Task] | TaskSource:
    function = _function(name)
    known = _arguments(function)
    if known is not None:
        unknown = [key for key in arguments if key not in {argument.name for argument in known}]
        missing = [argument.name for argument in known if argument.required and argument.name not in arguments]
        problems = [f"unknown argument {key!r}{_suggestion(key, [argument.name for argument in known])}" for key in unknown]
        problems += [f"argument {key!r} is missing" for key in missing]
        if problems:
            raise TaskError(f"source {name!r}: {'; '.join(problems)}; see `rlvr tasks list`")
    try:
        tasks = cast("object", validate_call(function)(**arguments))
    except ValidationError as error:
        problems = sorted({f"{'.'.join(map(str, part['loc'][:1]))}: {part['msg']}" for part in error.errors()})
        raise TaskError(f"source {name!r}: {'; '.join(problems)}; see `rlvr tasks list`") from None
    if not isinstance(tasks, Sequence | TaskSource):
        raise TaskError(f"source {name!r} gave {type(tasks).__name__}; it must return a sequence of tasks or a TaskSource")
    return cast("Sequence[Task] | TaskSource", tasks)


def _function(name: str) -> SourceFunction:
    if name in BUILT_IN:
        return BUILT_IN[name]
    plug_ins = _plug_ins()
    if name not in plug_ins and ":" not in name:
        known = sorted({*BUILT_IN, *plug_ins})
        raise TaskError(f"no task source {name!r}{_suggestion(name, known)}; or give module:function")
    module, _, attribute = plug_ins.get(name, name).partition(":")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # whatever a plug-in does on import
        raise TaskError(
            f"task source {name!r} cannot be loaded from {module}:{attribute} ({error}); mend it or the name"
        ) from error
    if not callable(function):
        raise TaskError(f"task source {name!r}: {module}:{attribute} is not a function")
    return cast("SourceFunction", function)


def _plug_ins() -> dict[str, str]:
    return {point.name: point.value for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)}


def _info(name: str) -> SourceInfo:
    try:
        function = _function(name)
    except TaskError as error:
        return SourceInfo(name=name, doc=str(error), arguments=())
    doc = (inspect.getdoc(function) or "").strip().splitlines()
    return SourceInfo(name=name, doc=doc[0] if doc else "", arguments=_arguments(function) or ())


def _arguments(function: SourceFunction) -> tuple[Argument, ...] | None:
    """What a source takes, shared options unfolded; None where it takes any keyword."""
    hints = get_type_hints(function, include_extras=True)
    result: list[Argument] = []
    for name, parameter in inspect.signature(function).parameters.items():
        hint = hints.get(name, Any)
        if parameter.kind is parameter.VAR_KEYWORD:
            if get_origin(hint) is not typing_extensions.Unpack:
                return None
            shared = get_type_hints(get_args(hint)[0], include_extras=True)
            result += [_argument(key, item, required=False, default="") for key, item in shared.items()]
        else:
            required = parameter.default is parameter.empty
            result.append(_argument(name, hint, required=required, default="" if required else repr(parameter.default)))
    return tuple(result)


def _argument(name: str, hint: Any, *, required: bool, default: str) -> Argument:
    doc = ""
    if get_origin(hint) is Annotated:
        hint, *notes = get_args(hint)
        doc = next((note.description or "" for note in notes if isinstance(note, FieldInfo)), "")
    text = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint).replace("typing.", "")
    return Argument(name=name, type=text, required=required, default=default, doc=doc)


def _suggestion(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(str(name), known, 1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
