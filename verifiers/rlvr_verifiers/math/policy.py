"""What counts as equal where that is a matter of taste: explicit, per task, with defaults that cannot be exploited."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from rlvr_verifiers.errors import VerifierError


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """The verifier_args of `math`. The first value of each choice is the default."""

    form: Literal["number", "any"] = "number"
    """`number`: where the gold is a plain number (integer, decimal, fraction, mixed, percent, scientific), so must the answer be;
    `13 + 29`, `84/2`, `2^{10}` and `\\sqrt{49}` are a question restated and no answer, and so is an expression that stands in the
    question and is not how the gold is written. `any`: every form of the value counts."""
    tolerance: float = 0.0
    """Relative to the gold; 0 compares exactly."""
    decimals: Literal["gold", "exact", "rounded"] = "gold"
    """`gold`: a decimal gold of four significant digits or more, such as 3.142, may be a rounding, so that an exact answer that
    rounds to it counts. `rounded`: so may any decimal gold, and an answer with more decimals counts too. `exact`: no rounding."""
    units: Literal["optional", "required"] = "optional"
    """`optional`: either side may leave its unit out. Two different units are never equal, and nothing is converted."""
    percent: Literal["either", "number", "value"] = "either"
    """Where only one side says percent: `value`: 50% is 0.5; `number`: 50% is 50; `either`: both, but a bare gold of at most 1 is
    a share, to which 0.5% is not 0.5."""
    order: Literal["kind", "strict", "any"] = "kind"
    """`kind`: order matters in a tuple and not in a set or list; `strict`: in a list too; `any`: in none of them."""

    def __post_init__(self) -> None:
        for field, allowed in CHOICES.items():
            value = getattr(self, field)
            if value not in allowed:
                raise VerifierError(f"math: {field!r} is {value!r}; give one of {', '.join(allowed)}")
        if not (math.isfinite(self.tolerance) and self.tolerance >= 0):
            raise VerifierError(f"math: 'tolerance' is {self.tolerance!r}; give a finite number of at least 0")


CHOICES: dict[str, tuple[str, ...]] = {
    "form": ("number", "any"),
    "decimals": ("gold", "exact", "rounded"),
    "units": ("optional", "required"),
    "percent": ("either", "number", "value"),
    "order": ("kind", "strict", "any"),
}
DEFAULT = Policy()
