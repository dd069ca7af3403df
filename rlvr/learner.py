"""The update: micro-batches, gradients, one optimizer step; and the state needed to repeat it exactly.

Departs from the usual mixed-precision set-up in one point: trained weights are kept in the model in the very number format
the engine samples in, and their float32 masters live here. So learner and engine compute with the same numbers, no cast
sits in the forward pass, and a learning rate below bfloat16's resolution still moves the policy.

N = loss tokens of the step, S = its sequences.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from rlvr import ranks
from rlvr.config.schema import AlgorithmConfig, OptimizerConfig
from rlvr.errors import RlvrError
from rlvr.logprobs import token_logprobs
from rlvr.objectives.contract import Objective, TokenBatch
from rlvr.policy import Policy
from rlvr.token_groups import MicroBatch, TokenGroup, split_into_micro_batches

_TOKENS = "tokens"
"""Among the sums of a batch: how many loss tokens went into them, which are not all where sequences without a gradient are left out."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class UpdateBatch:
    """One optimizer step's data, flat: tokens of sequence 0, then of sequence 1, and so on."""

    groups: Sequence[TokenGroup]  # S completions in all
    advantages: torch.Tensor  # [S]
    sampled_logprobs: torch.Tensor  # [N]
    old_logprobs: torch.Tensor | None  # [N]
    ref_logprobs: torch.Tensor | None  # [N]
    weights: torch.Tensor  # [N] aggregation over the whole step, all ranks
    temperature: float = 1.0


