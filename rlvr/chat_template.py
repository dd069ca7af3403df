"""Messages to prompt tokens, and the check that tokenizer, chat template and stop tokens agree.

A template without a generation prompt, or a turn that ends in a token the engine does not stop on, trains and samples
plausible nonsense without any error. So the agreement is checked once, at load, by rendering a probe.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import GenerationConfig, PreTrainedTokenizerBase

from rlvr.errors import RlvrError
from rlvr_verifiers.types import Message, Task

_PROBE = "verifiable reward probe"
_OTHER_TEMPLATE = "give a template that can with model.chat_template, for example configs/chatml_tools.jinja"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ChatFormat:
    """A tokenizer whose template has been checked, and the tokens a turn ends with."""

    tokenizer: PreTrainedTokenizerBase
    turn_end_id: int
    """What the template puts after an assistant's words."""
    stop_ids: tuple[int, ...]
    """Everything generation stops on; holds `turn_end_id`."""
    pad_id: int

    def prompt_ids(self, task: Task) -> tuple[int, ...]:
        """The task's messages, tools included, up to where the assistant starts to write."""
        return self.message_ids(task.prompt, task.tools)

    def message_ids(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> tuple[int, ...]:
        """Raises `RlvrError` where the template leaves tools out: the policy would have to guess their names."""
        text = self._rendered(messages, tools)
        if missing := [name for tool in tools if (name := _tool_name(tool)) not in text]:
            raise RlvrError(
                f"{self.tokenizer.name_or_path}: the chat template does not show the policy its tools ({', '.join(missing)}); "
                f"name them in the prompt, or {_OTHER_TEMPLATE}"
            )
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def observation_ids(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """What the template writes for these messages between the end of an assistant's turn and the start of its next one.

        To be appended to a turn that ended with `turn_end_id`; what the policy sampled is never tokenised again. Text in the
        messages that spells a special token is broken up, or a tool's output could end its own message and speak for others.
        """
        shown = [{**message, "content": self._without_special_tokens(str(message["content"]))} for message in messages]
        ids = self.tokenizer.encode(self._after_a_turn(shown), add_special_tokens=False)
        return tuple(ids[1:])  # without the end of the turn, which was sampled

    def check_observations(self) -> None:
        """Raises `RlvrError` where the template cannot show the policy what a tool returned."""
        text = self._after_a_turn([{"role": "tool", "content": _PROBE}])
        if _PROBE not in text or self.tokenizer.encode(text, add_special_tokens=False)[0] != self.turn_end_id:
            raise RlvrError(
                f"{self.tokenizer.name_or_path}: the chat template drops what a tool returned; {_OTHER_TEMPLATE}"
            )

    def _rendered(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], *, generation_prompt: bool = True
    ) -> str:
        return str(
            self.tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tools=[dict(tool) for tool in tools] or None,
                add_generation_prompt=generation_prompt,
                tokenize=False,
            )
        )

    def _after_a_turn(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """What the template makes of messages behind an assistant's words, up to its next turn; the end of its turn included."""
        spoken = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": _PROBE}]
        conversation = [*spoken, *map(dict, messages)]
        try:
            text = self.tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # the template's own code
            raise RlvrError(
                f"{self.tokenizer.name_or_path}: the chat template cannot show what a tool returned "
                f"({' '.join(str(error).split())}); {_OTHER_TEMPLATE}"
            ) from None
        return str(text).partition(_PROBE)[2]

    def _without_special_tokens(self, content: str) -> str:
        added: Any = self.tokenizer.added_tokens_encoder
        for token in added:
            if token in content:
                content = content.replace(token, f"{token[0]} {token[1:]}")
        return content

    def called_text(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> str:
        """What the policy writes to make the calls of the last message, in the template's own format.

        Raises `RlvrError` where the template shows no calls.
        """
        before = self._rendered(messages[:-1], tools)
        after = self._rendered(messages, tools, generation_prompt=False)
        end = after.rfind(self.raw_text([self.turn_end_id]))
        names = [_tool_name(call) for call in messages[-1]["tool_calls"]]
        if not after.startswith(before) or end < len(before) or any(name not in after[len(before) : end] for name in names):
            raise RlvrError(
                f"{self.tokenizer.name_or_path}: the chat template does not show calls of tools ({', '.join(names)}); {_OTHER_TEMPLATE}"
            )
        return after[len(before) : end]

    def turn_ids(self, content: str) -> tuple[int, ...]:
        """An assistant turn as the policy would have emitted it: the words and the end of the turn."""
        return (*self.tokenizer.encode(content, add_special_tokens=False), self.turn_end_id)

    def raw_text(self, token_ids: Sequence[int]) -> str:
        """Decoded with special tokens kept."""
        return str(self.tokenizer.decode(list(token_ids), skip_special_tokens=False))

    def plain_text(self, token_ids: Sequence[int]) -> str:
        """Decoded as a reader sees it."""
        return str(self.tokenizer.decode(list(token_ids), skip_special_tokens=True))


def check_chat_format(
    tokenizer: PreTrainedTokenizerBase,
    generation: GenerationConfig | None,
    *,
    where: str,
    template: Path | None = None,
    pad_token: str | None = None,
) -> ChatFormat:
    """Checks and returns the chat format; raises `RlvrError` naming `where` (the model) and the remedy."""
    if template is not None:
        try:
            tokenizer.chat_template = template.read_text(encoding="utf-8")
        except OSError as error:
            raise RlvrError(f"model.chat_template: {template} cannot be read: {error.strerror}") from None
    if not tokenizer.chat_template:
        raise RlvrError(
            f"{where}: the tokenizer has no chat template; give one with model.chat_template=FILE.jinja or use an instruct model"
        )
    if tokenizer.eos_token_id is None:
        raise RlvrError(f"{where}: the tokenizer has no eos token; set eos_token in its tokenizer_config.json")
    if pad_token is not None:
        if tokenizer.convert_tokens_to_ids(pad_token) in (None, tokenizer.unk_token_id):
            raise RlvrError(f"model.pad_token: {pad_token!r} is not in the vocabulary of {where}")
        tokenizer.pad_token = pad_token
    if tokenizer.pad_token_id is None:
        raise RlvrError(
            f"{where}: the tokenizer has no pad token; name one with model.pad_token={tokenizer.eos_token} (it is never trained on)"
        )
    turn_end = _turn_end(tokenizer, where)
    stop_ids = _stop_ids(tokenizer, generation)
    if turn_end not in stop_ids:
        raise RlvrError(
            f"{where}: the chat template ends a turn with {tokenizer.convert_ids_to_tokens(turn_end)!r}, but generation stops on "
            f"{tokenizer.convert_ids_to_tokens(list(stop_ids))}; completions would never end. Add {turn_end} to eos_token_id in "
            "generation_config.json, or give the matching template with model.chat_template"
        )
    return ChatFormat(tokenizer=tokenizer, turn_end_id=turn_end, stop_ids=stop_ids, pad_id=_single(tokenizer.pad_token_id))


def _turn_end(tokenizer: PreTrainedTokenizerBase, where: str) -> int:
    """The token after an assistant's words; checks the generation prompt on the way."""
    user = [{"role": "user", "content": "Hi"}]
    try:
        bare = str(tokenizer.apply_chat_template(user, tokenize=False))
        prompt = str(tokenizer.apply_chat_template(user, tokenize=False, add_generation_prompt=True))
        spoken = str(tokenizer.apply_chat_template([*user, {"role": "assistant", "content": _PROBE}], tokenize=False))
    except Exception as error:  # Jinja runs the template's own code: anything can come out of it
        raise RlvrError(f"{where}: the chat template does not render: {' '.join(str(error).split())}") from None
    if prompt == bare:
        raise RlvrError(
            f"{where}: the chat template ignores add_generation_prompt, so the policy would not know it is its turn; "
            "fix the template or give another with model.chat_template"
        )
    _, found, tail = spoken.partition(_PROBE)
    if not found:
        raise RlvrError(f"{where}: the chat template drops the assistant's words; give another with model.chat_template")
    ids = tokenizer.encode(tail, add_special_tokens=False)
    if not ids or ids[0] not in tokenizer.all_special_ids:
        raise RlvrError(
            f"{where}: the chat template ends an assistant turn with {tail!r:.40}, which is not a special token, so the end of "
            "a turn cannot be learnt; fix the template or give another with model.chat_template"
        )
    return int(ids[0])


def _stop_ids(tokenizer: PreTrainedTokenizerBase, generation: GenerationConfig | None) -> tuple[int, ...]:
    configured = generation.eos_token_id if generation is not None else None
    ids = [configured] if isinstance(configured, int) else list(configured or [])
    return tuple(sorted({*map(int, ids), _single(tokenizer.eos_token_id)}))


def _tool_name(tool: Mapping[str, Any]) -> str:
    return str(tool.get("function", tool).get("name", ""))


def _single(token_id: Any) -> int:
    return int(token_id)  # the library's stubs allow lists here, tokenizers have one
