"""Environments of PrimeIntellect's `verifiers`, run in another interpreter, are tasks here, with the rewards they give there."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from rlvr_tasks.errors import TaskError
from rlvr_tasks.registry import load_tasks
from rlvr_verifiers import Completion, Score, Task, check_task, score_group_now, score_now
from rlvr_verifiers.bridges.prime_process import HOST
from rlvr_verifiers.pool import VerifierPool
from rlvr_verifiers.registry import resolve
from tests.contract.verifiers_shapes import interpreter

TASKSETS = """
import os, time
import verifiers.v1 as vf

class SumData(vf.TaskData):
    answer: str

def slow_to_load():
    time.sleep(1.5)
    return Sums(SumsConfig(size=1))

class SumTask(vf.Task[SumData]):
    @vf.reward(weight=1.0)
    async def right(self, trace: vf.Trace) -> float:
        text = trace.messages[-1].content
        if text == "stall":
            time.sleep(60)
        if text == "die":
            os._exit(3)
        print("what an environment prints is no answer")
        return float(text.strip() == self.data.answer)

    @vf.reward(weight=0.2)
    async def brief(self, task, trace) -> float:
        return float(len(trace.assistant_messages[-1].content) < 5 and not trace.is_truncated)

    @vf.metric
    async def turns(self, trace: vf.Trace) -> float:
        return float(trace.num_turns)

class SumsConfig(vf.TasksetConfig):
    size: int = 5

class Sums(vf.Taskset[SumTask, SumsConfig]):
    def load(self):
        for n in range(self.config.size):
            yield SumTask(SumData(prompt=f"{n} + {n}?", system_prompt="Answer.", answer=str(2 * n)))

class Slow(Sums):
    def load(self):
        for n in range(60):
            time.sleep(0.04)
            yield SumTask(SumData(prompt=f"{n}?", answer=str(n)))

class ToolTask(SumTask):
    @classmethod
    def toolsets(cls, config):
        return ["a tool server"]

class Tools(vf.Taskset[ToolTask, SumsConfig]):
    def load(self):
        yield ToolTask(SumData(prompt="?", answer="1"))

class BoxTask(vf.Task[SumData]):
    @vf.reward(weight=1.0)
    async def tests_pass(self, trace: vf.Trace, runtime) -> float:
        return 1.0

class Boxes(vf.Taskset[BoxTask, SumsConfig]):
    def load(self):
        yield BoxTask(SumData(prompt="?", answer="1"))
"""

# Version 0 is only attributes and call shapes, so this runs in any interpreter.
VERSION_0 = """
def exact(completion, answer):
    return float(completion[-1]["content"] == answer)

async def brief(completion, info, parser):
    return float(len(completion[-1]["content"]) <= info["limit"] and parser == "p")

def num_turns(state):
    return len(state["trajectory"])

def longest(completions):
    lengths = [len(each[-1]["content"]) for each in completions]
    return [float(length == max(lengths)) for length in lengths]

class Rubric:
    funcs, weights, parser = [exact, brief], [1.0, 0.2], "p"

class Monitor:
    funcs, weights = [num_turns], [0.0]

class Group:
    rubrics = [Rubric(), Monitor()]

class Environment:
    rubric, max_turns = Group(), 1

    def get_dataset(self):
        prompt = [{"role": "system", "content": "Answer."}, {"role": "user", "content": "2 + 2?"}]
        return [{"prompt": prompt, "answer": "4", "info": {"limit": self.limit}, "example_id": 7}]