class Learner:
    """Owns the optimizer of a policy's trainable weights for one stage. A policy has one learner, the newest."""

    def __init__(self, policy: Policy, config: OptimizerConfig, *, total_steps: int, micro_batch_tokens: int) -> None:
        self.policy = policy
        self.config = config
        self.micro_batch_tokens = micro_batch_tokens
        self.skipped_in_a_row = 0
        self.skipped = 0
        self._names = list(policy.trainable())
        self._weights = list(policy.trainable().values())
        self._masters = [_master_of(weight) for weight in self._weights]
        self.optimizer = torch.optim.AdamW(
            self._masters,
            lr=config.learning_rate,
            betas=config.betas,
            eps=config.eps,
            weight_decay=config.weight_decay,
        )
        self.scheduler = LambdaLR(self.optimizer, _schedule(config, total_steps))
        policy.replace_gradient_hooks(
            [
                weight.register_post_accumulate_grad_hook(_move_gradient_to(master))
                for weight, master in zip(self._weights, self._masters, strict=True)
                if master is not weight
            ]
        )

    def update(self, batch: UpdateBatch, objective: Objective, config: AlgorithmConfig) -> dict[str, float]:
        """One optimizer step. Returns metrics: means over the batch's loss tokens, `loss`, and those of `step`. A batch without
        loss tokens has no means and no loss, and changes no weight."""
        return self.step(lambda: _reduced(self._accumulate(batch, objective, config)))

    def step(self, accumulate: Callable[[], dict[str, float]]) -> dict[str, float]:
        """One optimizer step on the gradient that `accumulate` leaves; its metrics, and `grad_norm`, `learning_rate`.

        A step whose gradient is not finite changes nothing and is counted; too many in a row stop the run.
        """
        self.optimizer.zero_grad(set_to_none=True)
        metrics = accumulate()
        ranks.sum_gradients(self._masters)
        norm = float(nn.utils.clip_grad_norm_(self._masters, self.config.max_grad_norm))
        metrics["grad_norm"] = norm
        metrics["learning_rate"] = float(self.scheduler.get_last_lr()[0])
        if math.isfinite(norm):
            self.optimizer.step()
            self.scheduler.step()
            self._publish()
            self.skipped_in_a_row = 0
        else:
            self._skip(norm)
        self.optimizer.zero_grad(set_to_none=True)
        metrics["skipped_updates"] = float(self.skipped)
        return metrics

    def _accumulate(self, batch: UpdateBatch, objective: Objective, config: AlgorithmConfig) -> dict[str, torch.Tensor]:
        lengths = torch.tensor([n for group in batch.groups for n in group.loss_tokens], dtype=torch.long)
        offsets = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)])
        sums: dict[str, torch.Tensor] = {}
        for micro in split_into_micro_batches(batch.groups, self.micro_batch_tokens):
            tokens = _token_batch(batch, micro, lengths, offsets)
            if not tokens.weights.numel():
                continue
            head = token_logprobs(
                self.policy,
                micro.groups,
                temperature=batch.temperature,
                entropy_gradient=config.entropy_coef > 0,
            )
            out = objective(head.logprobs, tokens, config)
            loss = out.loss
            if config.entropy_coef > 0:
                loss = loss - config.entropy_coef * (head.entropy * tokens.weights).sum()
            loss.backward()
            summed = {"entropy": head.entropy.sum(), "loss": loss, _TOKENS: torch.tensor(float(tokens.weights.numel()))}
            for name, value in {**out.metrics, **summed}.items():
                sums[name] = sums[name] + value.detach() if name in sums else value.detach()
        return sums

    @torch.no_grad()
    def _publish(self) -> None:
        """Rounds the masters into the weights that the model computes with and the engine is given."""
        for weight, master in zip(self._weights, self._masters, strict=True):
            if master is not weight:
                weight.copy_(master)

    def _skip(self, norm: float) -> None:
        self.skipped += 1
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row > self.config.skip_nonfinite:
            raise RlvrError(
                f"gradient norm is {norm} for {self.skipped_in_a_row} updates in a row; nothing was changed by them and the "
                "last checkpoint is intact. Lower the learning rate, or look at the rollouts and metrics of the last steps"
            )

    def state(self) -> dict[str, Any]:
        """Everything an exact continuation needs besides the adapter itself. Live tensors: write them before the next update."""
        return {
            "names": self._names,
            "masters": [master.detach() for master in self._masters],
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "skipped": self.skipped,
            "skipped_in_a_row": self.skipped_in_a_row,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        if state["names"] != self._names:
            raise RlvrError(
                "the checkpoint trains other weights than this config (adapter.rank or adapter.target_modules changed); "
                "resume with the run's own config"
            )
        with torch.no_grad():
            for master, saved in zip(self._masters, state["masters"], strict=True):
                master.copy_(saved)
        self._publish()
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.skipped = state["skipped"]
        self.skipped_in_a_row = state["skipped_in_a_row"]


def _master_of(weight: nn.Parameter) -> nn.Parameter:
    if weight.dtype == torch.float32:
        return weight
    return nn.Parameter(weight.detach().to(torch.float32))


def _move_gradient_to(master: nn.Parameter) -> Any:
    """A hook that adds a micro-batch's gradient to the float32 master, so that accumulation does not round to bfloat16."""

    def hook(weight: torch.Tensor) -> None:
        assert weight.grad is not None
        gradient = weight.grad.to(torch.float32)
        master.grad = gradient if master.grad is None else master.grad.add_(gradient)
        weight.grad = None

    return hook


def _schedule(config: OptimizerConfig, total_steps: int) -> Any:
    """Learning-rate factor at optimizer step t."""

    def factor(t: int) -> float:
        if t < config.warmup_steps:
            return (t + 1) / (config.warmup_steps + 1)
        progress = min(1.0, (t - config.warmup_steps) / max(1, total_steps - config.warmup_steps))
        return {"constant": 1.0, "linear": 1.0 - progress, "cosine": 0.5 * (1 + math.cos(math.pi * progress))}[
            config.schedule
        ]

    return factor


def _token_batch(batch: UpdateBatch, micro: MicroBatch, lengths: torch.Tensor, offsets: torch.Tensor) -> TokenBatch:
    """The flat per-token values of one micro-batch's sequences."""
    device = batch.weights.device
    mine = lengths[list(micro.sequences)]  # [S_micro]
    index = torch.cat([torch.arange(int(offsets[s]), int(offsets[s + 1])) for s in micro.sequences]).to(device)
    sequence_id = torch.repeat_interleave(torch.arange(len(mine)), mine).to(device)
    advantages = batch.advantages[list(micro.sequences)]
    return TokenBatch(
        sampled_logprobs=batch.sampled_logprobs[index],
        old_logprobs=None if batch.old_logprobs is None else batch.old_logprobs[index],
        ref_logprobs=None if batch.ref_logprobs is None else batch.ref_logprobs[index],
        advantages=advantages[sequence_id],
        sequence_id=sequence_id,
        lengths=mine.to(device),
        weights=batch.weights[index],
    )


def _reduced(sums: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Sums over ranks; everything but the loss becomes a mean over the tokens it was computed on."""
    totals = ranks.summed_by_name(sums)
    tokens = totals.pop(_TOKENS, 0.0)
    return {name: total if name == "loss" else total / tokens for name, total in totals.items()}
