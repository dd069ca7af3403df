"""Sampling with transformers: slow, plain, and the numerical reference for the other engines.

It shares the learner's frozen base but keeps its own copy of the trained adapter, so that a hand-over means the same here as
elsewhere: until `load_policy` the engine samples from the old weights. With full fine-tuning there is no second model: the
engine samples from the learner's own weights, and a hand-over only counts the version.

A draw is exact and depends only on the request and the weights: each request has a random generator of its own, and the token
is the argmax of log-prob plus Gumbel noise, which is a sample from the distribution (Gumbel, 1954). In float32 the rows it shares
a batch with change nothing that matters; in bfloat16 rounding can.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Literal

import torch
from peft import PeftModel
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from rlvr.config.schema import EngineConfig
from rlvr.engines.feed import RequestFeed
from rlvr.engines.protocol import NO_POLICY, Generation, GenerationRequest, PolicySnapshot
from rlvr.engines.requests import check_requests, check_sequences
from rlvr.errors import RlvrError
from rlvr.policy import ADAPTER, Policy, check_adapter_fits, lora_strength, read_adapter

SAMPLER = "sampler"
Weights = Literal["policy", "base"]


class HfEngine:
    def __init__(self, policy: Policy, config: EngineConfig) -> None:
        self.policy_version = NO_POLICY
        self._policy = policy
        self._config = config
        self._closed = False
        if isinstance(policy.model, PeftModel):
            policy.model.add_adapter(SAMPLER, policy.model.peft_config[ADAPTER], autocast_adapter_dtype=False)
            for name, parameter in policy.model.named_parameters():
                if f".{SAMPLER}." in name:
                    parameter.requires_grad_(False)
                    parameter.data = parameter.data.to(policy.trainable_dtype)
            policy.model.set_adapter(ADAPTER)

    async def generate(self, requests: Sequence[GenerationRequest] | RequestFeed) -> AsyncIterator[Generation]:
        """Yields generations batch by batch; what a feed brings meanwhile waits for the next batch.

        Raises `RlvrError` on an impossible request before sampling any that came with it.
        """
        feed = requests if isinstance(requests, RequestFeed) else RequestFeed(requests, closed=True)
        self._check_usable()
        waiting: list[GenerationRequest] = []
        while waiting or await feed.more():
            waiting += self._checked(feed.take())
            batch, waiting = self._next_batch(waiting)
            for generation in self._sample(batch):
                yield generation
            await asyncio.sleep(0)  # scores of this batch arrive while the next is sampled

    async def load_policy(self, snapshot: PolicySnapshot) -> None:
        """Copies the snapshot's adapter; raises `RlvrError` where it does not fit."""
        self._check_usable()
        model = self._policy.model
        if snapshot.kind != self._policy.kind:
            raise RlvrError(
                f"policy {snapshot.version} is of kind {snapshot.kind}, but the engine holds {self._policy.kind}"
            )
        if isinstance(model, PeftModel):
            tensors = read_adapter(snapshot.path)
            expected = get_peft_model_state_dict(model, adapter_name=SAMPLER, save_embedding_layers=False)
            check_adapter_fits(tensors, expected, snapshot.path, lora_strength(model, SAMPLER))
            set_peft_model_state_dict(model, tensors, adapter_name=SAMPLER)
        self.policy_version = snapshot.version

    async def score_tokens(self, sequences: Sequence[Sequence[int]], weights: Weights) -> list[list[float]]:
        """log p(token t | tokens < t) for t = 1 .. T-1 of each sequence, at temperature 1, one plain row at a time."""
        self._check_usable()
        check_sequences(sequences, max_model_len=self._config.max_model_len)
        with torch.no_grad(), self._using(weights):
            return [self._row_logprobs(sequence) for sequence in sequences]

    async def sleep(self) -> None:
        """Nothing of its own to free: the base is the learner's."""

    async def wake(self) -> None: ...

    def close(self) -> None:
        if not self._closed and isinstance(self._policy.model, PeftModel):
            self._policy.model.delete_adapter(SAMPLER)
            self._policy.model.set_adapter(ADAPTER)
        self._closed = True

    def _check_usable(self) -> None:
        if self._closed:
            raise RlvrError("the hf engine is closed; make a new one")

    @contextlib.contextmanager
    def _using(self, weights: Weights) -> Iterator[None]:
        """The engine's own weights for the time of the block; the learner's adapter is active again afterwards.

        In evaluation mode: in training mode gradient checkpointing drops the key/value cache, and `generate` would go on with
        the last token as the only context.
        """
        model = self._policy.model
        training = model.training
        model.eval()
        try:
            with self._switched_to(weights):
                yield
        finally:
            model.train(training)

    @contextlib.contextmanager
    def _switched_to(self, weights: Weights) -> Iterator[None]:
        model = self._policy.model
        if not isinstance(model, PeftModel):
            if weights == "base" and self.policy_version > 0:
                raise RlvrError("full fine-tuning has changed the base; sample the base before the first update")
            yield
        elif weights == "base":
            with model.disable_adapter():
                yield
        else:
            model.set_adapter(SAMPLER)
            try:
                yield
            finally:
                model.set_adapter(ADAPTER)

    def _checked(self, requests: list[GenerationRequest]) -> list[GenerationRequest]:
        check_requests(requests, max_model_len=self._config.max_model_len, policy_loaded=self.policy_version != NO_POLICY)
        return requests

    def _next_batch(self, waiting: Sequence[GenerationRequest]) -> tuple[list[GenerationRequest], list[GenerationRequest]]:
        """Requests that one call can serve, prompts of like length together; and the rest."""
        first = min(waiting, key=_kind)
        alike = sorted((r for r in waiting if _kind(r) == _kind(first)), key=lambda r: (len(r.prompt_ids), r.index))
        batch = alike[: self._config.max_sequences]
        taken = {id(request) for request in batch}
        return batch, [request for request in waiting if id(request) not in taken]

    @torch.no_grad()
    def _sample(self, batch: Sequence[GenerationRequest]) -> list[Generation]:
        chat, device = self._policy.chat, self._policy.device
        longest = max(len(request.prompt_ids) for request in batch)
        rows = [[chat.pad_id] * (longest - len(r.prompt_ids)) + list(r.prompt_ids) for r in batch]
        mask = [[0] * (longest - len(r.prompt_ids)) + [1] * len(r.prompt_ids) for r in batch]
        drawing = _Draw([request.seed for request in batch], batch[0].temperature)
        with self._using(batch[0].weights):
            generate: Any = self._policy.model.generate
            output = generate(
                input_ids=torch.tensor(rows, device=device),
                attention_mask=torch.tensor(mask, device=device),
                generation_config=GenerationConfig(
                    do_sample=False,
                    max_new_tokens=max(request.max_tokens for request in batch),
                    eos_token_id=list(chat.stop_ids),
                    pad_token_id=chat.pad_id,
                    use_cache=True,
                ),
                logits_processor=LogitsProcessorList([drawing]),
            )
        logprobs = torch.stack(drawing.logprobs, dim=1).tolist()  # [B, L]
        version = self.policy_version if batch[0].weights == "policy" else NO_POLICY
        return [
            _generation(request, tokens, logprobs[row], chat.stop_ids, version)
            for row, (request, tokens) in enumerate(zip(batch, output[:, longest:].tolist(), strict=True))
        ]

    def _row_logprobs(self, sequence: Sequence[int]) -> list[float]:
        ids = torch.tensor([list(sequence)], device=self._policy.device)
        logits = self._policy.model(input_ids=ids, use_cache=False).logits[0, :-1].float()
        return logits.log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0].tolist()


