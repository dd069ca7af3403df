"""A subjective preference made by a rule, so that its outcome can be measured: short answers are preferred to long-winded ones.

Every task is a question about an everyday topic with two answers that state the same fact: a sentence (`chosen`), and the same sentence in
the middle of politeness and padding (`rejected`). The verifier is the rule itself: an answer passes where it names the topic, has between
3 and `max_words` words, does not repeat the question, and was ended by the policy. Train and eval share no topic, whatever the arguments.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from rlvr_tasks.errors import TaskError
from rlvr_tasks.procedural import ProceduralTasks, Side, side_of
from rlvr_tasks.sources.topics import TOPICS, Topic
from rlvr_verifiers.types import Task

EVAL_SHARE = 0.3
"""Share of all topics that is held out."""
FEWEST_WORDS = 3

QUESTIONS = (
    "What is {noun}?",
    "Explain what {noun} is.",
    "Can you tell me what {noun} is?",
    "How would you define {noun}?",
    "I want to know what {noun} is.",
    "Describe {noun}.",
)
OPENINGS = (
    "That is a great question, and I am happy to help you with it!",
    "Thank you for asking. There is quite a lot to say here.",
    "Certainly! Before we begin, let us think about the question itself.",
    "Of course! This is a topic that many people are curious about.",
)
PADDING = (
    "In other words, when people speak of {noun}, this is what they usually have in mind.",
    "It is important to note that there are many aspects to consider here, and each of them is interesting.",
    "There is of course much more that could be said about {noun}, because it matters in many ways.",
    "To put it differently, {noun} can be understood in this way, although other explanations are possible.",
)
CLOSINGS = (
    "In conclusion, I hope that this helps. Please feel free to ask if you have any further questions!",
    "To sum up, that is the main thing to know about {noun}. Let me know if you would like to hear more!",
    "Overall, {noun} is a fascinating subject, and there is always more to learn about it.",
)


def concise(
    size: Annotated[int | None, Field(ge=1, description="number of tasks; by default all that there are")] = None,
    split: Annotated[Literal["train", "eval"], Field(description="train or eval; no topic is in both")] = "train",
    seed: Annotated[int, Field(description="another order, and other padding")] = 0,
    max_words: Annotated[int, Field(ge=FEWEST_WORDS, le=200, description="an answer of more words does not pass")] = 30,
) -> Sequence[Task]:
    """Questions with a short and a long-winded answer: pairs for preferences, and a verifier of the rule behind them."""
    drawn = [(topic, question) for topic in TOPICS if _side(topic) == split for question in QUESTIONS]
    random.Random(f"concise/{split}/{seed}").shuffle(drawn)
    if size is not None and size > len(drawn):
        raise TaskError(f"concise: size {size}, but the {split} side has {len(drawn)} questions; lower size")

    def make(index: int) -> Task:
        topic, question = drawn[index]
        text = question.format(noun=topic.noun)
        short = brief_answer(topic)
        return Task(
            id=f"concise-{hashlib.sha256(text.encode()).hexdigest()[:12]}",
            prompt=({"role": "user", "content": text},),
            verifier="regex",
            answer=rule(topic, max_words),
            verifier_args={"ignore_case": True, "reject": [re.escape(text)]},
            data_source="concise",
            ability="style",
            split=split,
            info={"chosen": short, "rejected": wordy_answer(topic, seed, question), "demonstration": short},
        )

    return ProceduralTasks(make, range(len(drawn) if size is None else size))


def rule(topic: Topic, max_words: int) -> str:
    """A regular expression that a short answer about the topic matches as a whole; linear in the answer's length."""
    return rf"(?=[\s\S]*\b{topic.word})(?:\S+\s+){{{FEWEST_WORDS - 1},{max_words - 1}}}\S+"


def brief_answer(topic: Topic) -> str:
    return f"{_capital(topic.noun)} is {topic.fact}."


def wordy_answer(topic: Topic, seed: int, question: str) -> str:
    choose = random.Random(f"{seed}/{question}/{topic.noun}")
    parts = [choose.choice(OPENINGS), brief_answer(topic), choose.choice(PADDING), choose.choice(CLOSINGS)]
    return " ".join(part.format(noun=topic.noun) for part in parts)


def _side(topic: Topic) -> Side:
    return side_of(hashlib.sha256(topic.noun.encode()).hexdigest(), EVAL_SHARE)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
