"""The reinforcement learning loop: collect a batch of groups, update, hand the adapter over, record.

Strictly synchronous: every batch is sampled from the newest policy (groups that dynamic sampling carried over are one version
old, and their sampled log-probs say so).
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from rlvr.advantages import is_informative
from rlvr.alarms import AlarmWatch
from rlvr.batch import update_batches, with_advantages
from rlvr.checkpoint import Checkpoint, replace_folder, restore_checkpoint
from rlvr.collect import Collected, collect
from rlvr.config.schema import RlConfig
from rlvr.diagnosis import diagnose, reward_histogram
from rlvr.errors import RlvrError
from rlvr.evaluation import Evaluation
from rlvr.hand_over import HandOver
from rlvr.interrupt import Interrupted
from rlvr.learner import Learner
from rlvr.logprobs import frozen_logprobs
from rlvr.objectives import OBJECTIVES
from rlvr.progress import Progress
from rlvr.run import Run
from rlvr.run_folder import writing
from rlvr.sampling import Sampler
from rlvr.sync_proof import SyncProof
from rlvr.token_groups import TokenGroup
from rlvr.types import Group, Rollout
from rlvr_tasks.protocol import TaskSource
from rlvr_verifiers.types import Completion, Score, Task

STAGE = "rl"

Evaluate = Callable[[str, int], Awaitable[Evaluation]]
"""(stage, step) -> the held-out evaluation of the policy as it is now."""


@dataclasses.dataclass
class Progressed:
    """Where the loop stands between two steps; with learner, policy and task cursor this is all of its state."""

    step: int = 0
    version: int = 0
    carried: tuple[Group, ...] = ()
    empty_in_a_row: int = 0
    best: dict[str, Any] | None = None

    def to_json(self, cursor: dict[str, Any], proof: dict[str, Any] | None) -> dict[str, Any]:
        return {
            "tasks": cursor,
            "version": self.version,
            "carried": [_group_to_json(group) for group in self.carried],
            "empty_in_a_row": self.empty_in_a_row,
            "best": self.best,
            "proof": proof,
        }

    @classmethod
    def from_json(cls, step: int, state: dict[str, Any]) -> Progressed:
        return cls(
            step=step,
            version=state["version"],
            carried=tuple(_group_from_json(group) for group in state["carried"]),
            empty_in_a_row=state["empty_in_a_row"],
            best=state["best"],
        )


class RlLoop:
    """One RL stage over a policy, a sampler and a stream of tasks."""

    def __init__(
        self, run: Run, sampler: Sampler, hand_over: HandOver, tasks: TaskSource, evaluate: Evaluate | None
    ) -> None:
        assert run.config.rl is not None
        self.run = run
        self.config: RlConfig = run.config.rl
        self.sampler = sampler
        self.hand_over = hand_over
        self.tasks = tasks
        self.evaluate = evaluate
        self.at = Progressed()
        self.alarms = AlarmWatch(run.config.alarms.window, run.folder.metrics())  # of a resumed run: what it had recorded
        self.learner = Learner(
            run.policy,
            self.config.optimizer,
            total_steps=self.config.steps * self.config.updates_per_batch * self.config.passes_per_batch,
            micro_batch_tokens=run.config.micro_batch_tokens,
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        state = restore_checkpoint(checkpoint, self.run.policy, self.learner)
        self.tasks.restore(state["tasks"])
        self.at = Progressed.from_json(checkpoint.step, state)
        if state["proof"] is not None:
            self.hand_over.proof = SyncProof.from_state(state["proof"])

    async def train(self) -> None:
        """Runs the remaining steps; the engine has the policy already.

        On Ctrl-C or a failure the last whole step is saved before the exception goes on.
        """
        with Progress(STAGE, self.config.steps) as progress:
            await self._evaluate_if_due()  # a resumed run may have been cut off in it; one that was taken is found again
            while self.at.step < self.config.steps:
                started = time.perf_counter()
                collected = await self._collect()
                metrics = await self._learn(collected)
                self._count_empty(collected)
                metrics["time/step_s"] = time.perf_counter() - started
                metrics["tokens_per_s"] = metrics.get("tokens/generated", 0.0) / max(1e-9, metrics["time/rollout_s"])
                self.run.record(progress, STAGE, self.at.step, metrics, self._diagnosis(metrics))
                await self._after_step()
                self._stop_on_alarm()
                self.run.stop.check()

    async def _collect(self) -> Collected:
        cursor = self.tasks.state()
        try:
            return await collect(
                self.sampler,
                iter(self.tasks),
                self.config,
                self.at.carried,
                seed=self.run.config.seed,
                step=self.at.step,
            )
        except (Interrupted, RlvrError):
            self.tasks.restore(cursor)
            self.save()
            raise

    async def _learn(self, collected: Collected) -> dict[str, float]:
        """Advantages, updates and the hand-over; the step counts as done once the policy has changed."""
        await self.sampler.engine.sleep()
        groups = with_advantages(collected.groups, self.config, self._policy_logprobs, self._ref_logprobs)
        started = time.perf_counter()
        algorithm = self.config.algorithm
        batches = update_batches(groups, self.config, self.run.policy.device, self._policy_logprobs, self._ref_logprobs)
        metrics = mean_by_name(self.learner.update(batch, OBJECTIVES[algorithm.objective], algorithm) for batch in batches)
        metrics["time/update_s"] = time.perf_counter() - started
        await self.sampler.engine.wake()
        self.at.step += 1
        self.at.version += 1
        self.at.carried = collected.carried
        self.run.keep_rollouts(STAGE, self.at.step, groups, collected.sampled)
        try:
            synced = await self.hand_over(self.at.version)
        except RlvrError:
            self.save()
            raise
        return {**collected.metrics, **metrics, **synced}

    def _count_empty(self, collected: Collected) -> None:
        """Stops a run that has found nothing to learn from for too long."""
        informative = any(
            is_informative([r.score.value for r in group.rollouts if r.score.value is not None])
            for group in collected.groups
        )
        self.at.empty_in_a_row = 0 if informative else self.at.empty_in_a_row + 1
        if self.at.empty_in_a_row >= self.config.max_empty_steps:
            self.save()
            raise RlvrError(
                f"rl: no group had differing rewards for {self.at.empty_in_a_row} steps in a row, so there is nothing to learn "
                f"from. Scores of the last step: {reward_histogram(collected.histogram)}. All wrong: choose easier tasks, or "
                "warm-start with sft; all right: choose harder ones. State is saved, --resume continues"
            )

    async def _after_step(self) -> None:
        await self._evaluate_if_due()
        last = self.at.step == self.config.steps
        if self.at.step % self.run.config.checkpoint.every == 0 or last or self.run.stop.requested:
            self.save()

    async def _evaluate_if_due(self) -> None:
        """After every `eval.every` steps and after the last; the steps before it are saved if it is cut off."""
        every = self.run.config.eval.every if self.run.config.eval else 0
        due = self.at.step == self.config.steps or (every and self.at.step and self.at.step % every == 0)
        if self.evaluate is None or not due:
            return
        try:
            evaluation = await self.evaluate(STAGE, self.at.step)
            self.alarms.add({"stage": STAGE, "step": self.at.step, "heldout/accuracy": evaluation.accuracy.value})
            self._keep_best(evaluation)
        except (Interrupted, RlvrError):
            self.save()
            raise

    def _keep_best(self, evaluation: Evaluation) -> None:
        """The best policy is the one with the highest held-out accuracy, never the one with the highest reward."""
        accuracy = evaluation.accuracy.value
        if self.at.best is None or accuracy > self.at.best["accuracy"]:
            best = self.run.folder.path / "best"
            draft = best.with_name(".best.writing")
            shutil.rmtree(draft, ignore_errors=True)
            try:
                with writing("the best policy so far", best):
                    self.run.policy.save(draft)
                    replace_folder(draft, best)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
            self.at.best = {"label": evaluation.label, "step": self.at.step, "accuracy": accuracy}

    def save(self) -> None:
        proof = self.hand_over.proof.state() if self.hand_over.proof is not None else None
        self.run.save(STAGE, self.at.step, self.learner, self.at.to_json(self.tasks.state(), proof))

    def _policy_logprobs(self, groups: Sequence[TokenGroup]) -> torch.Tensor:
        return frozen_logprobs(
            self.run.policy, groups, max_tokens=self.run.config.micro_batch_tokens, temperature=self.config.temperature
        )

    def _ref_logprobs(self, groups: Sequence[TokenGroup]) -> torch.Tensor:
        with self.run.policy.using("reference"):
            return self._policy_logprobs(groups)

    def _diagnosis(self, metrics: dict[str, float]) -> str | None:
        """An alarm that rings with this step, or else what stands out in it."""
        self.alarms.add({"stage": STAGE, "step": self.at.step, **metrics})
        alarms = self.alarms.ringing()
        return str(alarms[0]) if alarms else diagnose(metrics, self.run.config, self.at.step)

    def _stop_on_alarm(self) -> None:
        stop_on = self.run.config.alarms.stop_on
        stopping = [alarm for alarm in self.alarms.ringing() if alarm.name in stop_on]
        if stopping:
            self.save()
            raise RlvrError(
                f"rl: stopped at step {self.at.step}, {stopping[0]}. State is saved; alarms.stop_on=[] --resume goes on"
            )


def _group_to_json(group: Group) -> dict[str, Any]:
    return {
        "task": group.task.to_json(),
        "rollouts": [{"completion": r.completion.to_json(), "score": r.score.to_json()} for r in group.rollouts],
    }


def _group_from_json(data: dict[str, Any]) -> Group:
    task = Task.from_json(data["task"])
    return Group(
        task=task,
        rollouts=tuple(
            Rollout(
                task=task,
                completion=Completion.from_json(rollout["completion"]),
                score=Score.from_json(rollout["score"]),
            )
            for rollout in data["rollouts"]
        ),
    )


def mean_by_name(updates: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Of each metric over the updates that have it: one without loss tokens has only those of its step."""
    values: dict[str, list[float]] = {}
    for update in updates:
        for name, value in update.items():
            values.setdefault(name, []).append(value)
    return {name: sum(found) / len(found) for name, found in values.items()}  # fmean refuses infinities of both signs
