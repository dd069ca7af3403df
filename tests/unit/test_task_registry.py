"""Finding sources, checking their arguments, and opening them as finite sets or endless streams."""

from __future__ import annotations

import importlib.metadata
import json
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from rlvr.config.schema import TasksConfig
from rlvr_tasks import registry
from rlvr_tasks.errors import TaskError
from rlvr_tasks.registry import available, load_tasks, open_stream
from rlvr_tasks.stream import MixStream, TaskStream
from rlvr_verifiers.types import Task

ARITHMETIC = {"source": "arithmetic", "args": {"size": 20}}


def task(number: int) -> Task:
    return Task(id=f"n{number}", prompt=({"role": "user", "content": f"{number}?"},), verifier="math", answer=str(number))


class Endless:
    """A source of its own kind."""

    def __init__(self) -> None:
        self.next = 0

    def __iter__(self) -> Iterator[Task]:
        return self

    def __next__(self) -> Task:
        self.next += 1
        return task(self.next)

    def state(self) -> dict[str, Any]:
        return {"next": self.next}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.next = state["next"]


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("task_plug_in")
    module.finite = lambda count=3: [task(number) for number in range(count)]  # type: ignore[attr-defined]
    module.endless = lambda **options: Endless()  # type: ignore[attr-defined]
    module.wrong = lambda: 5  # type: ignore[attr-defined]
    module.number = 5  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "task_plug_in", module)
    points = importlib.metadata.EntryPoints(
        importlib.metadata.EntryPoint(name, value, "rlvr.tasks")
        for name, value in {"mine": "task_plug_in:finite", "broken": "no_such_module:f"}.items()
    )
    monkeypatch.setattr(registry.importlib.metadata, "entry_points", lambda group: points)
    return module


def test_a_mapping_and_a_config_section_mean_the_same() -> None:
    config = TasksConfig(source="arithmetic", args={"size": 20}, limit=5)
    assert list(load_tasks(config)) == list(load_tasks({**ARITHMETIC, "limit": 5})) == list(load_tasks(ARITHMETIC))[:5]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"source": "arithmetc"}, "no task source 'arithmetc'; did you mean 'arithmetic'"),
        ({}, "needs `source`"),
        ({"source": "arithmetic", "arguments": {}}, "'arguments' is no key of a task source"),
        ({"source": "arithmetic", "limit": 0}, "limit 0"),
        ({"source": "arithmetic", "args": {"digit": 2}}, "unknown argument 'digit'; did you mean 'digits'"),
        ({"source": "arithmetic", "args": {"size": 0, "seed": "x"}}, "seed: .*; size: "),
        (
            {"source": "jsonl", "args": {"pth": "x"}},
            "unknown argument 'pth'; did you mean 'path'.*argument 'path' is missing",
        ),
        ({"source": "jsonl", "args": {"path": "gone.jsonl"}}, "no file gone.jsonl"),
        ({"source": "jsonl", "args": {"path": "x.jsonl", "columns": [1]}}, "columns: "),
        ({"source": "task_plug_in:gone"}, "cannot be loaded"),
        ({"source": "task_plug_in:number"}, "is not a function"),
        ({"source": "task_plug_in:wrong"}, "must return a sequence of tasks or a TaskSource"),
        ({"source": "broken"}, "cannot be loaded from no_such_module:f"),
        ({"source": "task_plug_in:endless"}, "is endless; give it a `limit`"),
    ],
)
@pytest.mark.usefixtures("plug_in")
def test_mistakes_are_named(config: dict[str, Any], words: str) -> None:
    with pytest.raises(TaskError, match=words):
        load_tasks(config)


@pytest.mark.usefixtures("plug_in")
def test_plug_ins_are_found_by_entry_point_and_by_import_path() -> None:
    assert [item.id for item in load_tasks({"source": "mine", "args": {"count": 2}})] == ["n0", "n1"]
    assert len(load_tasks({"source": "task_plug_in:finite"})) == 3
    assert [item.id for item in load_tasks({"source": "task_plug_in:endless", "limit": 2, "args": {"x": 1}})] == ["n1", "n2"]


@pytest.mark.usefixtures("plug_in")
def test_an_endless_source_is_the_stream_itself() -> None:
    stream = open_stream([{"source": "task_plug_in:endless"}], seed=0)
    assert isinstance(stream, Endless)
    mixed = open_stream([{"source": "task_plug_in:endless", "limit": 2}, {"source": "task_plug_in:endless"}], seed=0)
    drawn = [next(mixed).id for _ in range(40)]
    state = json.loads(json.dumps(mixed.state()))
    expected = [next(mixed).id for _ in range(10)]
    mixed.restore(state)
    assert [next(mixed).id for _ in range(10)] == expected
    assert {"n1", "n2", "n9"} <= set(drawn)


