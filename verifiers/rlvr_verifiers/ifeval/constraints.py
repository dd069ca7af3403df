"""The 25 kinds of instruction of IFEval, each a function of the reply and its own arguments, by the names of the public rows.

Each is strict in IFEval's sense: the reply as it is, not with its first line or its asterisks removed. Where ours depart from the
authors' code, they refuse what only looks like compliance, or are the same whenever they are asked:

- keywords, section and postscript markers are texts, where theirs are regular expressions. Characters that show nothing (zero-width
  spaces) hide no word.
- a letter that is none ("#") is counted; theirs counts another one, drawn at random.
- language: theirs guesses by chance and accepts what it cannot guess at ("1 2 3"); see `language.py`.
- placeholders, quotations, postscripts and the answer behind a repeated prompt have to hold something.
- one of the allowed answers may be stated, not two.
- JSON is an object or a list, and strict; fences have to be closed.
- a comma is also one of Arabic, Chinese and Japanese.
- empty paragraphs do not shift the number of the nth.
- words and sentences: see `text.py`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from pydantic import Field

from rlvr_verifiers.code.extract import blocks
from rlvr_verifiers.ifeval.language import SCRIPTS, is_language
from rlvr_verifiers.ifeval.text import capital_words, sentences, visible, words
from rlvr_verifiers.strict_json import JsonError, loads

Relation = Literal["at least", "less than"]
Number = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(min_length=1, pattern=r"\S")]
Texts = Annotated[list[Text], Field(min_length=1)]
Language = Annotated[str, Field(pattern=f"^({'|'.join(SCRIPTS)})$")]

CONSTRAINED = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
COMMAS = frozenset(",،，、﹐､")  # noqa: RUF001


def existence(reply: str, prompt: str, *, keywords: Texts) -> bool:
    text = visible(reply).casefold()
    return all(keyword.casefold() in text for keyword in keywords)


def frequency(reply: str, prompt: str, *, keyword: Text, frequency: Number, relation: Relation) -> bool:
    return _holds(visible(reply).casefold().count(keyword.strip().casefold()), relation, frequency)


def forbidden_words(reply: str, prompt: str, *, forbidden_words: Texts) -> bool:
    text = visible(reply)
    return not any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) for word in forbidden_words)


def letter_frequency(
    reply: str,
    prompt: str,
    *,
    letter: Annotated[str, Field(min_length=1, max_length=1)],
    let_frequency: Number,
    let_relation: Relation,
) -> bool:
    return _holds(Counter(reply.lower())[letter.lower()], let_relation, let_frequency)


def response_language(reply: str, prompt: str, *, language: Language) -> bool:
    return is_language(reply, language)


def number_sentences(reply: str, prompt: str, *, num_sentences: Number, relation: Relation) -> bool:
    return _holds(sentences(reply), relation, num_sentences)


def number_paragraphs(reply: str, prompt: str, *, num_paragraphs: Positive) -> bool:
    """Divided by `***`; a divider at the start or end opens no paragraph."""
    parts = [part.strip() for part in reply.split("***")]
    inner = parts[not parts[0] : len(parts) - (len(parts) > 1 and not parts[-1])]
    return all(inner) and len(inner) == num_paragraphs


def number_words(reply: str, prompt: str, *, num_words: Number, relation: Relation) -> bool:
    return _holds(len(words(reply)), relation, num_words)


def nth_paragraph_first_word(
    reply: str, prompt: str, *, num_paragraphs: Positive, nth_paragraph: Positive, first_word: Text
) -> bool:
    """Divided by empty lines. The word is read up to its first punctuation."""
    paragraphs = [part for part in reply.split("\n\n") if part.strip()]
    if len(paragraphs) != num_paragraphs or nth_paragraph > num_paragraphs:
        return False
    word = paragraphs[nth_paragraph - 1].split(maxsplit=1)[0].lstrip("'").lstrip('"')
    return re.split(r"[.,?!'\"]", word, maxsplit=1)[0].lower() == first_word.strip().lower()


def number_placeholders(reply: str, prompt: str, *, num_placeholders: Number) -> bool:
    """Such as [address]; with something between the brackets, which stand on one line."""
    return sum(bool(inner.strip()) for inner in re.findall(r"\[([^\[\]\n]*)\]", reply)) >= num_placeholders


def postscript(reply: str, prompt: str, *, postscript_marker: Text) -> bool:
    marker = {"P.S.": r"p\.\s?s\.", "P.P.S": r"p\.\s?p\.\s?s"}.get(postscript_marker.strip())
    return re.search((marker or re.escape(postscript_marker.strip().lower())) + r"\W{0,10}\w", reply.lower()) is not None


def number_bullet_lists(reply: str, prompt: str, *, num_bullets: Number) -> bool:
    """Lines that begin with a dash, or with one asterisk and not two."""
    lines = [line.lstrip() for line in reply.split("\n")]
    return sum(line.startswith("-") or (line[:1] == "*" and line[1:2] not in ("", "*")) for line in lines) == num_bullets


def constrained_response(reply: str, prompt: str) -> bool:
    return sum(option in reply for option in CONSTRAINED) == 1


def number_highlighted_sections(reply: str, prompt: str, *, num_highlights: Number) -> bool:
    """Such as *this* or **this**, on one line."""
    single = re.findall(r"\*([^\n*]*)\*", reply)
    double = re.findall(r"\*\*([^\n*]*)\*\*", reply)
    return sum(bool(inner.strip()) for inner in (*single, *double)) >= num_highlights


def multiple_sections(reply: str, prompt: str, *, section_spliter: Text, num_sections: Number) -> bool:
    """Headed by the word and a number; the public rows spell the argument so."""
    return len(re.findall(re.escape(section_spliter.strip()) + r"\s?\d+", reply)) >= num_sections


def json_format(reply: str, prompt: str) -> bool:
    text = reply.strip()
    found = blocks(text) if text.startswith("```") else []
    if found:
        whole = len(found) == 1 and found[0].closed and text.endswith("```") and found[0].language in ("", "json")
        text = found[0].source.strip() if whole else ""
    try:
        return isinstance(loads(text), dict | list)
    except JsonError:
        return False


def title(reply: str, prompt: str) -> bool:
    """Such as <<poem of joy>>, on one line."""
    lines = [line for line in reply.split("\n") if "<<" in line]
    return any(line[line.find("<<") : max(line.rfind(">>"), 0)].strip("<> \t") for line in lines)


def two_responses(reply: str, prompt: str) -> bool:
    parts = [part.strip() for part in reply.split("******")]
    inner = parts[not parts[0] : len(parts) - (len(parts) > 1 and not parts[-1])]
    return len(inner) == 2 and all(inner) and inner[0] != inner[1]


def repeat_prompt(reply: str, prompt: str, *, prompt_to_repeat: Text) -> bool:
    """With an answer behind it that is not the rest of the prompt."""
    text, wanted = reply.strip().lower(), prompt_to_repeat.strip().lower()
    answer = text[len(wanted) :].strip()
    return text.startswith(wanted) and bool(answer) and answer not in prompt.lower()


def end_checker(reply: str, prompt: str, *, end_phrase: Text) -> bool:
    return reply.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def capital_word_frequency(reply: str, prompt: str, *, capital_frequency: Number, capital_relation: Relation) -> bool:
    return _holds(capital_words(reply), capital_relation, capital_frequency)


def english_capital(reply: str, prompt: str) -> bool:
    return reply.isupper() and is_language(reply, "en")


def english_lowercase(reply: str, prompt: str) -> bool:
    return reply.islower() and is_language(reply, "en")


def no_comma(reply: str, prompt: str) -> bool:
    return COMMAS.isdisjoint(reply)


def quotation(reply: str, prompt: str) -> bool:
    text = reply.strip()
    return text[:1] == text[-1:] == '"' and bool(text.strip('"').strip())


CONSTRAINTS: Mapping[str, Callable[..., bool]] = {
    "keywords:existence": existence,
    "keywords:frequency": frequency,
    "keywords:forbidden_words": forbidden_words,
    "keywords:letter_frequency": letter_frequency,
    "language:response_language": response_language,
    "length_constraints:number_sentences": number_sentences,
    "length_constraints:number_paragraphs": number_paragraphs,
    "length_constraints:number_words": number_words,
    "length_constraints:nth_paragraph_first_word": nth_paragraph_first_word,
    "detectable_content:number_placeholders": number_placeholders,
    "detectable_content:postscript": postscript,
    "detectable_format:number_bullet_lists": number_bullet_lists,
    "detectable_format:constrained_response": constrained_response,
    "detectable_format:number_highlighted_sections": number_highlighted_sections,
    "detectable_format:multiple_sections": multiple_sections,
    "detectable_format:json_format": json_format,
    "detectable_format:title": title,
    "combination:two_responses": two_responses,
    "combination:repeat_prompt": repeat_prompt,
    "startend:end_checker": end_checker,
    "startend:quotation": quotation,
    "change_case:capital_word_frequency": capital_word_frequency,
    "change_case:english_capital": english_capital,
    "change_case:english_lowercase": english_lowercase,
    "punctuation:no_comma": no_comma,
}
"""Instruction id to whether a reply to a prompt follows it."""


def _holds(found: int, relation: str, wanted: int) -> bool:
    return found >= wanted if relation == "at least" else found < wanted
