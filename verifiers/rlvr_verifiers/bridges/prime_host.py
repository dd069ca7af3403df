"""The other end of `prime_process.py`: runs an environment of `verifiers` in an interpreter that has it.

    PYTHON prime_host.py        one JSON object a line in, one out; what the environment prints goes to standard error

    {"load": {"environment", "args", "limit"}}                    -> {"rows": [{id, prompt, answer, info, group}]}
    {"open": {"environment", "args", "index"}}                    -> {"key"}, once all rows up to that one have been read
    {"score": {"environment", "args", "index", "key", "completions"}}  -> {"scores": [{value, metrics}]}
    anything that goes wrong                                      -> {"error": text}

It is run by path, where this package need not be installed: it imports the standard library, `rubric.py` beside it, and verifiers.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import importlib
import importlib.util
import itertools
import json
import os
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            ((verb, question),) = json.loads(line).items()
            answer = {"load": rows, "open": row_key, "score": scores}[verb](**question)
        except BaseException as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def rows(environment: str, args: dict[str, Any], limit: int | None) -> dict[str, Any]:
    opened_environment = opened(environment, json.dumps(args, sort_keys=True))
    return {"rows": [opened_environment.row(index) for index in opened_environment.indices(limit)]}


def row_key(environment: str, args: dict[str, Any], index: int) -> dict[str, Any]:
    return {"key": opened(environment, json.dumps(args, sort_keys=True)).row(index)["key"]}


def scores(environment: str, args: dict[str, Any], index: int, key: str, completions: list[Any]) -> dict[str, Any]:
    opened_environment = opened(environment, json.dumps(args, sort_keys=True))
    if row_key(environment, args, index)["key"] != key:
        raise ValueError(f"load the tasks again: row {index} is not the one that the task was made from, in {environment}")
    return {"scores": asyncio.run(opened_environment.scores(index, completions))}


@functools.cache
def opened(environment: str, args: str) -> Any:
    target = located(environment)
    given: dict[str, Any] = json.loads(args)
    if is_taskset(target):
        return Taskset(made_taskset(target, given))
    if callable(target):
        target = target(**given)
    elif given:
        raise ValueError(f"{environment} takes no arguments")
    return Taskset(target) if is_taskset(type(target)) else Environment(target)


def located(environment: str) -> Any:
    """`file.py:name`, `module:name`, or the name of an installed environment."""
    location, _, attribute = environment.rpartition(":")
    if location.endswith(".py"):
        path = Path(location).resolve()
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
        return getattr(module, attribute)
    if location:
        return getattr(importlib.import_module(location), attribute)
    try:
        loaders = importlib.import_module("verifiers.v1.utils.loaders")
        return loaders.taskset_class(environment)
    except (ImportError, AttributeError, TypeError):  # no version 1 here, or no taskset of it
        return functools.partial(importlib.import_module("verifiers").load_environment, environment)


# -- version 1 --------------------------------------------------------------------------------------------------------


def is_taskset(target: Any) -> bool:
    return isinstance(target, type) and any(
        parent.__name__ == "Taskset" and parent.__module__.startswith("verifiers.") for parent in target.__mro__
    )


def made_taskset(taskset: Any, args: dict[str, Any]) -> Any:
    config = importlib.import_module("verifiers.v1.configs.taskset").TasksetConfig
    found = importlib.import_module("verifiers.v1.utils.generic").concrete_type(taskset, config)
    return taskset((found or config).model_validate(args))


class Taskset:
    """Tasks with their own rewards over a trace. One turn, no tools, no runtime: what needs more is refused."""

    def __init__(self, taskset: Any) -> None:
        self._stream = iter(taskset)
        self._tasks: list[Any] = []

    def indices(self, limit: int | None) -> range:
        self._read(limit)
        return range(len(self._tasks) if limit is None else min(limit, len(self._tasks)))

    def row(self, index: int) -> dict[str, Any]:
        task = self._task(index)
        refuse_what_needs_more(task)
        data = task.data.model_dump(mode="json", exclude_none=True)
        prompt: Any = data.get("prompt")
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt or [])
        if not messages:
            raise ValueError(f"task {index} has no prompt: somebody else opens the conversation, which is no single turn")
        system = [{"role": "system", "content": data["system_prompt"]}] if data.get("system_prompt") else []
        answer: Any = data.get("answer", "")
        return {
            "key": task.key,
            "id": str(data.get("id") or data.get("name") or index),
            "prompt": system + messages,
            "answer": answer if isinstance(answer, str) else json.dumps(answer),
            "group": False,
        }

    async def scores(self, index: int, completions: list[Any]) -> list[dict[str, Any]]:
        return [await self._score(self._task(index), self.row(index)["prompt"], each) for each in completions]

    async def _score(self, task: Any, prompt: list[Any], completion: dict[str, Any]) -> dict[str, Any]:
        trace = trace_of(task, prompt, completion)
        await task.score(trace)
        metrics = {name: value for name, value in trace.metrics.items() if value is not None}
        rewards = {name: reward.score for name, reward in trace.rewards.items() if reward is not None}
        if not rewards:
            raise ValueError(f"{type(task).__name__} gave no reward")
        return {"value": trace.reward, "metrics": {**metrics, **rewards}}

    def _task(self, index: int) -> Any:
        self._read(index + 1)
        return self._tasks[index]

    def _read(self, number: int | None) -> None:
        self._tasks += itertools.islice(self._stream, None if number is None else max(0, number - len(self._tasks)))


def refuse_what_needs_more(task: Any) -> None:
    inspect = importlib.import_module("inspect")
    if task.NEEDS_CONTAINER or task.toolsets(task.config):
        raise ValueError(f"{type(task).__name__} needs tools or a container, and this bridge is for single turns")
    for function in (*task.hooks("reward"), *task.hooks("metric")):
        runtime = inspect.signature(function).parameters.get("runtime")
        if runtime is not None and runtime.default is runtime.empty:
            raise ValueError(f"{function.__name__} of {type(task).__name__} needs a runtime, and this bridge has none")


def trace_of(task: Any, prompt: list[Any], completion: dict[str, Any]) -> Any:
    """The trace that a rollout of one turn leaves."""
    traces = importlib.import_module("verifiers.v1.trace")
    node = importlib.import_module("verifiers.v1.graph").MessageNode
    config = importlib.import_module("verifiers.v1.configs.agent").AgentConfig()
    messages = [*prompt, {"role": "assistant", "content": completion["content"]}]
    last = len(messages) - 1
    return traces.Trace(
        task=traces.TraceTask(type=type(task).__name__, data=task.data, key=task.key, hash=task.hash),
        agent=traces.AgentInfo(config=config),
        state=importlib.import_module("verifiers.v1.state").state_cls(type(task))(),
        nodes=[
            node(parent=place - 1 if place else None, message=message, sampled=place == last)
            for place, message in enumerate(messages)
        ],
        calls=[traces.ModelCall(node=last, finish_reason=completion["finish_reason"])],
        ok=True,
        is_completed=True,
        root_reply=completion["content"],
    )


# -- version 0 --------------------------------------------------------------------------------------------------------


class Environment:
    """A data set and a rubric. One turn: environments with tools or several turns are refused."""

    def __init__(self, environment: Any) -> None:
        if getattr(environment, "max_turns", 1) not in (1, None) or getattr(environment, "tools", None):
            raise ValueError(f"{type(environment).__name__} has several turns or tools, and this bridge is for single turns")
        self._rubric = rubric_module().Rubric.of(environment)
        get = getattr(environment, "get_dataset", None)
        self._rows: Any = get() if callable(get) else environment.dataset

    def indices(self, limit: int | None) -> range:
        return range(len(self._rows) if limit is None else min(limit, len(self._rows)))

    def row(self, index: int) -> dict[str, Any]:
        row = dict(self._rows[index])
        prompt: Any = row.get("prompt") or row.get("question")
        answer: Any = row.get("answer", "")
        plain = json.dumps(row, sort_keys=True, default=str)
        return {
            "key": hashlib.sha256(plain.encode("utf-8", "surrogateescape")).hexdigest(),
            "id": str(row.get("example_id", row.get("id", index))),
            "prompt": [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [dict(each) for each in prompt],
            "answer": answer if isinstance(answer, str) else json.dumps(answer),
            "group": self._rubric.judges_groups,
        }

    async def scores(self, index: int, completions: list[Any]) -> list[dict[str, Any]]:
        rewards = await self._rubric.rewards([self._given(index, each) for each in completions])
        return [{"value": self._rubric.total(each), "metrics": each} for each in rewards]

    def _given(self, index: int, completion: dict[str, Any]) -> dict[str, Any]:
        row, prompt = dict(self._rows[index]), self.row(index)["prompt"]
        said = [{"role": "assistant", "content": completion["content"]}]
        info: dict[str, Any] = row.get("info") or {}
        answer, task = row.get("answer", ""), row.get("task", "default")
        truncated = completion["finish_reason"] == "length"
        state = rubric_module().state_of(prompt, said, answer, info, task, truncated=truncated)
        return {**row, **state, "state": {**row, **state}, "parser": self._rubric.parser}


@functools.cache
def rubric_module() -> Any:
    spec = importlib.util.spec_from_file_location("rlvr_rubric", Path(__file__).with_name("rubric.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["rlvr_rubric"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
