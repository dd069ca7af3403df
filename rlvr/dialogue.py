"""A rollout in progress: what was sampled and what was shown, token by token, over one turn or several.

Token ids are only ever appended. What the policy sampled is trained on as it was sampled; what a tool returned stands between
the turns with `loss_mask` False and counts neither in the loss nor in any log-prob.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from rlvr.chat_template import ChatFormat
from rlvr.engines.protocol import NO_POLICY, Generation
from rlvr_verifiers.types import Completion, FinishReason, Message, Task


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Dialogue:
    """L = tokens after the prompt so far."""

    task: Task
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...] = ()  # [L]
    logprobs: tuple[float, ...] = ()  # [L] 0 on what was shown
    loss_mask: tuple[bool, ...] = ()  # [L] False on what was shown
    messages: tuple[Message, ...] = ()
    turns: tuple[str, ...] = ()
    """What was sampled, a text for each turn of the policy, special tokens kept."""
    finish_reason: FinishReason = "stop"
    policy_version: int = NO_POLICY


def with_turn(dialogue: Dialogue, generation: Generation, chat: ChatFormat) -> Dialogue:
    """The dialogue with one more turn of the policy."""
    tokens = generation.token_ids
    return dataclasses.replace(
        dialogue,
        token_ids=dialogue.token_ids + tokens,
        logprobs=dialogue.logprobs + generation.logprobs,
        loss_mask=dialogue.loss_mask + (True,) * len(tokens),
        messages=(*dialogue.messages, {"role": "assistant", "content": chat.plain_text(tokens)}),
        turns=(*dialogue.turns, chat.raw_text(tokens)),
        finish_reason=generation.finish_reason,
        policy_version=generation.policy_version,
    )


def with_observation(dialogue: Dialogue, messages: Sequence[Message], observation_ids: Sequence[int]) -> Dialogue:
    """The dialogue with what tools returned, as messages and as the template's tokens for them."""
    return dataclasses.replace(
        dialogue,
        token_ids=dialogue.token_ids + tuple(observation_ids),
        logprobs=dialogue.logprobs + (0.0,) * len(observation_ids),
        loss_mask=dialogue.loss_mask + (False,) * len(observation_ids),
        messages=(*dialogue.messages, *messages),
    )


def completion_of(dialogue: Dialogue) -> Completion:
    """What is scored and trained on. Its last message is the policy's."""
    return Completion(
        text="".join(dialogue.turns),
        messages=dialogue.messages,
        prompt_ids=dialogue.prompt_ids,
        token_ids=dialogue.token_ids,
        sampled_logprobs=dialogue.logprobs,
        loss_mask=dialogue.loss_mask,
        finish_reason=dialogue.finish_reason,
        policy_version=dialogue.policy_version,
    )
