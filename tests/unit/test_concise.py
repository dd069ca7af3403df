"""`concise`: the rule separates the two answers of every pair, and no topic is on both sides."""

from __future__ import annotations

import pytest

from rlvr_tasks.errors import TaskError
from rlvr_tasks.preferences import unusable_preferences
from rlvr_tasks.registry import load_tasks
from rlvr_tasks.sources.concise import QUESTIONS, rule
from rlvr_tasks.sources.topics import TOPICS
from rlvr_verifiers.scoring import score_now
from rlvr_verifiers.types import Completion, FinishReason, Task


def tasks(**arguments: object) -> list[Task]:
    return list(load_tasks({"source": "concise", "args": arguments}))


def passes(task: Task, text: str, finish_reason: FinishReason = "stop") -> bool:
    return score_now(task, Completion(text=text, finish_reason=finish_reason)).passed


@pytest.mark.parametrize("split", ["train", "eval"])
def test_the_rule_prefers_chosen_in_every_pair(split: str) -> None:
    pairs = tasks(split=split)
    assert unusable_preferences(pairs) == {}
    for task in pairs:
        assert passes(task, task.info["chosen"])
        assert not passes(task, task.info["rejected"])


def test_the_rule_cannot_be_had_for_nothing() -> None:
    task = next(task for task in tasks() if "gravity" in str(task.prompt))
    short = task.info["chosen"]
    assert passes(task, short)
    assert not passes(task, short, "length")
    for text in ("", "Gravity.", "It is a force.", str(task.prompt[0]["content"]), short + " word" * 30):
        assert not passes(task, text)


def test_train_and_eval_share_no_topic_and_seeds_only_reorder() -> None:
    def questions(**arguments: object) -> list[str]:
        return [str(task.prompt[0]["content"]) for task in tasks(**arguments)]

    train, held_out = questions(), questions(split="eval")
    assert len(train) + len(held_out) == len(TOPICS) * len(QUESTIONS)
    assert len(held_out) > 100
    nouns = {t.noun for t in TOPICS if any(q.format(noun=t.noun) in train for q in QUESTIONS)}
    assert not any(q.format(noun=noun) in held_out for noun in nouns for q in QUESTIONS)
    assert questions(seed=1) != train
    assert sorted(questions(seed=1)) == sorted(train)
    assert [t.id for t in tasks(size=10)] == [t.id for t in tasks()][:10]


def test_more_than_there_is_is_refused() -> None:
    with pytest.raises(TaskError, match="concise: size 9999, but the train side has"):
        tasks(size=9999)


def test_the_rule_is_linear() -> None:
    import re
    import time

    pattern = re.compile(rule(TOPICS[0], 30))
    started = time.thread_time()
    for text in ("a" * 100_000, "a " * 50_000, " " * 100_000, "volcano " * 12_000):
        assert pattern.fullmatch(text) is None
    assert time.thread_time() - started < 2
