"""From groups of scored rollouts to the flat data of optimizer steps: rewards, advantages, masks, weights.

A rollout batch gives `updates_per_batch` optimizer steps over disjoint sets of whole groups, `passes_per_batch` times. All
weights are computed over a whole optimizer step and all ranks, before any micro-batch is formed.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import torch

from rlvr import ranks
from rlvr.advantages import compute_advantages
from rlvr.config.schema import RlConfig
from rlvr.kl import sequence_kl
from rlvr.learner import UpdateBatch
from rlvr.rewards import shape_rewards
from rlvr.token_groups import TokenGroup
from rlvr.token_weights import StepTotals, step_totals, token_weights
from rlvr.types import Group

LogprobsOf = Callable[[Sequence[TokenGroup]], torch.Tensor]
"""Log-probs [N] of all loss tokens of these groups under some fixed weights."""


def token_group(group: Group, *, overlong_filter: bool) -> TokenGroup:
    """The group's tokens; with the overlong filter, completions cut at the limit have no loss tokens."""
    completions = [rollout.completion for rollout in group.rollouts]
    return TokenGroup(
        prompt_ids=completions[0].prompt_ids,
        completion_ids=tuple(c.token_ids for c in completions),
        loss_masks=tuple(
            (False,) * len(c.token_ids) if overlong_filter and c.finish_reason == "length" else c.loss_mask
            for c in completions
        ),
    )


def with_advantages(
    groups: Sequence[Group], config: RlConfig, policy_logprobs: LogprobsOf, ref_logprobs: LogprobsOf
) -> list[Group]:
    """Groups with rewards shaped and advantages filled in; log-probs are asked for only where the KL is in the reward."""
    algorithm = config.algorithm
    kls: list[list[float]] | None = None
    if algorithm.kl_coef > 0 and algorithm.kl_placement == "reward":
        kls = [_group_kls(group, config, policy_logprobs, ref_logprobs) for group in groups]
    rewards = [
        shape_rewards(
            [_score(rollout.score.value) for rollout in group.rollouts],
            [len(rollout.completion.token_ids) for rollout in group.rollouts],
            algorithm,
            config.max_completion_tokens,
            None if kls is None else kls[i],
        )
        for i, group in enumerate(groups)
    ]
    advantages = compute_advantages(rewards, algorithm.advantage)
    return [
        dataclasses.replace(
            group,
            advantages=tuple(advantages[i]),
            rollouts=tuple(
                dataclasses.replace(rollout, reward=reward)
                for rollout, reward in zip(group.rollouts, rewards[i], strict=True)
            ),
        )
        for i, group in enumerate(groups)
    ]


def update_batches(
    groups: Sequence[Group],
    config: RlConfig,
    device: torch.device,
    policy_logprobs: LogprobsOf,
    ref_logprobs: LogprobsOf,
) -> list[UpdateBatch]:
    """The optimizer steps of one rollout batch, in order."""
    algorithm = config.algorithm
    needs_ref = algorithm.kl_coef > 0 and algorithm.kl_placement == "loss"
    one_update = config.updates_per_batch == 1 and config.passes_per_batch == 1
    batches: list[UpdateBatch] = []
    for part in _parts(groups, config.updates_per_batch):
        tokens = [token_group(group, overlong_filter=algorithm.overlong_filter) for group in part]
        lengths = [n for group in tokens for n in group.loss_tokens]
        local = step_totals(lengths)
        total_sequences, total_tokens = ranks.summed(local.sequences, local.tokens)
        totals = StepTotals(sequences=int(total_sequences), tokens=int(total_tokens))
        if not totals.tokens:
            continue
        sampled = [p for g in part for r in g.rollouts for p in r.completion.sampled_logprobs]
        counted = [m for group in tokens for mask in group.loss_masks for m in mask]
        batch = UpdateBatch(
            groups=tokens,
            advantages=torch.tensor([a for group in part for a in group.advantages], device=device),
            sampled_logprobs=torch.tensor(sampled, device=device)[torch.tensor(counted, device=device)],
            old_logprobs=None if one_update else policy_logprobs(tokens),
            ref_logprobs=ref_logprobs(tokens) if needs_ref else None,
            weights=token_weights(algorithm.token_weights, lengths, totals, config.max_completion_tokens).to(device),
            temperature=config.temperature,
        )
        batches.append(batch if needs_ref or algorithm.entropy_coef > 0 else _without_idle(batch))
    return batches * config.passes_per_batch


def _without_idle(batch: UpdateBatch) -> UpdateBatch:
    """Leaves out sequences whose gradient is zero anyway (no advantage, no loss tokens); their share of the weights stays."""
    groups: list[TokenGroup] = []
    sequences: list[int] = []
    first = 0
    for group in batch.groups:
        busy = [g for g, tokens in enumerate(group.loss_tokens) if tokens and float(batch.advantages[first + g]) != 0.0]
        if busy:
            groups.append(group.take(busy))
            sequences += [first + g for g in busy]
        first += len(group.completion_ids)
    lengths = torch.tensor([n for group in batch.groups for n in group.loss_tokens])
    chosen = torch.zeros(len(lengths), dtype=torch.bool)
    chosen[sequences] = True
    tokens = torch.repeat_interleave(chosen, lengths).to(batch.weights.device)
    return dataclasses.replace(
        batch,
        groups=groups,
        advantages=batch.advantages[chosen.to(batch.advantages.device)],
        sampled_logprobs=batch.sampled_logprobs[tokens],
        old_logprobs=None if batch.old_logprobs is None else batch.old_logprobs[tokens],
        weights=batch.weights[tokens],
    )


def _parts(groups: Sequence[Group], number: int) -> list[Sequence[Group]]:
    """`number` runs of whole groups, as even as can be; empty ones are left out."""
    bounds = [round(i * len(groups) / number) for i in range(number + 1)]
    return [groups[a:b] for a, b in itertools.pairwise(bounds) if b > a]


def _group_kls(group: Group, config: RlConfig, policy_logprobs: LogprobsOf, ref_logprobs: LogprobsOf) -> list[float]:
    tokens = [token_group(group, overlong_filter=False)]
    lengths = torch.tensor(tokens[0].loss_tokens)
    old, reference = policy_logprobs(tokens), ref_logprobs(tokens)
    sequence_id = torch.repeat_interleave(torch.arange(len(lengths)), lengths).to(old.device)
    return sequence_kl(old, reference, sequence_id, len(lengths), config.algorithm.kl_estimator).tolist()


def _score(value: float | None) -> float:
    assert value is not None, "rollouts whose verifier failed leave their group before training"
    return value
