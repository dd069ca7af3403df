"""What every stage of a run shares: config, policy, run folder, display, and the request to stop."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from rlvr import ranks
from rlvr.checkpoint import Checkpoint, prune_checkpoints, save_checkpoint
from rlvr.config.schema import Config
from rlvr.interrupt import StopRequest
from rlvr.learner import Learner
from rlvr.policy import Policy
from rlvr.progress import Progress
from rlvr.run_folder import RunFolder
from rlvr.trackers import Tracker
from rlvr.types import Group


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    config: Config
    policy: Policy
    folder: RunFolder
    trackers: tuple[Tracker, ...]
    stop: StopRequest

    def record(
        self, progress: Progress, stage: str, step: int, metrics: Mapping[str, float], diagnosis: str | None = None
    ) -> None:
        """Shows a finished step and writes it wherever metrics go."""
        if ranks.rank() != 0:
            return
        self.folder.log_metrics(stage, step, metrics, diagnosis)
        for tracker in self.trackers:
            tracker.log(step, {f"{stage}/{name}": value for name, value in metrics.items()})
        progress.step(step, metrics, diagnosis)

    def keep_rollouts(self, stage: str, step: int, trained: Sequence[Group], sampled: Sequence[Group]) -> None:
        if ranks.rank() == 0 and self.config.tracking.rollouts == "all":
            self.folder.write_rollouts(stage, step, trained, sampled)

    def save(self, stage: str, step: int, learner: Learner, state: Mapping[str, Any]) -> Checkpoint | None:
        """A checkpoint of the state after `step` steps of `stage`; older ones are pruned."""
        if ranks.rank() != 0:
            return None
        saved = save_checkpoint(
            self.folder.checkpoints, stage=stage, step=step, policy=self.policy, learner=learner, state=state
        )
        prune_checkpoints(self.folder.checkpoints, self.config.checkpoint.keep_last)
        return saved