def _kind(request: GenerationRequest) -> tuple[str, float]:
    return request.weights, request.temperature


class _Draw(LogitsProcessor):
    """Replaces scores by a choice already made, so that greedy decoding carries it out; keeps the choice's log-prob."""

    def __init__(self, seeds: Sequence[int], temperature: float) -> None:
        self.logprobs: list[torch.Tensor] = []  # one [B] a step
        self._generators = [torch.Generator().manual_seed(seed % 2**63) for seed in seeds]
        self._temperature = temperature

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        logprobs = (scores.float() / (self._temperature or 1.0)).log_softmax(-1)  # [B, V]
        chosen = logprobs if self._temperature == 0 else logprobs + self._gumbel(logprobs)
        tokens = chosen.argmax(-1, keepdim=True)
        self.logprobs.append(logprobs.gather(-1, tokens)[:, 0])
        return torch.full_like(scores, -torch.inf).scatter_(-1, tokens, 0.0)  # type: ignore[return-value]

    def _gumbel(self, logprobs: torch.Tensor) -> torch.Tensor:
        rows = [torch.empty(logprobs.shape[-1]).exponential_(generator=generator) for generator in self._generators]
        return -torch.stack(rows).log().to(logprobs.device)


def _generation(
    request: GenerationRequest, tokens: list[int], logprobs: list[float], stop_ids: Sequence[int], version: int
) -> Generation:
    """Cuts the row after its end-of-turn token, or at its own limit where others of the batch may be longer."""
    tokens = tokens[: request.max_tokens]
    length = next((j + 1 for j, token in enumerate(tokens) if token in stop_ids), len(tokens))
    stopped = tokens[length - 1] in stop_ids
    return Generation(
        index=request.index,
        token_ids=tuple(tokens[:length]),
        logprobs=tuple(logprobs[:length]),
        finish_reason="stop" if stopped else "length",
        policy_version=version,
    )
