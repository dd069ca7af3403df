"""The loop of the stages that sample nothing: draw, update, record, measure, save, and stop when asked."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from rlvr import ranks
from rlvr.checkpoint import Checkpoint, restore_checkpoint
from rlvr.config.schema import OptimizerConfig
from rlvr.learner import Learner
from rlvr.preference.measure import PairReport
from rlvr.progress import Progress
from rlvr.run import Run
from rlvr_tasks.stream import HasId, TaskStream

Item = TypeVar("Item", bound=HasId)


class StepsConfig(Protocol):
    """What such a stage's section says of its steps."""

    @property
    def steps(self) -> int | None: ...
    @property
    def epochs(self) -> float | None: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def optimizer(self) -> OptimizerConfig: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Steps(Generic[Item]):
    """A stage's way through its examples: in which order, how many at a time and how often, and who learns."""

    stage: str
    total: int
    batch_size: int
    stream: TaskStream[Item]
    learner: Learner
    kept: Mapping[str, Any]
    """What its checkpoints carry of the stages before it."""

    @classmethod
    def over(
        cls, examples: Sequence[Item], run: Run, stage: str, config: StepsConfig, kept: Mapping[str, Any]
    ) -> Steps[Item]:
        """From the start, with a new learner on `run.policy`."""
        total = total_steps(config, len(examples))
        micro = run.config.micro_batch_tokens
        return cls(
            stage=stage,
            total=total,
            batch_size=config.batch_size,
            stream=TaskStream(examples, seed=run.config.seed),
            learner=Learner(run.policy, config.optimizer, total_steps=total, micro_batch_tokens=micro),
            kept=kept,
        )

    def resumed_at(self, resume: Checkpoint | None, run: Run) -> int:
        """Steps that are behind the checkpoint, after putting weights, optimizer and stream back; 0 without one."""
        if resume is None:
            return 0
        self.stream.restore(restore_checkpoint(resume, run.policy, self.learner)["tasks"])
        return resume.step


def total_steps(config: StepsConfig, examples: int) -> int:
    return config.steps or math.ceil((config.epochs or 1) * examples / config.batch_size)


def train_steps(
    run: Run,
    progress: Progress,
    steps: Steps[Item],
    done: int,
    update: Callable[[Sequence[Item]], dict[str, float]],
    *,
    measure: Callable[[int], None] = lambda _: None,
    measure_every: int = 0,
) -> None:
    """Makes the steps behind `done`, `update` with this rank's share of each.

    `measure` is called after every `measure_every` steps (0: never) and after the last. Raises `Interrupted` after saving when the
    user asked to stop.
    """
    while done < steps.total:
        started = time.perf_counter()
        drawn = [next(steps.stream) for _ in range(steps.batch_size)]
        metrics = update(drawn[ranks.rank() :: ranks.world_size()])
        done += 1
        run.record(progress, steps.stage, done, {**metrics, "time/step_s": time.perf_counter() - started})
        if done == steps.total or (measure_every and done % measure_every == 0):
            measure(done)
        if done % run.config.checkpoint.every == 0 or done == steps.total or run.stop.requested:
            run.save(steps.stage, done, steps.learner, {**steps.kept, "tasks": steps.stream.state()})
        run.stop.check()


def record_pairs(run: Run, progress: Progress, stage: str, step: int, report: PairReport) -> None:
    """Shows what was measured on held-out pairs, and records it once for each step."""
    progress.note(f"{stage} {step}: {report.sentence()}")
    recorded = any(r["stage"] == stage and r["step"] == step and "pairs/accuracy" in r for r in run.folder.metrics())
    if ranks.rank() == 0 and not recorded:
        run.folder.log_metrics(stage, step, report.metrics())
        for tracker in run.trackers:
            tracker.log(step, {f"{stage}/{name}": value for name, value in report.metrics().items()})
