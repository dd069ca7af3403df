"""One optimizer step on preferences: whole groups in micro-batches, everything that spans them computed before.

S = sequences of the step. Counts are summed over ranks first, so neither micro-batches nor ranks change the gradient.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from rlvr import ranks
from rlvr.config.schema import PreferenceAlgorithmConfig
from rlvr.importance import sequence_sum
from rlvr.learner import Learner
from rlvr.logprobs import token_logprobs
from rlvr.preference.contract import PreferenceBatch
from rlvr.preference.data import Example
from rlvr.preference.objectives import OBJECTIVES
from rlvr.preference.presets import OBJECTIVES as TRAITS
from rlvr.preference.reference import sequence_logprobs
from rlvr.token_groups import TokenGroup, split_into_micro_batches


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreferenceStep:
    """This rank's share of one optimizer step."""

    examples: Sequence[Example]  # S sequences in all
    ref_logprobs: torch.Tensor | None  # [S] whole sequences under the reference
    mismatched: Sequence[TokenGroup] = ()
    """KTO: prompts with other prompts' completions."""
    ref_mismatched: torch.Tensor | None = None  # [S'] their log-probs under the reference


def update(learner: Learner, step: PreferenceStep, config: PreferenceAlgorithmConfig) -> dict[str, float]:
    """Makes the step. Returns `loss`, `entropy`, the objective's metrics and the learner's own."""
    whole = _whole_step(learner, step, config)
    return learner.step(lambda: _accumulate(learner, step, whole, config))


def _accumulate(
    learner: Learner, step: PreferenceStep, whole: PreferenceBatch, config: PreferenceAlgorithmConfig
) -> dict[str, float]:
    objective = OBJECTIVES[config.objective]
    groups = [example.tokens for example in step.examples]
    lengths = whole.lengths.to(torch.long)
    (tokens,) = ranks.summed(float(whole.lengths.sum()))
    sums: dict[str, torch.Tensor] = {}
    for micro in split_into_micro_batches(groups, learner.micro_batch_tokens, whole_groups=True):
        mine = torch.tensor(micro.sequences, device=lengths.device)
        head = token_logprobs(learner.policy, micro.groups)
        sequence_id = torch.repeat_interleave(torch.arange(len(mine), device=lengths.device), lengths[mine])
        out = objective(sequence_sum(head.logprobs, sequence_id, len(mine)), _part(whole, mine), config)
        out.loss.backward()
        entropy = head.entropy.detach().sum() / tokens
        for name, value in {**out.metrics, "entropy": entropy, "loss": out.loss.detach()}.items():
            sums[name] = sums[name] + value if name in sums else value
    return ranks.summed_by_name(sums)


def _whole_step(learner: Learner, step: PreferenceStep, config: PreferenceAlgorithmConfig) -> PreferenceBatch:
    """The batch of all S sequences of this rank, with weights over the step and all ranks."""
    device = learner.policy.device
    desirable = torch.tensor([good for example in step.examples for good in example.desirable], dtype=torch.bool)
    lengths = torch.tensor([n for example in step.examples for n in example.tokens.loss_tokens], dtype=torch.float32)
    good, bad, chosen_tokens = ranks.summed(
        float(desirable.sum()), float((~desirable).sum()), float(lengths[desirable].sum())
    )
    units = good if TRAITS[config.objective].pairs else good + bad
    return PreferenceBatch(
        ref_logprobs=None if step.ref_logprobs is None else step.ref_logprobs.to(device),
        lengths=lengths.to(device),
        desirable=desirable.to(device),
        weights=torch.full_like(lengths, 1 / units).to(device),
        mean_weights=torch.where(desirable, 1 / max(1.0, good), 1 / max(1.0, bad)).to(device),
        chosen_tokens=max(1.0, chosen_tokens),
        kl=_kl(learner, step).to(device) if step.ref_mismatched is not None else None,
    )


def _kl(learner: Learner, step: PreferenceStep) -> torch.Tensor:
    """KTO's z: the mean log-ratio over mismatched prompts and completions, never below 0."""
    assert step.ref_mismatched is not None
    ratios = sequence_logprobs(learner.policy, step.mismatched, learner.micro_batch_tokens) - step.ref_mismatched
    total, count = ranks.summed(float(ratios.sum()), float(len(ratios)))
    return torch.tensor(max(0.0, total / count))


def _part(whole: PreferenceBatch, mine: torch.Tensor) -> PreferenceBatch:
    return dataclasses.replace(
        whole,
        ref_logprobs=None if whole.ref_logprobs is None else whole.ref_logprobs[mine],
        lengths=whole.lengths[mine],
        desirable=whole.desirable[mine],
        weights=whole.weights[mine],
        mean_weights=whole.mean_weights[mine],
    )
