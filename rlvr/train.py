"""`rlvr train`: the stages a config names, in order, each starting from the weights of the one before.

Everything a user can get wrong (config, tasks, model, adapter) is checked before the first expensive step.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq
import torch
from rich.console import Console

from rlvr import ranks
from rlvr.checkpoint import Checkpoint, latest_checkpoint
from rlvr.config.load import resolved
from rlvr.config.schema import Config, EvalConfig, PairStageConfig, TasksConfig
from rlvr.engine_judge import EngineJudge
from rlvr.engines import build_engine
from rlvr.environments import open_environments
from rlvr.errors import RlvrError
from rlvr.evaluation import Evaluation, check_ids, evaluate, summarise
from rlvr.gates import Condition
from rlvr.hand_over import HandOver
from rlvr.interrupt import StopRequest
from rlvr.manifest import fingerprint
from rlvr.models import locate_model
from rlvr.outcome import Outcome, show_outcome, summary_of
from rlvr.policy import load_policy
from rlvr.preference.data import PairTasks
from rlvr.preference.measure import PairReport
from rlvr.progress import Progress
from rlvr.rollout_table import rollouts_of
from rlvr.run import Run
from rlvr.run_folder import PART_NAME, RunFolder, writing
from rlvr.sampling import Sampler
from rlvr.scoring import ScoringThread
from rlvr.stages import rl, sft
from rlvr.stages.preference import PreferenceStage
from rlvr.stages.reward_model import train_reward_model
from rlvr.statistics import Estimate
from rlvr.sync_proof import SyncProof
from rlvr.trackers import open_trackers
from rlvr_tasks.protocol import TaskSource
from rlvr_tasks.record import fingerprint as data_fingerprint
from rlvr_tasks.registry import load_tasks, open_stream
from rlvr_verifiers.code.verifier import SEED_VARIABLE
from rlvr_verifiers.pool import VerifierPool
from rlvr_verifiers.registry import version_of
from rlvr_verifiers.types import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """All tasks of a run, loaded and checked before anything expensive starts."""

    sft: Sequence[Task]
    preference: PairTasks
    reward_model: PairTasks
    rl: TaskSource | None
    held_out: Sequence[Task]
    retention: Sequence[Task]


def train(config: Config, *, name: str, resume: bool, console: Console) -> Path:
    """Runs the config's stages and returns the run folder.

    Raises `RlvrError` for anything the user can mend and `Interrupted` after Ctrl-C, with the state saved in both cases.
    """
    os.environ.setdefault(SEED_VARIABLE, f"run {config.seed}")  # the workers' order of test cases
    data = load_data(config)
    device = choose_device(config)
    model_path = locate_model(config.model.name, config.model.revision)
    policy = load_policy(config, model_path, device)
    hashes = _hashes(config, model_path, data)  # takes a while, and Ctrl-C in it leaves no empty folder behind
    folder = (RunFolder.resume if resume else RunFolder.create)(config.output_dir, name)
    folder.describe(resolved(config), hashes=hashes, verifiers=_verifiers(data))
    checkpoint = latest_checkpoint(folder.checkpoints) if resume else None
    if resume:
        behind = (checkpoint.stage, checkpoint.step) if checkpoint else (config.stages[0], 0)
        rewound = folder.rewind(config.stages, *behind)
        if rewound.missing_steps:
            console.print(
                f"metrics.jsonl lacks steps {list(rewound.missing_steps)}: the crash came before they were written",
                markup=False,
            )
        console.print(f"resuming {folder.path} from {checkpoint.path.name if checkpoint else 'its start'}", markup=False)
    stop = StopRequest()
    trackers = open_trackers(config.tracking.trackers, folder.path, resolved(config), warn=Progress.say)
    run = Run(config=config, policy=policy, folder=folder, trackers=trackers, stop=stop)
    with stop.listening():
        try:
            outcome = asyncio.run(_run_stages(run, data, model_path, hashes["model"], checkpoint))
        finally:
            for tracker in trackers:
                tracker.close()
    if ranks.rank() == 0:
        folder.write_summary(summary_of(outcome))
        show_outcome(console, folder.path, outcome)
    return folder.path


def load_data(config: Config) -> Data:
    """Every task list of the config.

    Raises `TaskError` where one is empty or has a gold its verifier cannot read, `RlvrError` where two evaluated tasks have one id.
    """
    evaluation = config.eval
    return Data(
        sft=[t for part in config.sft.tasks for t in load_tasks(part, check_golds=False)]
        if config.sft and "sft" in config.stages
        else [],
        preference=_pair_tasks(config, "preference"),
        reward_model=_pair_tasks(config, "reward_model"),
        rl=open_stream(config.rl.tasks, config.seed) if config.rl and "rl" in config.stages else None,
        held_out=_evaluated(evaluation.tasks, "eval.tasks") if evaluation else [],
        retention=_evaluated(evaluation.retention, "eval.retention") if evaluation else [],
    )


def _evaluated(parts: Sequence[TasksConfig], where: str) -> Sequence[Task]:
    tasks = [task for part in parts for task in load_tasks(part)]
    check_ids(tasks, where)
    return tasks


def _pair_tasks(config: Config, stage: Literal["preference", "reward_model"]) -> PairTasks:
    section: PairStageConfig | None = getattr(config, stage) if stage in config.stages else None
    if section is None:
        return PairTasks()
    train, held_out = (
        tuple(task for part in parts for task in load_tasks(part, check_golds=False))
        for parts in (section.tasks, section.held_out)
    )
    if not train:
        raise RlvrError(f"{stage}.tasks is empty; list at least one source of preferences")
    return PairTasks(train=train, held_out=held_out)


def choose_device(config: Config) -> torch.device:
    if config.device == "cuda" and not torch.cuda.is_available():
        raise RlvrError("device=cuda: this machine has no usable CUDA device; use device=cpu, and see `rlvr doctor`")
    if config.device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


async def _run_stages(
    run: Run, data: Data, model_path: Path | str, model_hash: str, checkpoint: Checkpoint | None
) -> Outcome:
    """The run itself: engine and verifiers live exactly as long as this coroutine."""
    config = run.config
    if data.rl is None and config.eval is None:  # nothing samples, so no engine is needed
        return Outcome(stopped=_run_offline_stages(run, data, model_hash, checkpoint))
    engine = build_engine(config, run.policy, model_path)
    hand_over: HandOver | None = None
    try:
        with ScoringThread(VerifierPool(config.verification.workers, config.verification.deadline_s)) as scorer:
            sampler = Sampler(
                engine,
                scorer,
                run.policy.chat,
                run.stop,
                open_environments(config.tools),
                EngineJudge(run.policy.chat, config.engine.max_model_len),
            )
            hand_over = HandOver(run.policy, engine, config, _probe_tasks(data))
            exam = Exam(run, sampler, data)
            if config.eval and config.eval.base:
                await exam.take("base", 0)
            for stage, resumed in _remaining(config, checkpoint, exam.recall):
                pairs: PairReport | None = None
                if stage == "rl":
                    await _train_rl(run, data, sampler, hand_over, exam, resumed)
                else:
                    if resumed is not None and (proof := resumed.state().get("proof")) is not None:
                        hand_over.proof = SyncProof.from_state(proof)
                    kept = {"proof": hand_over.proof.state() if hand_over.proof else None}
                    await engine.sleep()
                    pairs = _train_offline(stage, run, data, model_hash, resumed, kept)
                    await engine.wake()
                    if config.eval and stage != "reward_model":  # a judge writes nothing that could be evaluated
                        await hand_over(0)
                        await exam.take(stage, 0)
                if stopped := _closed_gate(config, stage, exam.measured, pairs):
                    return exam.outcome(stopped)
            return exam.outcome(None)
    finally:
        if hand_over is not None:
            hand_over.close()
        engine.close()


def _remaining(
    config: Config, checkpoint: Checkpoint | None, skip: Callable[[str], None]
) -> Iterator[tuple[str, Checkpoint | None]]:
    """Stages still to run, each with the checkpoint it continues from; `skip` is told of those that are behind."""
    for number, stage in enumerate(config.stages):
        if checkpoint is not None and number < config.stages.index(checkpoint.stage):
            skip(stage)
        else:
            yield stage, checkpoint if checkpoint is not None and checkpoint.stage == stage else None


def _run_offline_stages(run: Run, data: Data, model_hash: str, checkpoint: Checkpoint | None) -> str | None:
    for stage, resumed in _remaining(run.config, checkpoint, lambda _: None):
        pairs = _train_offline(stage, run, data, model_hash, resumed, {})
        if stopped := _closed_gate(run.config, stage, {}, pairs):
            return stopped
    return None


def _train_offline(
    stage: str, run: Run, data: Data, model_hash: str, resumed: Checkpoint | None, kept: Mapping[str, Any]
) -> PairReport | None:
    """A stage that samples nothing: supervised fine-tuning, or from preferences (which reports on its held-out pairs).

    `kept` is what the run as a whole needs again after a resume; the stage's checkpoints carry it.
    """
    if stage == "sft":
        sft.train_sft(run, data.sft, resumed, kept)
        return None
    if stage == "reward_model":
        return train_reward_model(run, data.reward_model, resumed, kept)
    return PreferenceStage(run, data.preference, model_hash).train(resumed, kept)


def _closed_gate(config: Config, stage: str, measured: Mapping[str, Estimate], pairs: PairReport | None) -> str | None:
    """Says why the run ends after this stage; None where it goes on. Raises `RlvrError` where its number could not be measured."""
    if stage not in config.continue_if:
        return None
    condition = Condition.parse(config.continue_if[stage])
    known = {**measured, **({"pairs.accuracy": pairs.accuracy} if pairs else {})}
    if condition.name not in known:
        raise RlvrError(
            f"continue_if.{stage}: there is no {condition.name}, because the verifier failed on samples of every task. The "
            f"stage is saved: repair the verifier, remove the run's evaluations/{stage}-* and --resume; or --resume continue_if={{}}"
        )
    verdict = condition.verdict(known)
    if condition.holds(known):
        Progress.say(f"continue_if.{stage}: {verdict}")
        return None
    after = ", ".join(config.stages[config.stages.index(stage) + 1 :])
    return f"stopped after {stage}, without {after}: continue_if {verdict}"


async def _train_rl(
    run: Run, data: Data, sampler: Sampler, hand_over: HandOver, exam: Exam, resumed: Checkpoint | None
) -> None:
    assert data.rl is not None
    assert run.config.rl is not None
    _freeze_reference(run, resumed)
    loop = rl.RlLoop(run, sampler, hand_over, data.rl, exam.take if run.config.eval else None)
    if resumed is not None:
        loop.restore(resumed)
        exam.recall("rl")
    await hand_over(loop.at.version)
    await loop.train()


def _freeze_reference(run: Run, resumed: Checkpoint | None) -> None:
    """Keeps the weights that RL starts from as the KL reference, in the run folder too, so that a resumed run has the same."""
    assert run.config.rl is not None
    if run.config.rl.algorithm.kl_coef == 0:
        return
    kept = run.folder.path / "reference"
    if resumed is None:
        with writing("the reference", kept):
            run.policy.save(kept)
    else:
        run.policy.load(kept)
    run.policy.freeze_reference()


class Exam:
    """Held-out and retention evaluations of a run: taken, kept in the run folder, and found again when resuming."""

    def __init__(self, run: Run, sampler: Sampler, data: Data) -> None:
        self.run = run
        self.sampler = sampler
        self.data = data
        self.held_out: dict[str, Evaluation] = {}
        """By label, in the order in which they were taken."""
        self.retained: dict[str, Evaluation] = {}
        self.measured: dict[str, Estimate] = {}
        """What gates ask for: the newest eval.pass@K and retention.pass@K."""

    async def take(self, stage: str, step: int) -> Evaluation:
        """Evaluates the policy as it is now (`base`: with the adapter off), unless this was done before the run was resumed."""
        config = self.run.config.eval
        assert config is not None
        weights: Literal["policy", "base"] = "base" if stage == "base" else "policy"
        held_out = await self._one(config, self.data.held_out, stage, step, "heldout", weights)
        self.held_out[held_out.label] = held_out
        if self.data.retention and (stage != "rl" or self.run.config.rl is None or step == self.run.config.rl.steps):
            retained = await self._one(config, self.data.retention, stage, step, "retention", weights)
            self.retained[retained.label] = retained
        return held_out

    def outcome(self, stopped: str | None) -> Outcome:
        """What the run has to show; `stopped` says which gate ended it before its last stage, if one did."""
        return Outcome(held_out=tuple(self.held_out.values()), retained=tuple(self.retained.values()), stopped=stopped)

    def recall(self, stage: str) -> None:
        """The stage's evaluations that were taken before the run was resumed; `RunFolder.rewind` has removed later ones."""
        for name, taken in (("heldout", self.held_out), ("retention", self.retained)):
            for path in sorted((self.run.folder.path / "evaluations").glob(f"{stage}-*-{name}.parquet")):
                match = PART_NAME.fullmatch(path.name)
                known = self._kept(stage, int(match["step"]), name) if match else None
                if known is not None:
                    taken[known.label] = known
                    self._note(known, name)

    def _note(self, evaluation: Evaluation, name: str) -> None:
        prefix = "eval" if name == "heldout" else "retention"
        others = {key: estimate for key, estimate in self.measured.items() if not key.startswith(f"{prefix}.")}
        self.measured = others | {f"{prefix}.pass@{k}": estimate for k, estimate in evaluation.pass_at.items()}

    async def _one(
        self, config: EvalConfig, tasks: Sequence[Task], stage: str, step: int, name: str, weights: Literal["policy", "base"]
    ) -> Evaluation:
        known = self._kept(stage, step, name)
        if known is not None:
            self._note(known, name)
            return known
        evaluation = await evaluate(
            self.sampler, tasks, config, label=_label(stage, step), seed=self.run.config.seed, weights=weights
        )
        if ranks.rank() == 0:
            self.run.folder.write_evaluation(stage, step, name, evaluation.rollouts)
            metrics = {
                f"{name}/accuracy": evaluation.accuracy.value,
                f"{name}/accuracy_low": evaluation.accuracy.low,
                f"{name}/accuracy_high": evaluation.accuracy.high,
                **{f"{name}/pass@{k}": estimate.value for k, estimate in evaluation.pass_at.items() if k > 1},
            }
            self.run.folder.log_metrics(stage, step, metrics)
            for tracker in self.run.trackers:
                tracker.log(step, {f"{stage}/{key}": value for key, value in metrics.items()})
        self._note(evaluation, name)
        return evaluation

    def _kept(self, stage: str, step: int, name: str) -> Evaluation | None:
        path = self.run.folder.path / "evaluations" / f"{stage}-{step:06d}-{name}.parquet"
        return summarise(_label(stage, step), rollouts_of(pq.read_table(path))) if path.is_file() else None