def test_golds_that_do_not_parse_are_listed_at_load(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"id": f"row-{n}", "prompt": str(n), "verifier": "math", "answer": "" if n % 2 else "1"} for n in range(30)]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    config = {"source": "jsonl", "args": {"path": str(path)}}
    with pytest.raises(TaskError) as caught:
        load_tasks(config)
    message = str(caught.value)
    assert "15 of 30 tasks have a gold that cannot be judged" in message
    assert "row-1: " in message
    assert message.endswith("... and 5 more")
    assert len(load_tasks(config, check_golds=False)) == 30
    assert len(load_tasks({**config, "limit": 1})) == 1
    with pytest.raises(TaskError, match="cannot be judged"):
        open_stream([config], seed=0)


def test_tasks_without_a_verifier_are_for_sft_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"prompt": "hi", "info": {"demonstration": "hello"}}), encoding="utf-8")
    config = {"source": "jsonl", "args": {"path": str(path)}}
    assert len(load_tasks(config, check_golds=False)) == 1
    with pytest.raises(TaskError, match="no verifier"):
        load_tasks(config)


def test_an_unknown_verifier_is_named_with_a_suggestion(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"prompt": "hi", "verifier": "mth", "answer": "1"}), encoding="utf-8")
    with pytest.raises(TaskError, match="did you mean 'math'"):
        load_tasks({"source": "jsonl", "args": {"path": str(path)}})


def test_one_source_is_a_stream_and_several_are_a_mix_by_weight() -> None:
    assert isinstance(open_stream([ARITHMETIC], 0), TaskStream)
    heavy = {"source": "arithmetic", "weight": 9, "args": {"kinds": "add"}}
    light = {"source": "arithmetic", "weight": 1, "args": {"kinds": "sort"}}
    stream = open_stream([heavy, light], 0)
    assert isinstance(stream, MixStream)
    drawn = [next(stream).data_source for _ in range(1000)]
    assert 850 < drawn.count("arithmetic/add") < 950
    with pytest.raises(TaskError, match="no task sources"):
        open_stream([], 0)


def test_seeds_decide_the_order() -> None:
    first, same, other = (open_stream([ARITHMETIC], seed) for seed in (1, 1, 2))
    order = [next(first).id for _ in range(20)]
    assert order == [next(same).id for _ in range(20)]
    assert order != [next(other).id for _ in range(20)]


def test_a_mix_as_a_finite_set() -> None:
    sources = [{"source": "arithmetic", "weight": 3, "args": {"kinds": kind}} for kind in ("add", "sort")]
    tasks = load_tasks({"source": "mix", "args": {"sources": sources, "size": 100}})
    assert len({item.id for item in tasks}) == 100
    assert {item.data_source for item in tasks} == {"arithmetic/add", "arithmetic/sort"}
    again = load_tasks({"source": "mix", "args": {"sources": sources, "size": 100}})
    assert list(tasks) == list(again)
    assert list(tasks) != list(load_tasks({"source": "mix", "args": {"sources": sources, "size": 100, "seed": 1}}))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sources": []}, "sources: "),
        ({"sources": [{**ARITHMETIC, "weight": 0}]}, "weight 0"),
        ({"sources": [ARITHMETIC], "size": 21}, "ran out after 20 of 21"),
        ({"sources": [ARITHMETIC, ARITHMETIC]}, "is in source"),
    ],
)
def test_a_mix_that_cannot_be_made_says_why(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(TaskError, match=words):
        load_tasks({"source": "mix", "args": arguments})


@pytest.mark.usefixtures("plug_in")
def test_every_source_and_argument_is_documented() -> None:
    infos = {info.name: info for info in available()}
    assert set(infos) == {*registry.BUILT_IN, "broken", "mine"}
    assert "cannot be loaded" in infos["broken"].doc
    assert [argument.name for argument in infos["mine"].arguments] == ["count"]
    for name in registry.BUILT_IN:
        assert infos[name].doc.endswith("."), name
        assert all(argument.doc for argument in infos[name].arguments), name
    assert {argument.name for argument in infos["jsonl"].arguments} >= {"path", "columns", "answer_pattern", "demonstration"}
