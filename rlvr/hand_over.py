"""Handing the policy's weights to the engine, and proving that they arrived.

Only the adapter travels, as a file in memory (tmpfs) where it has the room; nothing is merged. After the hand-over the learner's
and the engine's log-probs on a fixed probe are compared (rlvr/sync_proof.py), and a mismatch stops the run.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from typing import Literal

from rlvr.config.schema import Config
from rlvr.engines.protocol import GenerationRequest, PolicySnapshot, RolloutEngine
from rlvr.errors import RlvrError
from rlvr.logprobs import frozen_logprobs
from rlvr.memory_folder import MemoryFolder
from rlvr.policy import Policy
from rlvr.run_folder import writing
from rlvr.sync_proof import SyncProof
from rlvr.token_groups import TokenGroup
from rlvr_verifiers.types import Task


class HandOver:
    """Moves weights from a policy to an engine; `version` counts the times."""

    def __init__(self, policy: Policy, engine: RolloutEngine, config: Config, probe_tasks: Sequence[Task]) -> None:
        self.policy = policy
        self.engine = engine
        self.config = config
        self.probe_tasks = probe_tasks
        self.proof: SyncProof | None = None
        size = sum(weight.numel() * weight.element_size() for weight in policy.trainable().values())
        self.folder = MemoryFolder(size, config.output_dir)

    async def __call__(self, version: int) -> dict[str, float]:
        """Makes the engine sample from the policy as it is now. Returns metrics; raises `RlvrError` on a failed proof."""
        started = time.perf_counter()
        target = self.folder.path / f"version-{version}"
        with writing("the policy for the engine", target):
            self.policy.save(target)
        await self.engine.load_policy(PolicySnapshot(version=version, kind=self.policy.kind, path=target))
        metrics: dict[str, float] = {}
        shutil.rmtree(target)
        if version % self.config.sync.probe_every == 0:
            metrics = await self._prove(version)
        return {**metrics, "time/sync_s": time.perf_counter() - started}

    async def _prove(self, version: int) -> dict[str, float]:
        if self.proof is None:
            self.proof = await self._calibrated(version)
        sequences = self.proof.sequences
        engine = await self.engine.score_tokens(sequences, "policy")
        return self.proof.check(version, self._learner_logprobs(sequences), engine).metrics()

    async def _calibrated(self, version: int) -> SyncProof:
        """Builds the probe, and measures the noise on weights that learner and engine are known to share."""
        weights = "base" if self.policy.kind == "lora" else "policy"
        sequences = await self._probe_sequences(weights)
        engine = await self.engine.score_tokens(sequences, weights)
        with self.policy.using(weights):
            learner = self._learner_logprobs(sequences)
        return SyncProof(sequences, learner, engine, version=version, on_base=weights == "base")

    async def _probe_sequences(self, weights: Literal["policy", "base"]) -> list[list[int]]:
        """Prompts of the run's own tasks with a completion each: the tokens whose log-probs training moves."""
        room = self.config.engine.max_model_len - 1  # engines sample one token after a scored sequence
        prompts = [self.policy.chat.prompt_ids(task) for task in self.probe_tasks]
        fitting = [ids for ids in prompts if len(ids) < room][: self.config.sync.probe_sequences]
        if not fitting:
            raise RlvrError(
                f"engine.max_model_len={self.config.engine.max_model_len}: not one of {len(prompts)} prompts fits; raise it"
            )
        fitting = [ids[-self.config.sync.probe_prompt_tokens :] for ids in fitting]
        requests = [
            GenerationRequest(
                index=i,
                prompt_ids=ids,
                seed=i,
                max_tokens=min(self.config.sync.probe_tokens, room - len(ids)),
                temperature=1.0,
                weights=weights,
            )
            for i, ids in enumerate(fitting)
        ]
        completions = {g.index: g.token_ids async for g in self.engine.generate(requests)}
        return [[*ids, *completions[i]] for i, ids in enumerate(fitting)]

    def _learner_logprobs(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        return probe_logprobs(self.policy, sequences, self.config.micro_batch_tokens)

    def close(self) -> None:
        self.folder.close()


def probe_logprobs(policy: Policy, sequences: Sequence[Sequence[int]], max_tokens: int) -> list[list[float]]:
    """The learner's log p(token t | tokens < t) for t = 1 .. T-1 of each sequence, at temperature 1."""
    groups = [
        TokenGroup(prompt_ids=(ids[0],), completion_ids=(tuple(ids[1:]),), loss_masks=((True,) * (len(ids) - 1),))
        for ids in sequences
    ]
    flat = frozen_logprobs(policy, groups, max_tokens=max_tokens).tolist()
    result: list[list[float]] = []
    for ids in sequences:
        result.append(flat[: len(ids) - 1])
        flat = flat[len(ids) - 1 :]
    return result
