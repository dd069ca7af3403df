"""Handing the policy's weights to the engine, and proving that they arrived.

Only the adapter travels, as a file in memory (tmpfs) where there is one; nothing is merged. After the hand-over the learner's
and the engine's log-probs on a fixed probe are compared (rlvr/sync_proof.py), and a mismatch stops the run.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rlvr.config.schema import Config
from rlvr.engines.protocol import PolicySnapshot, RolloutEngine
from rlvr.logprobs import frozen_logprobs
from rlvr.policy import Policy
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
        self.folder = Path(tempfile.mkdtemp(prefix="rlvr-policy-", dir=_memory_folder()))

    async def __call__(self, version: int) -> dict[str, float]:
        """Makes the engine sample from the policy as it is now. Returns metrics; raises `RlvrError` on a failed proof."""
        started = time.perf_counter()
        target = self.folder / f"version-{version}"
        self.policy.save(target)
        await self.engine.load_policy(PolicySnapshot(version=version, kind=self.policy.kind, path=target))
        metrics: dict[str, float] = {}
        if self.proof is not None and version % self.config.sync.probe_every == 0:
            metrics = await self._prove(version)
        shutil.rmtree(target)
        return {**metrics, "time/sync_s": time.perf_counter() - started}

    async def _prove(self, version: int) -> dict[str, float]:
        raise NotImplementedError

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


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


def _memory_folder() -> str | None:
    """tmpfs, so that a hand-over never waits for a disk."""
    shared = Path("/dev/shm")  # noqa: S108 - mkdtemp below makes a private folder in it
    return str(shared) if shared.is_dir() else None
