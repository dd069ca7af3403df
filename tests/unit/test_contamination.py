"""Copied questions are found behind templates and spacing; what merely sounds alike is not."""

from __future__ import annotations

from rlvr_tasks.contamination import normalized, overlaps
from rlvr_verifiers.types import Task

WORDS = "a farmer counts seven brown hens beside the old wooden barn and then sells three of them at the market before noon"
NOUNS = ("river", "tower", "garden", "engine", "violin", "harbour", "lantern", "meadow", "compass", "bridge")


def task(name: str, text: str, system: str = "") -> Task:
    before = ({"role": "system", "content": system},) if system else ()
    return Task(id=name, prompt=(*before, {"role": "user", "content": text}), verifier="math", answer="4")


def different(prefix: str, template: str = "{}") -> list[Task]:
    """Ten unrelated questions."""
    questions = [f"How many steps lead from the {noun} to the {noun[::-1]} when the {noun} is closed?" for noun in NOUNS]
    return [task(f"{prefix}{number}", template.format(question)) for number, question in enumerate(questions)]


def test_an_equal_prompt_is_found_despite_case_spacing_and_dollars() -> None:
    (found,) = overlaps([task("t", "What is $2 + 3$ ?")], [task("e", "what  is 2+3?")])
    assert (found.task_id, found.held_out_id, found.exact) == ("t", "e", True)


def test_signs_count_in_an_exact_match() -> None:
    assert not overlaps([task("t", "What is 2 + 3?")], [task("e", "What is 2 - 3?")])


def test_a_copy_behind_another_template_is_found() -> None:
    ours = different("t", "{}\nPut the final answer in \\boxed{{}}.")
    theirs = different("e", "Question: {} Answer:")
    assert [(found.held_out_id, found.exact) for found in overlaps(ours[:8], theirs)] == [(f"e{n}", True) for n in range(8)]


def test_a_long_run_of_words_is_found_and_a_short_one_is_not() -> None:
    long = task("t", f"Listen: {WORDS}. Now guess.")
    (found,) = overlaps([long], [task("e", f"{WORDS}. How many hens are left for him to feed in the evening?")])
    assert not found.exact
    assert 0 < found.share < 1
    short = task("t", " ".join(WORDS.split()[:12]) + " who?")
    assert not overlaps([short], [task("e", WORDS)])
    assert overlaps([short], [task("e", WORDS)], ngram=12)


def test_the_closest_evaluation_task_is_named() -> None:
    theirs = [task("far", f"{WORDS} " + " ".join(NOUNS) * 5), task("near", f"{WORDS} again")]
    (found,) = overlaps([task("t", f"Well, {WORDS} today")], theirs)
    assert found.held_out_id == "near"


def test_a_phrase_of_many_questions_is_no_evidence() -> None:
    theirs = [task(f"e{n}", f"{noun} {WORDS} {noun}") for n, noun in enumerate(NOUNS)]
    assert not overlaps([task("t", f"{WORDS} elsewhere")], theirs)


def test_system_messages_do_not_count() -> None:
    assert not overlaps([task("t", "one?", system=WORDS)], [task("e", "two?", system=WORDS)])


def test_normalisation() -> None:
    assert normalized("\uff37hat\tis  $X^2$?") == ("what", "is", "x", "^", "2", "?")
