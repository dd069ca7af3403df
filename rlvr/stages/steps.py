"""The loop of the stages that sample nothing: draw, update, record, measure, save, and stop when asked."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from rlvr import ranks
from rlvr.checkpoint import Checkpoint, restore_checkpoint
from rlvr.learner import Learner
from rlvr.preference.measure import PairReport
from rlvr.progress import Progress
from rlvr.run import Run
from rlvr_tasks.stream import HasId, TaskStream

Item = TypeVar("Item", bound=HasId)


class StepsConfig(Protocol):
    """What such a stage's section says of its length."""

    @property
    def steps(self) -> int | None: ...
    @property
    def epochs(self) -> float | None: ...
    @property
    def batch_size(self) -> int: ...


def total_steps(config: StepsConfig, examples: int) -> int:
    return config.steps or math.ceil((config.epochs or 1) * examples / config.batch_size)


def resumed_at(resume: Checkpoint | None, run: Run, learner: Learner, stream: TaskStream[Item]) -> int:
    """Steps that are behind the checkpoint, after putting weights, optimizer and stream back; 0 without one."""
    if resume is None:
        return 0
    stream.restore(restore_checkpoint(resume, run.policy, learner)["tasks"])
    return resume.step


def train_steps(
    run: Run,
    progress: Progress,
    stage: str,
    *,
    learner: Learner,
    stream: TaskStream[Item],
    batch_size: int,
    done: int,
    steps: int,
    kept: Mapping[str, Any],
    update: Callable[[Sequence[Item]], dict[str, float]],
    measure: Callable[[int], None] = lambda _: None,
    measure_every: int = 0,
) -> None:
    """Makes the steps behind `done`, `update` with this rank's share of each; checkpoints carry `kept` and the stream's place.

    `measure` is called after every `measure_every` steps (0: never) and after the last. Raises `Interrupted` after saving when the
    user asked to stop.
    """
    while done < steps:
        started = time.perf_counter()
        drawn = [next(stream) for _ in range(batch_size)]
        metrics = update(drawn[ranks.rank() :: ranks.world_size()])
        done += 1
        run.record(progress, stage, done, {**metrics, "time/step_s": time.perf_counter() - started})
        if done == steps or (measure_every and done % measure_every == 0):
            measure(done)
        if done % run.config.checkpoint.every == 0 or done == steps or run.stop.requested:
            run.save(stage, done, learner, {**kept, "tasks": stream.state()})
        run.stop.check()


def record_pairs(run: Run, progress: Progress, stage: str, step: int, report: PairReport) -> None:
    """Shows what was measured on held-out pairs, and records it once for each step."""
    progress.note(f"{stage} {step}: {report.sentence()}")
    recorded = any(r["stage"] == stage and r["step"] == step and "pairs/accuracy" in r for r in run.folder.metrics())
    if ranks.rank() == 0 and not recorded:
        run.folder.log_metrics(stage, step, report.metrics())
        for tracker in run.trackers:
            tracker.log(step, {f"{stage}/{name}": value for name, value in report.metrics().items()})
