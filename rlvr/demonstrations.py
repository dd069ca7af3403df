"""What a supervised task teaches, as token ids: a prompt, and tokens of which the assistant's count.

A turn is tokenised as the policy would emit it after the generation prompt, so that RL samples from exactly the prefixes that
were trained on. For earlier turns of a conversation this must agree with what the chat template makes of them, which is checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rlvr.chat_template import ChatFormat
from rlvr.errors import RlvrError
from rlvr.token_groups import TokenGroup
from rlvr_verifiers.types import Message, Task

Turns = Literal["all", "last"]


def demonstration(task: Task, chat: ChatFormat, turns: Turns) -> TokenGroup:
    """A group of one. Learnt are `info["demonstration"]` as the answer to the prompt, or the assistant's turns among the messages.

    Raises `RlvrError` where there is nothing to learn, or where the template rewrites earlier turns.
    """
    words = task.info.get("demonstration")
    if isinstance(words, str) and words.strip() and task.prompt:
        return _group(chat.message_ids(task.prompt, task.tools), chat.turn_ids(words), [])
    last = task.prompt[-1] if len(task.prompt) > 1 else {}
    if (
        "demonstration" in task.info
        or last.get("role") != "assistant"
        or not (_words(last).strip() or last.get("tool_calls"))
    ):
        raise RlvrError(
            f"sft.tasks: task {task.id} has nothing to learn from; give it info.demonstration, end its messages with an "
            "assistant turn, or set the source's `demonstration` column"
        )
    taught = [i for i, message in enumerate(task.prompt) if i > 0 and message.get("role") == "assistant"]
    return _conversation(task, chat, taught if turns == "all" else taught[-1:])


def cut(group: TokenGroup, max_tokens: int) -> TokenGroup:
    """The demonstration cut at the end to `max_tokens`; the prompt is never cut."""
    room = max(0, max_tokens - len(group.prompt_ids))
    if len(group.completion_ids[0]) <= room:
        return group
    return TokenGroup(
        prompt_ids=group.prompt_ids,
        completion_ids=(group.completion_ids[0][:room],),
        loss_masks=(group.loss_masks[0][:room],),
    )


def _conversation(task: Task, chat: ChatFormat, taught: Sequence[int]) -> TokenGroup:
    """From the first taught turn on, one completion: what the assistant wrote counts, what was said to it does not."""
    prompt = chat.message_ids(task.prompt[: taught[0]], task.tools)
    tokens: list[int] = []
    silent: list[range] = []
    for i in taught:
        before = chat.message_ids(task.prompt[:i], task.tools)
        known = (*prompt, *tokens)
        if before[: len(known)] != known:
            raise RlvrError(
                f"sft.tasks: task {task.id}: with message {i + 1} the chat template turns what came before into other tokens than the "
                "policy would have written (templates that drop old reasoning do), so the turns cannot be learnt in one sequence; "
                "set sft.turns=last"
            )
        silent.append(range(len(tokens), len(before) - len(prompt)))
        words = (
            chat.called_text(task.prompt[: i + 1], task.tools)
            if task.prompt[i].get("tool_calls")
            else _words(task.prompt[i])
        )
        tokens += [*before[len(known) :], *chat.turn_ids(words)]
    return _group(prompt, tuple(tokens), silent)


def _group(prompt: tuple[int, ...], tokens: tuple[int, ...], silent: Sequence[range]) -> TokenGroup:
    mask = [True] * len(tokens)
    for span in silent:
        mask[span.start : span.stop] = [False] * len(span)
    return TokenGroup(prompt_ids=prompt, completion_ids=(tokens,), loss_masks=(tuple(mask),))


def _words(message: Message) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else ""
