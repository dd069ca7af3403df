"""Preference optimisation: chosen over rejected (or good and bad completions), against a frozen reference.

The reference's log-probs are computed before the first update and kept, in a cache for other runs and in the run folder for this one, so
that a resumed run compares with the very same numbers. Training resumes exactly, as in the other stages.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from rlvr import ranks
from rlvr.checkpoint import Checkpoint
from rlvr.config.schema import PreferenceConfig
from rlvr.errors import RlvrError
from rlvr.preference.data import Example, PairTasks, Prepared, mismatched, prepare, shared_prompts_note
from rlvr.preference.measure import PairReport, measure_pairs
from rlvr.preference.presets import OBJECTIVES
from rlvr.preference.reference import reference_logprobs
from rlvr.preference.update import PreferenceStep, update
from rlvr.progress import Progress
from rlvr.run import Run
from rlvr.run_folder import write_atomically
from rlvr.stages.steps import Steps, record_pairs, total_steps, train_steps
from rlvr.token_groups import TokenGroup
from rlvr_verifiers.types import Task

STAGE = "preference"
REFERENCE = "preference-reference.safetensors"
CACHE = "reference-cache"
"""Folder under `output_dir` that all its runs share."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class References:
    """Log-probs under the reference of each completion, in the examples' order; None where the objective has no reference."""

    train: tuple[torch.Tensor, ...] | None  # [examples] of [G]
    mismatched: tuple[torch.Tensor, ...] | None  # [examples] of [G']
    held_out: torch.Tensor | None  # [S]


class PreferenceStage:
    """Data, reference and measurements of one preference stage."""

    def __init__(self, run: Run, tasks: PairTasks, model_hash: str) -> None:
        assert run.config.preference is not None
        self.run = run
        self.config: PreferenceConfig = run.config.preference
        self.traits = OBJECTIVES[self.config.algorithm.objective]
        self.model_hash = model_hash
        self.train_data = self._prepared(tasks.train, "preference.tasks", pairs_only=self.traits.pairs)
        self.held_out = (
            self._prepared(tasks.held_out, "preference.held_out", pairs_only=True).examples if tasks.held_out else ()
        )
        kl_objective = self.config.algorithm.objective == "kto"
        self.mismatched: list[TokenGroup] = mismatched(self.train_data.examples) if kl_objective else []

    def train(self, resume: Checkpoint | None, kept: Mapping[str, Any]) -> PairReport | None:
        """Trains `run.policy` in place and returns the last measurement on held-out pairs; checkpoints carry `kept`.

        Raises `Interrupted` after saving when the user asked to stop.
        """
        run, config = self.run, self.config
        examples = self.train_data.examples
        report: PairReport | None = None
        with Progress(STAGE, total_steps(config, len(examples))) as progress:
            for note in (*self.train_data.notes, *shared_prompts_note(examples, self.held_out, STAGE)):
                progress.note(note)
            references = self._references(resume, progress)
            steps = Steps.over(examples, run, STAGE, config, kept)

            def measure(step: int) -> None:
                nonlocal report
                report = self._measure(step, references, progress)

            done = steps.resumed_at(resume, run)
            if resume is None or done == steps.total:
                measure(done)
            train_steps(
                run,
                progress,
                steps,
                done,
                lambda mine: update(steps.learner, self._step(mine, references), config.algorithm),
                measure=measure,
                measure_every=config.evaluate_every,
            )
        return report

    def _prepared(self, tasks: tuple[Task, ...], where: str, *, pairs_only: bool) -> Prepared:
        return prepare(tasks, self.run.policy.chat, self.config, where=where, pairs_only=pairs_only)

    def _references(self, resume: Checkpoint | None, progress: Progress) -> References:
        if not self.traits.reference:
            return References(train=None, mismatched=None, held_out=None)
        train = [example.tokens for example in self.train_data.examples]
        groups = [*train, *self.mismatched, *(example.tokens for example in self.held_out)]
        kept = self.run.folder.path / REFERENCE
        if resume is None:
            logprobs, said = reference_logprobs(
                self.run.policy,
                groups,
                self.run.config,
                weights=self.config.reference,
                model_hash=self.model_hash,
                folder=self.run.config.output_dir / CACHE,
            )
            progress.note(said)
            if ranks.rank() == 0:
                write_atomically(kept, save({"logprobs": logprobs}))
        else:
            logprobs = _read_kept(kept, sum(len(group.completion_ids) for group in groups))
        by_group = logprobs.split([len(group.completion_ids) for group in groups])
        return References(
            train=by_group[: len(train)],
            mismatched=by_group[len(train) : len(train) + len(self.mismatched)] if self.mismatched else None,
            held_out=torch.cat(by_group[len(train) + len(self.mismatched) :]) if self.held_out else None,
        )

    def _step(self, examples: Sequence[Example], references: References) -> PreferenceStep:
        picked = [example.index for example in examples]
        if references.mismatched is None:
            return PreferenceStep(examples=examples, ref_logprobs=_joined(references.train, picked))
        return PreferenceStep(
            examples=examples,
            ref_logprobs=_joined(references.train, picked),
            mismatched=[self.mismatched[i] for i in picked],
            ref_mismatched=_joined(references.mismatched, picked),
        )

    def _measure(self, step: int, references: References, progress: Progress) -> PairReport | None:
        """Measures held-out pairs and records it, once for each step."""
        if not self.held_out:
            return None
        report = measure_pairs(
            self.run.policy, self.held_out, references.held_out, self.config.algorithm, self.run.config.micro_batch_tokens
        )
        record_pairs(self.run, progress, STAGE, step, report)
        return report


def _joined(by_example: tuple[torch.Tensor, ...] | None, picked: list[int]) -> torch.Tensor | None:
    if by_example is None:
        return None
    return torch.cat([by_example[i] for i in picked]) if picked else torch.zeros(0)


def _read_kept(file: Path, sequences: int) -> torch.Tensor:
    try:
        logprobs = load_file(file)["logprobs"]
    except (OSError, SafetensorError, KeyError) as error:
        raise RlvrError(
            f"{file}: the reference's log-probs cannot be read ({' '.join(str(error).split())[:200]}); they were computed with weights "
            "that this run no longer has, so start a new run"
        ) from None
    if len(logprobs) != sequences:
        raise RlvrError(
            f"{file}: holds {len(logprobs)} completions, the data has {sequences} now; resume with the run's own data"
        )
    return logprobs
