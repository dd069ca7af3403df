"""Objectives by name: pure functions over the flat loss tokens of a micro-batch (rlvr/objectives/contract.py).

A new one is one file and one line here; `AlgorithmConfig.objective` lists those a config may name.
"""

from rlvr.objectives.clipped import clipped
from rlvr.objectives.clipped_weight import clipped_weight
from rlvr.objectives.contract import Objective
from rlvr.objectives.likelihood import likelihood
from rlvr.objectives.reinforce import reinforce
from rlvr.objectives.sequence_clipped import sequence_clipped

OBJECTIVES: dict[str, Objective] = {
    "clipped": clipped,
    "sequence_clipped": sequence_clipped,
    "clipped_weight": clipped_weight,
    "reinforce": reinforce,
    "likelihood": likelihood,
}
