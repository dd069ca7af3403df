"""Which preference algorithms there are: the pieces each name stands for, and which pieces its objective reads.

`preference.algorithm: simpo` in a config fills in SimPO's pieces; any piece a config states itself wins. A piece that the objective does
not read is an error there, never ignored. No torch in here: configs are checked in a blink.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Traits:
    """What an objective needs besides the policy's log-probs."""

    reads: frozenset[str]
    """Pieces of the config that change it; `beta` always does."""
    reference: bool = True
    """Whether it compares with a frozen reference."""
    pairs: bool = True
    """Whether it learns from pairs only, or from single labelled completions as well."""


_SMOOTHING = {"label_smoothing", "smoothing"}

OBJECTIVES: Mapping[str, Traits] = {
    "dpo": Traits(reads=frozenset({*_SMOOTHING, "length_normalization", "sft_weight"})),
    "ipo": Traits(reads=frozenset({"length_normalization", "sft_weight"})),
    "hinge": Traits(reads=frozenset({"length_normalization", "sft_weight"})),
    "kto": Traits(reads=frozenset({"desirable_weight", "undesirable_weight"}), pairs=False),
    "simpo": Traits(reads=frozenset({*_SMOOTHING, "target_margin", "sft_weight"}), reference=False),
    "orpo": Traits(reads=frozenset({"sft_weight"}), reference=False),
}

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "dpo": {"objective": "dpo", "beta": 0.1},
    "cdpo": {"objective": "dpo", "beta": 0.1, "label_smoothing": 0.1, "smoothing": "conservative"},
    "robust_dpo": {"objective": "dpo", "beta": 0.1, "label_smoothing": 0.1, "smoothing": "robust"},
    "dpo_norm": {"objective": "dpo", "beta": 5.0, "length_normalization": True},
    "ipo": {"objective": "ipo", "beta": 0.1, "length_normalization": True},
    "hinge": {"objective": "hinge", "beta": 0.1},
    "kto": {"objective": "kto", "beta": 0.1},
    "simpo": {"objective": "simpo", "beta": 2.0, "target_margin": 1.0},
    "orpo": {"objective": "orpo", "beta": 0.1, "sft_weight": 1.0},
}
