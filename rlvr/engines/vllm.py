"""vLLM in this process, on CUDA or CPU: the engine that rollouts normally come from.

The V1 engine is stepped by hand, in the caller's thread: each generation is handed over as it finishes, and between two steps
the event loop has its turn. A LoRA policy is handed over as an adapter and never merged; a full policy
replaces every weight in place. After either, the prefix cache is dropped: its keys name an adapter, not the adapter's
contents, and a prompt would otherwise continue from keys and values that the old weights computed.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rlvr.config.schema import EngineConfig
from rlvr.engines import vllm_environment
from rlvr.engines.feed import RequestFeed
from rlvr.engines.lora_room import room_for
from rlvr.engines.protocol import NO_POLICY, Generation, GenerationRequest, PolicySnapshot
from rlvr.engines.requests import check_requests, check_sequences
from rlvr.errors import RlvrError

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.lora.request import LoRARequest
    from vllm.outputs import RequestOutput

Weights = Literal["policy", "base"]

ADAPTER_NAME = "policy"
ADAPTER_ID = 1


class VllmEngine:
    """`max_lora_rank` None: no adapters, the policy is all the weights (kind `full`).

    `target_modules` is `adapter.target_modules`: other layers, the LM head above all, get no room for an adapter and lose no
    time on one.
    """

    def __init__(
        self,
        model_path: Path | str,
        config: EngineConfig,
        *,
        dtype: str,
        max_lora_rank: int | None,
        eos_token_ids: Sequence[int],
        seed: int,
        target_modules: Literal["all-linear"] | Sequence[str] = "all-linear",
        revision: str | None = None,
    ) -> None:
        if not eos_token_ids:
            raise RlvrError(f"{model_path}: no end-of-turn token is known, so sampling would never stop; set eos_token_id")
        self.policy_version = NO_POLICY
        self._config = config
        self._lora_rank = max_lora_rank
        self._stop_ids = sorted(set(eos_token_ids))
        self._adapter: LoRARequest | None = None
        self._ids = itertools.count()
        self._turn = asyncio.Lock()  # a step's outputs belong to one caller
        self._llm: Any = None  # vllm.v1.engine.llm_engine.LLMEngine
        self._failure: str | None = None
        self._asleep = False
        self._closed = False
        self._lora_modules: list[str] = []
        adapters: vllm_environment.AdapterRoom | None = None
        if max_lora_rank is not None:
            self._lora_modules = list(target_modules)
            if target_modules == "all-linear":
                self._lora_modules = vllm_environment.linear_layer_names(model_path, revision)
            adapters = vllm_environment.AdapterRoom(room_for(max_lora_rank), self._lora_modules)
        self._on_cuda, self._llm = vllm_environment.start(
            model_path, config, dtype=dtype, adapters=adapters, seed=seed, revision=revision
        )

    async def generate(self, requests: Sequence[GenerationRequest] | RequestFeed) -> AsyncIterator[Generation]:
        """Yields each generation as it finishes. Raises `RlvrError` on an impossible request before sampling any that came with it."""
        feed = requests if isinstance(requests, RequestFeed) else RequestFeed(requests, closed=True)
        self._check_usable()
        self._check_requests(feed.waiting)
        async with self._turn:
            while await feed.more():
                # Never both in one batch: vLLM's CPU operators give rows without an adapter the last adapter there is.
                sampling = self._sample(feed, feed.waiting[0].weights)
                async with contextlib.aclosing(sampling):
                    async for generation in sampling:
                        yield generation

    async def load_policy(self, snapshot: PolicySnapshot) -> None:
        """Takes the snapshot's weights into use and forgets every key and value that the old ones computed."""
        self._check_usable()
        if self._turn.locked():
            raise RlvrError(
                f"policy {snapshot.version} was handed over while generations were running, which belong to the old weights; "
                "finish or abandon generate() first"
            )
        with self._dying_of_anything_unforeseen():
            if snapshot.kind == "lora":
                self._load_adapter(snapshot)
            else:
                self._load_all_weights(snapshot)
        self.policy_version = snapshot.version

    async def score_tokens(self, sequences: Sequence[Sequence[int]], weights: Weights) -> list[list[float]]:
        """log p(token t | tokens < t) for t = 1 .. T-1 of each sequence, at temperature 1."""
        self._check_usable()
        check_sequences(sequences, max_model_len=self._config.max_model_len)
        if self._turn.locked():  # waiting for a generation that only goes on when this returns would be for ever
            raise RlvrError("score_tokens was called while generations were running; finish or abandon generate() first")
        with self._dying_of_anything_unforeseen():
            return self._score(sequences, weights)

    async def sleep(self) -> None:
        """CUDA: moves the weights to main memory and gives up the KV cache; elsewhere nothing can be freed."""
        if self._on_cuda and self._config.sleep and not self._asleep:
            with self._dying_of_anything_unforeseen():
                self._llm.sleep(level=1)
            self._asleep = True

    async def wake(self) -> None:
        if self._asleep:
            with self._dying_of_anything_unforeseen():
                self._llm.wake_up()
            self._asleep = False

    def close(self) -> None:
        """Frees the engine's memory; afterwards another one can be made in this process."""
        if self._closed:
            return
        self._closed = True
        llm, self._llm = self._llm, None
        vllm_environment.stop(llm)

    def _check_usable(self) -> None:
        if self._closed:
            raise RlvrError("the vLLM engine is closed; make a new one")
        if self._failure is not None:
            raise RlvrError(f"the vLLM engine has died: {self._failure}; resume the run from its last checkpoint")
        if self._asleep:
            raise RlvrError("the vLLM engine is asleep; call wake() before using it")

    @contextlib.contextmanager
    def _dying_of_anything_unforeseen(self) -> Iterator[None]:
        """Anything but an `RlvrError` out of vLLM leaves it in an unknown state: the engine counts as dead."""
        try:
            yield
        except RlvrError:
            raise
        except Exception as error:
            self._failure = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            raise RlvrError(f"the vLLM engine died in a step: {self._failure}; resume from the last checkpoint") from error

    def _check_requests(self, requests: Sequence[GenerationRequest]) -> None:
        check_requests(requests, max_model_len=self._config.max_model_len, policy_loaded=self.policy_version != NO_POLICY)
        if self._lora_rank is None and self.policy_version != NO_POLICY and any(r.weights == "base" for r in requests):
            raise RlvrError(
                "full fine-tuning has replaced the base in the engine; sample the base before the first hand-over"
            )

    async def _sample(self, feed: RequestFeed, weights: Weights) -> AsyncGenerator[Generation]:
        """Samples what the feed has for these weights, and what joins meanwhile, until none of it is left."""
        version = self.policy_version if weights == "policy" else NO_POLICY
        running: dict[str, GenerationRequest] = {}
        try:
            while running := running | self._start(feed.take(weights), weights):
                with self._dying_of_anything_unforeseen():
                    finished = [output for output in self._llm.step() if output.finished]
                for output in finished:
                    yield _to_generation(running.pop(output.request_id).index, output, version)
                await asyncio.sleep(0)
        finally:
            if running and self._failure is None and not self._closed:  # the caller left early
                self._llm.abort_request(list(running))

    def _start(self, requests: Sequence[GenerationRequest], weights: Weights) -> dict[str, GenerationRequest]:
        """Gives the requests to vLLM; returns them under the names it knows them by."""
        self._check_requests(requests)
        with self._dying_of_anything_unforeseen():
            prompts = [(request.prompt_ids, self._sampling(request)) for request in requests]
            names = self._add(prompts, self._adapter if weights == "policy" else None)
        return dict(zip(names, requests, strict=True))

    def _add(self, prompts: Sequence[tuple[Sequence[int], SamplingParams]], adapter: LoRARequest | None) -> list[str]:
        names: list[str] = []
        for prompt_ids, params in prompts:
            names.append(str(next(self._ids)))
            self._llm.add_request(names[-1], {"prompt_token_ids": list(prompt_ids)}, params, lora_request=adapter)
        return names

    def _sampling(self, request: GenerationRequest) -> SamplingParams:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            temperature=request.temperature,
            seed=request.seed % 2**63,
            max_tokens=request.max_tokens,
            stop_token_ids=self._stop_ids,
            logprobs=0,  # the sampled token's own, no others
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def _score(self, sequences: Sequence[Sequence[int]], weights: Weights) -> list[list[float]]:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        if weights == "policy" and self.policy_version == NO_POLICY:
            raise RlvrError("no policy was handed over to the engine; call load_policy first, or score weights='base'")
        params = SamplingParams(
            temperature=0, max_tokens=1, prompt_logprobs=0, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY
        )
        names = self._add([(s, params) for s in sequences], self._adapter if weights == "policy" else None)
        scored: dict[str, Any] = {}
        while len(scored) < len(names):
            scored |= {output.request_id: output.prompt_logprobs for output in self._llm.step() if output.finished}
        return [
            [entry[token].logprob for token, entry in zip(sequence[1:], scored[name][1:], strict=True)]
            for name, sequence in zip(names, sequences, strict=True)
        ]

    def _load_adapter(self, snapshot: PolicySnapshot) -> None:
        from vllm.lora.request import LoRARequest

        if self._lora_rank is None:
            raise RlvrError(f"policy {snapshot.version} is an adapter, but the engine was started for kind=full")
        _check_adapter_folder(snapshot, self._lora_rank, self._lora_modules)
        try:
            self._llm.add_lora(LoRARequest(ADAPTER_NAME, ADAPTER_ID, str(snapshot.path), load_inplace=True))
        except (ValueError, OSError) as error:
            raise RlvrError(
                f"policy {snapshot.version}: vLLM refuses the adapter in {snapshot.path}: {' '.join(str(error).split())[:300]}"
            ) from error
        self._forget_prefixes(snapshot)
        # Without load_inplace, or every step would read the files again.
        self._adapter = LoRARequest(ADAPTER_NAME, ADAPTER_ID, str(snapshot.path))

    def _load_all_weights(self, snapshot: PolicySnapshot) -> None:
        if self._lora_rank is not None:
            raise RlvrError(f"policy {snapshot.version} is a full model, but the engine was started for adapters")
        if not any(snapshot.path.glob("*.safetensors")):
            raise RlvrError(f"policy {snapshot.version}: {snapshot.path} holds no .safetensors file")
        self._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(snapshot.path)})
        if not self._on_cuda:
            self._llm.apply_model(vllm_environment.repack_head)
        self._forget_prefixes(snapshot)

    def _forget_prefixes(self, snapshot: PolicySnapshot) -> None:
        if not self._llm.reset_prefix_cache():
            raise RlvrError(
                f"policy {snapshot.version}: vLLM keeps prefixes that the old weights computed; start a new engine"
            )


