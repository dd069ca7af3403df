"""The reward model stage: learns from pairs to score a completion, so that a scorer can stand where no verifier can.

The policy that comes out of it is a judge and generates no more: nothing follows this stage. Training resumes exactly, as in the others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from rlvr import ranks
from rlvr.checkpoint import Checkpoint
from rlvr.config.schema import RewardModelConfig
from rlvr.learner import Learner
from rlvr.preference.bradley_terry import bradley_terry
from rlvr.preference.data import Example, PairTasks, prepare, shared_prompts_note
from rlvr.preference.measure import PairReport, pair_report
from rlvr.progress import Progress
from rlvr.reward_model import RewardModel
from rlvr.run import Run
from rlvr.stages.steps import Steps, record_pairs, train_steps
from rlvr.token_groups import split_into_micro_batches

STAGE = "reward_model"


def train_reward_model(run: Run, tasks: PairTasks, resume: Checkpoint | None, kept: Mapping[str, Any]) -> PairReport | None:
    """Makes a reward model of `run.policy` and returns its last measurement on held-out pairs; checkpoints carry `kept`.

    Raises `Interrupted` after saving when the user asked to stop.
    """
    config = run.config.reward_model
    assert config is not None
    chat = run.policy.chat
    data = prepare(tasks.train, chat, config, where=f"{STAGE}.tasks", pairs_only=True)
    held_out = (
        prepare(tasks.held_out, chat, config, where=f"{STAGE}.held_out", pairs_only=True).examples if tasks.held_out else ()
    )
    model = RewardModel(run.policy)
    run = dataclasses.replace(run, policy=model)
    steps = Steps.over(data.examples, run, STAGE, config, kept)
    report: PairReport | None = None
    with Progress(STAGE, steps.total) as progress:
        for note in (*data.notes, *shared_prompts_note(data.examples, held_out, STAGE)):
            progress.note(note)

        def measure(step: int) -> None:
            nonlocal report
            if held_out:
                report = measure_rewards(model, held_out, run.config.micro_batch_tokens)
                record_pairs(run, progress, STAGE, step, report)

        done = steps.resumed_at(resume, run)
        if resume is None or done == steps.total:
            measure(done)
        train_steps(
            run,
            progress,
            steps,
            done,
            lambda mine: update(steps.learner, model, mine, config),
            measure=measure,
            measure_every=config.evaluate_every,
        )
    return report


def update(learner: Learner, model: RewardModel, mine: Sequence[Example], config: RewardModelConfig) -> dict[str, float]:
    """One optimizer step on this rank's pairs. Returns `loss`, the objective's metrics and the learner's own."""
    (pairs,) = ranks.summed(float(len(mine)))

    def accumulate() -> dict[str, float]:
        sums: dict[str, torch.Tensor] = {}
        groups = [example.tokens for example in mine]
        for micro in split_into_micro_batches(groups, learner.micro_batch_tokens, whole_groups=True):
            out = bradley_terry(model.rewards(micro.groups), pairs, config.center_coef)
            out.loss.backward()
            for name, value in {**out.metrics, "loss": out.loss.detach()}.items():
                sums[name] = sums[name] + value if name in sums else value
        return ranks.summed_by_name(sums)

    return learner.step(accumulate)


def measure_rewards(model: RewardModel, examples: Sequence[Example], max_tokens: int) -> PairReport:
    """How well the model tells chosen from rejected, and whether it merely likes a length."""
    lengths = torch.tensor([float(n) for example in examples for n in example.tokens.loss_tokens])
    return pair_report(model.frozen_rewards([example.tokens for example in examples], max_tokens), lengths)
