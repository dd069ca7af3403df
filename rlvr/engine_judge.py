"""`judge` with `endpoint: engine`: the engine that samples judges too, with the weights it had before training.

A verdict is one more turn of the rollout: its request joins those that are being sampled, greedily and with the adapter off, and what
comes back is read as a server's reply is. So nothing flows backwards: verifiers know nothing of engines, and the engine sees requests
only. Adapter training alone has such a base; with full fine-tuning the engine says that there is none.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from rlvr.chat_template import ChatFormat
from rlvr.engines.protocol import Generation
from rlvr_verifiers.judge.endpoint import JudgeError, Reply, asked_again, second_try
from rlvr_verifiers.judge.options import ENGINE, options_of
from rlvr_verifiers.judge.verifier import Conversation, conversation
from rlvr_verifiers.types import Completion, Score, Task

Generate = Callable[[tuple[int, ...], int], Awaitable[Generation]]
"""(prompt ids, most tokens) -> what the base says to it, greedily."""


class EngineJudge:
    """Judges in the words of a chat format, with questions that fit into the engine."""

    def __init__(self, chat: ChatFormat, max_model_len: int) -> None:
        self._chat = chat
        self._max_model_len = max_model_len

    def judges(self, task: Task) -> bool:
        return task.verifier == "judge" and task.verifier_args.get("endpoint") == ENGINE

    async def score(self, task: Task, completion: Completion, generate: Generate) -> Score:
        """A verdict that does not come is None, as ever; tokens are counted, and cost nothing.

        Raises VerifierError where the task's options are wrong, which the check of the tasks finds first.
        """
        started = time.perf_counter()
        options = options_of(task)

        async def say(messages: Sequence[Mapping[str, str]]) -> Reply:
            return await self._say(messages, options.max_tokens, generate)

        score = await _verdict(conversation(task, completion, options), say)
        return dataclasses.replace(score, seconds=time.perf_counter() - started)

    async def _say(self, messages: Sequence[Mapping[str, str]], max_tokens: int, generate: Generate) -> Reply:
        ids = self._chat.message_ids(
            [{**message, "content": self._without_marks(message["content"])} for message in messages]
        )
        if len(ids) + max_tokens > self._max_model_len:
            said = f"question and verdict take up to {len(ids) + max_tokens} tokens; raise engine.max_model_len={self._max_model_len}"
            raise JudgeError("judge_refused", said)
        spoken = await generate(ids, max_tokens)
        text = self._chat.plain_text(spoken.token_ids)
        return Reply(text=text, input_tokens=len(ids), output_tokens=len(spoken.token_ids), cached=False)

    def _without_marks(self, text: str) -> str:
        """A completion that spells the template's marks would end the question and speak for the judge."""
        for mark in map(str, self._chat.tokenizer.all_special_tokens):
            text = text.replace(mark, f"{mark[:1]} {mark[1:]}")
        return text


async def _verdict(talk: Conversation, say: Callable[[Sequence[Mapping[str, str]]], Awaitable[Reply]]) -> Score:
    try:
        question = next(talk)
        while True:
            try:
                reply = await say(question.messages)
                if not question.usable(reply.text):
                    reply = second_try(reply, await say(asked_again(question.messages, reply)), question.usable)
            except JudgeError as failure:
                question = talk.throw(failure)
            else:
                question = talk.send(reply)
    except StopIteration as end:
        return end.value