def load_environment(limit=2, turns=1, ranked=False):
    environment = Environment()
    environment.limit, environment.max_turns = limit, turns
    if ranked:
        environment.rubric = Rubric()
        environment.rubric.funcs, environment.rubric.weights = [exact, longest], [1.0, 0.5]
    return environment
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    return interpreter(tmp_path_factory.mktemp("verifiers"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("environments")
    (folder / "tasksets.py").write_text(TASKSETS)
    (folder / "version_0.py").write_text(VERSION_0)
    return folder


def tasks_of(environment: str, python: str | None = None, size: int | None = None, **args: Any) -> list[Task]:
    given = {"environment": environment, "python": python, "args": args, "size": size}
    return list(load_tasks({"source": "verifiers", "args": {key: value for key, value in given.items() if value}}))


@pytest.fixture(scope="module")
def sums(folder: Path, python: str) -> list[Task]:
    return tasks_of(f"{folder}/tasksets.py:Sums", python, size=3)


def test_a_taskset_is_tasks_with_its_own_rewards(sums: list[Task]) -> None:
    assert [task.id for task in sums] == ["tasksets-0", "tasksets-1", "tasksets-2"]
    assert [message["content"] for message in sums[1].prompt] == ["Answer.", "1 + 1?"]
    assert sums[1].answer == "2"
    assert check_task(sums[1]) is None
    right, wrong = score_now(sums[1], Completion(text="2")), score_now(sums[1], Completion(text="three"))
    assert (right.value, right.passed, dict(right.metrics)) == (
        pytest.approx(1.2), True, {"right": 1.0, "brief": 1.0, "turns": 1.0}
    )  # fmt: skip
    assert (wrong.value, wrong.passed, wrong.reason) == (0.0, False, "mismatch")
    assert score_now(sums[1], Completion(text="2", finish_reason="length")).value == 1.0
    assert not resolve(sums[1].verifier).wants_group(sums[1])


def test_what_needs_more_than_one_turn_is_refused_when_it_is_loaded(folder: Path, python: str) -> None:
    for name, told in (("Tools", "needs tools"), ("Boxes", "needs a runtime")):
        with pytest.raises(TaskError, match=told):
            tasks_of(f"{folder}/tasksets.py:{name}", python)
    with pytest.raises(TaskError, match="single turns"):
        tasks_of(f"{folder}/version_0.py:load_environment", turns=4)


def test_mistakes_are_one_line(folder: Path, python: str, sums: list[Task]) -> None:
    with pytest.raises(TaskError, match="cannot start /nowhere/python"):
        tasks_of("x", "/nowhere/python")
    with pytest.raises(TaskError, match="no attribute 'Nothing'"):
        tasks_of(f"{folder}/tasksets.py:Nothing", python)
    with pytest.raises(TaskError, match="sizes"):
        tasks_of(f"{folder}/tasksets.py:Sums", python, sizes=3)
    moved = dataclasses.replace(sums[0], info={"verifiers": {**sums[0].info["verifiers"], "key": "other"}})
    score = score_now(moved, Completion(text="0"))
    assert (score.value, score.reason) == (None, "verifier_error")
    assert "load the tasks again" in score.explanation
    assert "names no row" in (check_task(dataclasses.replace(sums[0], info={})) or "")


def test_version_0_gives_what_its_functions_give_themselves(folder: Path) -> None:
    (task,) = tasks_of(f"{folder}/version_0.py:load_environment", limit=1)
    assert (task.id, task.answer, task.prompt[1]["content"]) == ("version_0-7", "4", "2 + 2?")
    scope: dict[str, Any] = {}
    exec(compile(VERSION_0, "version_0", "exec"), scope)
    for text in ("4", "5", "four", ""):
        chat = [{"role": "assistant", "content": text}]
        theirs = scope["exact"](chat, "4") + 0.2 * asyncio.run(scope["brief"](chat, {"limit": 1}, "p"))
        score = score_now(task, Completion(text=text))
        assert (score.value, score.metrics["num_turns"]) == (pytest.approx(theirs), 1.0)


def test_version_0_rewards_of_groups_see_the_group(folder: Path) -> None:
    (task,) = tasks_of(f"{folder}/version_0.py:load_environment", ranked=True)
    assert resolve(task.verifier).wants_group(task)
    scores = score_group_now(task, [Completion(text=text) for text in ("4", "four", "5")])
    assert [score.value for score in scores] == [1.0, 0.5, 0.0]


def test_loading_an_environment_is_not_on_the_clock(folder: Path, python: str) -> None:
    (task,) = tasks_of(f"{folder}/tasksets.py:slow_to_load", python)

    async def main() -> Score:
        async with VerifierPool(1, 1.0) as pool:
            return await pool.score(task, Completion(text="0"))

    assert asyncio.run(main()).value == pytest.approx(1.2)


def test_reading_rows_up_to_the_task_s_own_is_not_on_the_clock(folder: Path, python: str) -> None:
    last = tasks_of(f"{folder}/tasksets.py:Slow", python)[59]

    async def main() -> Score:
        async with VerifierPool(1, 1.5) as pool:
            return await pool.score(last, Completion(text=last.answer))

    assert asyncio.run(main()).value == pytest.approx(1.2)


def test_a_host_that_dies_or_stalls_is_replaced_and_leaves_no_process(sums: list[Task]) -> None:
    async def main() -> list[tuple[float | None, str]]:
        async with VerifierPool(1, 90.0) as pool:  # long enough to start the other interpreter twice
            scores = [await pool.score(sums[1], Completion(text=text)) for text in ("die", "2")]
            scores.append(await pool.score(sums[1], Completion(text="stall"), deadline_s=1.0))
            scores.append(await pool.score(sums[1], Completion(text="2")))
        return [(score.value and round(score.value, 9), score.reason) for score in scores]

    assert asyncio.run(main()) == [(0.0, "crash"), (1.2, "ok"), (0.0, "timeout"), (1.2, "ok")]
    until = time.monotonic() + 5
    while (left := hosts_of_workers()) and time.monotonic() < until:
        time.sleep(0.05)
    assert not left


def hosts_of_workers() -> list[str]:
    """Hosts whose parent is not this process: those of workers."""
    listed = subprocess.run(["ps", "-eo", "ppid,args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in listed if str(HOST) in line and line.split()[0] != str(os.getpid())]
