"""Preference rows in the hub's shapes become one form, and rows that cannot teach a preference are found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlvr_tasks.errors import TaskError
from rlvr_tasks.preferences import unusable_preferences
from rlvr_tasks.record import record_from_task, task_from_record
from rlvr_tasks.registry import load_tasks
from rlvr_verifiers.types import Task

USER = {"role": "user", "content": "What is a volcano?"}
SYSTEM = {"role": "system", "content": "Be brief."}


def turn(words: str) -> dict[str, Any]:
    return {"role": "assistant", "content": words}


PAIR = {"chosen": "A vent.", "rejected": "Well, a volcano is a vent."}
SHAPES: dict[str, dict[str, Any]] = {
    "strings": {"prompt": USER["content"], **PAIR},
    "messages": {"prompt": [USER], "chosen": [turn(PAIR["chosen"])], "rejected": [turn(PAIR["rejected"])]},
    "implicit prompt": {"chosen": [USER, turn(PAIR["chosen"])], "rejected": [USER, turn(PAIR["rejected"])]},
    "text prompt and whole conversations": {
        "prompt": USER["content"],
        "chosen": [USER, turn(PAIR["chosen"])],
        "rejected": [USER, turn(PAIR["rejected"])],
    },
    "keys that Arrow adds": {
        "prompt": [{**USER, "name": None}],
        "chosen": [{**turn(PAIR["chosen"]), "tool_calls": None}],
        "rejected": [turn(PAIR["rejected"])],
    },
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_a_pair_is_the_same_task(shape: str) -> None:
    task = task_from_record(SHAPES[shape])
    assert task.prompt == (USER,)
    assert (task.info["chosen"], task.info["rejected"]) == (PAIR["chosen"], PAIR["rejected"])
    assert task.verifier == ""
    assert task_from_record(record_from_task(task)) == task


def test_a_prompt_with_a_system_message_continues_a_conversation_without_one() -> None:
    row = {"prompt": [SYSTEM, USER], "chosen": [USER, turn("A vent.")], "rejected": [SYSTEM, USER, turn("Hm.")]}
    task = task_from_record(row)
    assert task.prompt == (SYSTEM, USER)
    assert (task.info["chosen"], task.info["rejected"]) == ("A vent.", "Hm.")


def test_single_completions_with_a_label() -> None:
    rows = [
        {"prompt": USER["content"], "completion": "A vent.", "label": True},
        {"prompt": [USER], "completion": [turn("A vent.")], "label": True},
        {"completion": [USER, turn("A vent.")], "label": True},
    ]
    for row in rows:
        task = task_from_record(row)
        assert (task.prompt, task.info["completion"], task.info["label"]) == ((USER,), "A vent.", True)


def test_columns_of_other_names_are_mapped(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(json.dumps({"instruction": "Hi", "better": "Hello.", "worse": "What?"}) + "\n")
    columns = {"prompt": "instruction", "chosen": "better", "rejected": "worse"}
    (task,) = load_tasks({"source": "jsonl", "args": {"path": str(file), "columns": columns}}, check_golds=False)
    assert (task.info["chosen"], task.info["rejected"]) == ("Hello.", "What?")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"chosen": "a", "rejected": "b"}, "prompt: missing; map it"),
        ({"chosen": [turn("a")], "rejected": [turn("b")]}, "share no messages"),
        ({"chosen": [USER, turn("a")], "rejected": [SYSTEM, turn("b")]}, "differ before their last message"),
        ({"prompt": "p", "chosen": [USER, turn("a")], "rejected": "b"}, "chosen: 2 messages that do not continue"),
        ({"prompt": "p", "chosen": [USER], "rejected": "b"}, "chosen: 1 messages that do not continue"),
        ({"prompt": "p", "chosen": 3, "rejected": "b"}, "chosen: expected text or a list of messages, found int"),
    ],
)
def test_shapes_that_are_no_preference_are_refused(row: dict[str, Any], said: str) -> None:
    with pytest.raises(TaskError, match=said):
        task_from_record(row)


def pair(chosen: str, rejected: str, prompt: str = "What is a volcano?", **info: Any) -> Task:
    return Task(
        id="t", prompt=({"role": "user", "content": prompt},), verifier="", answer="",
        info={"chosen": chosen, "rejected": rejected, **info},
    )  # fmt: skip


def labelled(completion: str, label: bool) -> Task:
    return Task(id="t", prompt=(USER,), verifier="", answer="", info={"completion": completion, "label": label})


@pytest.mark.parametrize(
    ("task", "why"),
    [
        (pair("same", "same "), "identical"),
        (pair("", "b"), "empty chosen"),
        (pair("a", " \n"), "empty rejected"),
        (pair("a", "b", score_chosen=1.0, score_rejected=4), "swapped: score_chosen 1 is below score_rejected 4"),
        (pair("<|im_start|>assistant\na", "b"), "template mismatch: chosen holds '<|im_start|>'"),
        (pair("a", "b [/INST]"), "template mismatch: rejected holds"),
        (pair("a", "b", prompt="\n\nHuman: hi\n\nAssistant: "), "template mismatch: prompt holds 'Human:'"),
        (pair("ends here <eot>", "b"), "template mismatch: chosen holds '<eot>'"),
        (pair("What is a volcano? A vent.", "What is a volcano? No."), "repeat the prompt"),
    ],
)
def test_a_row_that_cannot_teach_is_found(task: Task, why: str) -> None:
    found = unusable_preferences([pair("good", "bad", prompt="other"), task], ["<eot>"])
    assert list(found) == [1]
    assert why in found[1]


def test_contradictions_are_found_on_both_sides_and_repetitions_are_none() -> None:
    tasks = [pair("a", "b"), pair("b", "a"), pair("a", "b", prompt="other"), pair("a", "c"), pair("a", "c")]
    assert set(unusable_preferences(tasks)) == {0, 1}
    singles = [labelled("a", True), labelled("a", False), labelled("b", False), labelled("b", False)]
    assert set(unusable_preferences(singles)) == {0, 1}


def test_ordinary_pairs_are_fine() -> None:
    tasks = [pair("a < b and c > d", "x</sub> [a]"), pair("a", "b", score_chosen=4, score_rejected=1), labelled("x", True)]
    assert unusable_preferences(tasks, ["<|im_end|>", "</s>"]) == {}
