"""Bradley-Terry (Bradley and Terry, 1952; as the loss of a reward model: Stiennon et al., 2020, arXiv:2009.01325).

    loss = -log σ(r(chosen) - r(rejected)) + c · (r(chosen) + r(rejected))²

The probability that chosen beats rejected is the logistic function of the difference of their rewards, so rewards are known up to a
constant for each prompt; the second term (Eisenstein et al., 2023, arXiv:2312.09244) keeps them around 0, so that rewards of different
prompts can be read on one scale. c is `center_coef`.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from rlvr.objectives.contract import LossOutput


def bradley_terry(rewards: torch.Tensor, pairs: float, center_coef: float) -> LossOutput:
    """A micro-batch's share of the loss and of the metrics' means. `rewards` [S] stand as chosen, rejected, chosen, ...; `pairs` is the
    number of the whole step's."""
    chosen, rejected = rewards[0::2], rewards[1::2]  # [P]
    losses = -F.logsigmoid(chosen - rejected) + center_coef * (chosen + rejected) ** 2
    with torch.no_grad():
        margins = chosen - rejected
        metrics = {
            "reward/chosen": chosen.sum() / pairs,
            "reward/rejected": rejected.sum() / pairs,
            "reward/margin": margins.sum() / pairs,
            "reward/accuracy": (margins > 0).sum() / pairs,
        }
    return LossOutput(loss=losses.sum() / pairs, metrics=metrics)
