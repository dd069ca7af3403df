"""Supervised warm start: demonstrations as groups of one, through the same forward pass and update as everything else.

Only what the assistant wrote counts (completion-only loss), aggregated as a mean over the step's tokens; see
rlvr/demonstrations.py for what that is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from rlvr import ranks
from rlvr.chat_template import ChatFormat
from rlvr.checkpoint import Checkpoint
from rlvr.config.schema import AlgorithmConfig, SftConfig
from rlvr.demonstrations import cut, demonstration
from rlvr.errors import RlvrError
from rlvr.learner import UpdateBatch
from rlvr.objectives.likelihood import likelihood
from rlvr.progress import Progress
from rlvr.run import Run
from rlvr.stages.steps import Steps, train_steps
from rlvr.token_groups import TokenGroup
from rlvr.token_weights import StepTotals, step_totals, token_weights
from rlvr_verifiers.types import Task

STAGE = "sft"


def train_sft(run: Run, tasks: Sequence[Task], resume: Checkpoint | None, kept: Mapping[str, Any]) -> None:
    """Trains `run.policy` in place; checkpoints carry `kept`. Raises `Interrupted` after saving when the user asked to stop."""
    config = run.config.sft
    assert config is not None
    usable, too_long = _usable(run.policy.chat, tasks, config)
    steps = Steps.over(usable, run, STAGE, config, kept)

    def update(mine: Sequence[Task]) -> dict[str, float]:
        groups = [cut(demonstration(task, run.policy.chat, config.turns), config.max_tokens) for task in mine]
        return steps.learner.update(_update_batch(groups, run.policy.device), likelihood, AlgorithmConfig())

    done = steps.resumed_at(resume, run)
    with Progress(STAGE, steps.total) as progress:
        if too_long:
            progress.note(too_long)
        train_steps(run, progress, steps, done, update)


def _usable(chat: ChatFormat, tasks: Sequence[Task], config: SftConfig) -> tuple[list[Task], str | None]:
    """Tasks whose demonstration fits or may be truncated, and a sentence about those that do not fit."""
    lengths = [_tokens(demonstration(task, chat, config.turns)) for task in tasks]
    too_long = sum(length > config.max_tokens for length in lengths)
    if not too_long:
        return list(tasks), None
    verb = "dropped" if config.too_long == "drop" else "truncated"
    said = f"{too_long} of {len(tasks)} demonstrations exceed sft.max_tokens={config.max_tokens} and are {verb}"
    if config.too_long == "truncate":
        return list(tasks), said
    usable = [task for task, length in zip(tasks, lengths, strict=True) if length <= config.max_tokens]
    if not usable:
        raise RlvrError(
            f"sft.max_tokens={config.max_tokens}: all {len(tasks)} demonstrations are longer (shortest {min(lengths)} tokens); "
            "raise it, or set sft.too_long=truncate"
        )
    return usable, said


def _tokens(group: TokenGroup) -> int:
    return len(group.prompt_ids) + len(group.completion_ids[0])


def _update_batch(groups: Sequence[TokenGroup], device: torch.device) -> UpdateBatch:
    lengths = [n for group in groups for n in group.loss_tokens]
    local = step_totals(lengths)
    sequences, tokens = ranks.summed(local.sequences, local.tokens)
    totals = StepTotals(sequences=int(sequences), tokens=int(tokens))
    weights = token_weights("token_mean", lengths, totals, max(lengths)).to(device)
    return UpdateBatch(
        groups=groups,
        advantages=torch.ones(len(lengths), device=device),
        sampled_logprobs=torch.zeros_like(weights),
        old_logprobs=None,
        ref_logprobs=None,
        weights=weights,
    )
