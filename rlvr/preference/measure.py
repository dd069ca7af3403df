"""How well a policy tells chosen from rejected on pairs it was not trained on, and whether it merely likes one length.

Accuracy is the share of pairs whose chosen side has the larger implicit reward, the quantity the objective compares; a tie counts half,
so that a policy that still is its own reference scores 50 %. A policy that has
learnt nothing but "shorter is better" scores as high as the share of pairs whose chosen side is shorter, so that is measured, too, and
accuracy is given for both kinds of pairs apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from rlvr.config.schema import PreferenceAlgorithmConfig
from rlvr.policy import Policy
from rlvr.preference.data import Example
from rlvr.preference.presets import OBJECTIVES
from rlvr.preference.reference import sequence_logprobs
from rlvr.statistics import Estimate, mean_estimate


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PairReport:
    """What was found on held-out pairs."""

    accuracy: Estimate
    margin: float
    """Mean difference of the implicit rewards, chosen minus rejected, in the objective's own unit."""
    logprob_chosen: float | None
    """Mean log-prob of a chosen completion's token, nats; falls when the loss pushes both sides down. None for a reward model."""
    logprob_rejected: float | None
    tokens_chosen: float
    tokens_rejected: float
    chosen_longer: float
    """Share of pairs whose chosen side is the longer one: what a policy that only likes length would score."""
    accuracy_chosen_longer: float | None
    accuracy_chosen_shorter: float | None
    length_correlation: float
    """Between the differences of rewards and of lengths within pairs, -1 to 1: near 1, longer is better and nothing else counts."""

    def metrics(self) -> dict[str, float]:
        """By the names of docs/metrics.md."""
        found = {
            "pairs/accuracy": self.accuracy.value,
            "pairs/accuracy_low": self.accuracy.low,
            "pairs/accuracy_high": self.accuracy.high,
            "pairs/margin": self.margin,
            "pairs/logprob_chosen": self.logprob_chosen,
            "pairs/logprob_rejected": self.logprob_rejected,
            "pairs/tokens_chosen": self.tokens_chosen,
            "pairs/tokens_rejected": self.tokens_rejected,
            "pairs/chosen_longer": self.chosen_longer,
            "pairs/accuracy_chosen_longer": self.accuracy_chosen_longer,
            "pairs/accuracy_chosen_shorter": self.accuracy_chosen_shorter,
            "pairs/length_correlation": self.length_correlation,
        }
        return {name: value for name, value in found.items() if value is not None}

    def sentence(self) -> str:
        return (
            f"held-out pairs: accuracy {self.accuracy.as_percent()} over {self.accuracy.n} pairs, margin {self.margin:+.2f}; chosen "
            f"{self.tokens_chosen:.0f} tokens, rejected {self.tokens_rejected:.0f}, chosen longer in {100 * self.chosen_longer:.0f} %"
        )


def measure_pairs(
    policy: Policy,
    examples: Sequence[Example],
    ref_logprobs: torch.Tensor | None,
    config: PreferenceAlgorithmConfig,
    max_tokens: int,
) -> PairReport:
    """The report of these pairs; `ref_logprobs` [S] is the reference's, None where the objective has none."""
    logprobs = sequence_logprobs(policy, [example.tokens for example in examples], max_tokens)  # [S]
    lengths = torch.tensor([float(n) for example in examples for n in example.tokens.loss_tokens])
    return pair_report(implicit_rewards(logprobs, ref_logprobs, lengths, config), lengths, logprobs)


def pair_report(rewards: torch.Tensor, lengths: torch.Tensor, logprobs: torch.Tensor | None = None) -> PairReport:
    """What rewards [S] of chosen, rejected, chosen, ... of these lengths [S] amount to; `logprobs` [S] are the policy's, if it is one."""
    margins, longer_by = rewards[0::2] - rewards[1::2], lengths[0::2] - lengths[1::2]  # [P]
    right = (margins.sign() + 1) / 2
    longer, shorter = longer_by > 0, longer_by < 0
    per_token = None if logprobs is None else logprobs / lengths
    return PairReport(
        accuracy=mean_estimate(right.tolist()),
        margin=float(margins.mean()),
        logprob_chosen=None if per_token is None else float(per_token[0::2].mean()),
        logprob_rejected=None if per_token is None else float(per_token[1::2].mean()),
        tokens_chosen=float(lengths[0::2].mean()),
        tokens_rejected=float(lengths[1::2].mean()),
        chosen_longer=float(longer.float().mean()),
        accuracy_chosen_longer=float(right[longer].mean()) if longer.any() else None,
        accuracy_chosen_shorter=float(right[shorter].mean()) if shorter.any() else None,
        length_correlation=float(torch.cosine_similarity(margins, longer_by, dim=0)),
    )


def implicit_rewards(
    logprobs: torch.Tensor,  # [S]
    ref_logprobs: torch.Tensor | None,  # [S]
    lengths: torch.Tensor,  # [S]
    config: PreferenceAlgorithmConfig,
) -> torch.Tensor:  # [S]
    """What the objective compares: β log π/π_ref, per token where it is normalised, or β times the mean log-prob without a reference."""
    traits = OBJECTIVES[config.objective]
    if traits.reference:
        assert ref_logprobs is not None
        logprobs = logprobs - ref_logprobs
    return config.beta * (logprobs / lengths if config.length_normalization or not traits.reference else logprobs)
