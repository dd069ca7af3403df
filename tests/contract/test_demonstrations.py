"""What supervised tasks teach: exactly the assistant's tokens, as the chat template itself marks them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlvr.chat_template import ChatFormat, check_chat_format
from rlvr.demonstrations import cut, demonstration
from rlvr.errors import RlvrError
from rlvr.token_groups import TokenGroup
from rlvr_verifiers.types import Task

CONVERSATION = (
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "What is 10 + 10?"},
    {"role": "assistant", "content": "The answer is 20."},
    {"role": "user", "content": "And 20 + 37?"},
    {"role": "assistant", "content": "Answer: 57"},
)


@pytest.fixture(scope="module")
def chat(tiny_model_dir: Path) -> ChatFormat:
    from transformers import AutoTokenizer, GenerationConfig

    return check_chat_format(AutoTokenizer.from_pretrained(tiny_model_dir), GenerationConfig(eos_token_id=2), where="tiny")


def task(*messages: Any, **info: Any) -> Task:
    return Task(id="7", prompt=messages, verifier="", answer=None, info=info)


def tokens_and_mask(group: TokenGroup) -> tuple[list[int], list[bool]]:
    silent = [False] * len(group.prompt_ids)
    return [*group.prompt_ids, *group.completion_ids[0]], [*silent, *group.loss_masks[0]]


def test_every_assistant_turn_counts_and_nothing_else_does(chat: ChatFormat) -> None:
    tokens, mask = tokens_and_mask(demonstration(task(*CONVERSATION), chat, "all"))
    rendered: Any = chat.tokenizer.apply_chat_template(
        list(CONVERSATION), return_dict=True, return_assistant_tokens_mask=True
    )
    end = len(tokens)  # the template puts a line break after the last turn, which the policy never writes
    assert tokens == rendered["input_ids"][:end]
    assert mask == [bool(mark) for mark in rendered["assistant_masks"][:end]]
    assert chat.raw_text(rendered["input_ids"][end:]) == "\n"


def test_the_last_turn_alone(chat: ChatFormat) -> None:
    group = demonstration(task(*CONVERSATION), chat, "last")
    assert chat.raw_text(group.completion_ids[0]) == "Answer: 57<|im_end|>"
    assert all(group.loss_masks[0])
    assert group.prompt_ids == chat.message_ids(CONVERSATION[:-1])


def test_a_demonstration_answers_the_whole_prompt(chat: ChatFormat) -> None:
    """Assistant turns in such a prompt are examples for the policy, not for its training."""
    group = demonstration(task(*CONVERSATION[:4], demonstration="Answer: 57"), chat, "all")
    assert group == demonstration(task(*CONVERSATION), chat, "last")


@pytest.mark.parametrize(
    "lacking",
    [
        task(*CONVERSATION[:2]),
        task(CONVERSATION[2]),
        task(),
        task(CONVERSATION[1], {"role": "assistant", "content": " "}),
        task(*CONVERSATION, demonstration=""),
    ],
)
def test_nothing_to_learn_is_one_clear_line(chat: ChatFormat, lacking: Task) -> None:
    with pytest.raises(RlvrError, match=r"^sft\.tasks: task 7 has nothing to learn from; give it"):
        demonstration(lacking, chat, "all")


def test_a_template_that_rewrites_old_turns_is_refused(chat: ChatFormat, tiny_model_dir: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, GenerationConfig

    template = str(chat.tokenizer.chat_template).replace(
        "message['content'] + '<|im_end|>' }}{% endgeneration %}",
        "(message['content'] if loop.last else 'forgotten') + '<|im_end|>' }}{% endgeneration %}",
    )
    file = tmp_path / "forgetful.jinja"
    file.write_text(template)
    forgetful = check_chat_format(
        AutoTokenizer.from_pretrained(tiny_model_dir), GenerationConfig(eos_token_id=2), where="tiny", template=file
    )
    with pytest.raises(RlvrError, match=r"task 7: with message 5 the chat template .* set sft\.turns=last"):
        demonstration(task(*CONVERSATION), forgetful, "all")
    assert demonstration(task(*CONVERSATION), forgetful, "last").completion_ids


def test_the_end_is_cut_and_the_prompt_is_not(chat: ChatFormat) -> None:
    whole = demonstration(task(*CONVERSATION), chat, "all")
    prompt = len(whole.prompt_ids)
    shorter = cut(whole, prompt + 5)
    assert (shorter.prompt_ids, shorter.completion_ids[0]) == (whole.prompt_ids, whole.completion_ids[0][:5])
    assert shorter.loss_masks[0] == whole.loss_masks[0][:5]
    assert cut(whole, 1).completion_ids == ((),)
    assert cut(whole, 10_000) is whole


def test_calls_are_learnt_as_the_policy_has_to_write_them(chat: ChatFormat, tiny_model_dir: Path) -> None:
    """Structured calls and the same calls as text teach the same tokens; what the tool returned is not learnt."""
    from transformers import AutoTokenizer, GenerationConfig

    template = Path(__file__).parents[2] / "configs" / "chatml_tools.jinja"
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    tools = check_chat_format(tokenizer, GenerationConfig(eos_token_id=2), where="tiny", template=template)
    text = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    calls = [{"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}]
    rest = ({"role": "tool", "content": "20"}, {"role": "assistant", "content": "Answer: 20"})
    structured = demonstration(task(CONVERSATION[1], {"role": "assistant", "tool_calls": calls}, *rest), tools, "all")
    assert structured == demonstration(task(CONVERSATION[1], {"role": "assistant", "content": text}, *rest), tools, "all")
    learnt = [t for t, counts in zip(structured.completion_ids[0], structured.loss_masks[0], strict=True) if counts]
    assert tools.raw_text(learnt) == f"{text}<|im_end|>Answer: 20<|im_end|>"
    with pytest.raises(RlvrError, match=r"does not show calls of tools \(add\); give a template that can"):
        demonstration(task(CONVERSATION[1], {"role": "assistant", "content": "", "tool_calls": calls}, *rest), chat, "all")