def _to_generation(index: int, output: RequestOutput, version: int) -> Generation:
    completion = output.outputs[0]
    tokens = tuple(completion.token_ids)
    asked: Any = completion.logprobs  # one dict a token, holding the sampled token's own
    return Generation(
        index=index,
        token_ids=tokens,
        logprobs=tuple(entry[token].logprob for token, entry in zip(tokens, asked, strict=True)),
        finish_reason={"stop": "stop", "length": "length"}.get(completion.finish_reason or "", "abort"),  # type: ignore[arg-type]
        policy_version=version,
    )


def _check_adapter_folder(snapshot: PolicySnapshot, max_rank: int, modules: Sequence[str]) -> None:
    """Raises `RlvrError` on anything vLLM would refuse obscurely or, worse, leave out."""
    from safetensors import SafetensorError, safe_open

    where = f"policy {snapshot.version}: {snapshot.path}"
    try:
        rank = json.loads((snapshot.path / "adapter_config.json").read_text(encoding="utf-8"))["r"]
        with safe_open(snapshot.path / "adapter_model.safetensors", framework="pt") as tensors:
            names = list(tensors.keys())
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise RlvrError(f"{where} is not a whole PEFT adapter folder ({error})") from None
    if rank > max_rank:
        raise RlvrError(f"{where} has rank {rank}, the engine was started for rank {max_rank}; set adapter.rank={rank}")
    layers = {name.split(".lora_")[0].rpartition(".")[2] for name in names}
    if strangers := sorted(layers - set(modules)):
        raise RlvrError(
            f"{where} adapts {', '.join(strangers)}, for which the engine has no room (it has for {', '.join(modules)}); "
            "set adapter.target_modules to what the adapter was trained on"
        )
