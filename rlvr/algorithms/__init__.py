"""Presets: an algorithm's name -> the pieces of `AlgorithmConfig` that make it.

A preset only fills in defaults: whatever a config states itself wins. Nothing here imports torch, because reading a config
must be quick. A new algorithm is one file with a `PRESET` and one line below; a test keeps docs/algorithms.md in step.
"""

from typing import Any

from rlvr.algorithms import cispo, dapo, dr_grpo, grpo, gspo, reinforce_pp, rloo

ALGORITHMS: dict[str, dict[str, Any]] = {
    "grpo": grpo.PRESET,
    "dapo": dapo.PRESET,
    "dr_grpo": dr_grpo.PRESET,
    "rloo": rloo.PRESET,
    "gspo": gspo.PRESET,
    "cispo": cispo.PRESET,
    "reinforce_pp": reinforce_pp.PRESET,
}