def _label(stage: str, step: int) -> str:
    return f"{stage} {step}" if stage == "rl" else stage


def _probe_tasks(data: Data) -> list[Task]:
    """A few tasks whose prompts serve as the probe of the proof of sync."""
    if data.held_out:
        return list(data.held_out[:16])
    assert data.rl is not None
    cursor = data.rl.state()
    tasks = [next(data.rl) for _ in range(16)]
    data.rl.restore(cursor)
    return tasks


def _hashes(config: Config, model_path: Path | str, data: Data) -> dict[str, str]:
    hashes = {
        "model": fingerprint(model_path)
        if isinstance(model_path, Path)
        else f"{model_path}@{config.model.revision or 'main'}"
    }
    if config.adapter.init_from is not None:
        hashes["adapter"] = fingerprint(config.adapter.init_from)
    for name, tasks in (
        ("sft", data.sft),
        ("preference", data.preference.train),
        ("preference_held_out", data.preference.held_out),
        ("reward_model", data.reward_model.train),
        ("reward_model_held_out", data.reward_model.held_out),
        ("held_out", data.held_out),
        ("retention", data.retention),
    ):
        if tasks:
            hashes[name] = data_fingerprint(tasks)
    return hashes


def _verifiers(data: Data) -> dict[str, str]:
    names = {task.verifier for tasks in (data.held_out, data.retention) for task in tasks}
    return {name: version_of(name) for name in sorted(names) if name}
