"""Gates between stages: `continue_if: {sft: "eval.pass@1 >= 0.2"}` goes on after `sft` only where that holds.

A condition compares one measured number with a constant; it is parsed here and never evaluated as code.

    eval.pass@K         held-out tasks after the stage        retention.pass@K    retention tasks
    pairs.accuracy      held-out pairs of the preference stage

each also with `.low` or `.high`: the bounds of its 95 % interval.
"""

from __future__ import annotations

import dataclasses
import operator
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlvr.statistics import Estimate

_CONDITION = re.compile(
    r"\s*(?P<name>(?:eval|retention)\.pass@[1-9]\d{0,2}|pairs\.accuracy)(?:\.(?P<bound>low|high))?"
    r"\s*(?P<sign>>=|<=|>|<)\s*(?P<number>\d{0,3}(?:\.\d{1,9})?)\s*"
)
_SIGNS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Condition:
    text: str
    name: str
    """eval.pass@1, retention.pass@4, pairs.accuracy, ..."""
    bound: str
    """value, low or high."""
    sign: str
    number: float

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Raises ValueError with the forms that there are."""
        match = _CONDITION.fullmatch(text)
        if match is None or not match["number"] or match["number"] == ".":
            raise ValueError(
                f"{text!r} is not a condition; write one comparison of eval.pass@K, retention.pass@K or pairs.accuracy (or their .low, "
                '.high) with a number, such as "eval.pass@1 >= 0.2"'
            )
        return cls(text.strip(), match["name"], match["bound"] or "value", match["sign"], float(match["number"]))

    @property
    def k(self) -> int | None:
        """K of pass@K."""
        return int(self.name.partition("@")[2]) if "@" in self.name else None

    def holds(self, measured: Mapping[str, Estimate]) -> bool:
        """Whether it holds; KeyError where its number was not measured."""
        return _SIGNS[self.sign](getattr(measured[self.name], self.bound), self.number)

    def verdict(self, measured: Mapping[str, Estimate]) -> str:
        found = getattr(measured[self.name], self.bound)
        return f"{self.text}: {'yes' if self.holds(measured) else 'no'}, it is {found:.4g}"
