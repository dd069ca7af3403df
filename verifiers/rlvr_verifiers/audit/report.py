"""What an audit found, as JSON and as a table."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import Counter
from typing import Any

EXAMPLES = 3
SLOW_S = 1.0
"""A completion that takes longer than this to judge counts as slow."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """One attack and what the target said."""

    task: str
    gold: str
    kind: str
    text: str
    right: bool
    passed: bool
    value: float | None
    reason: str
    explanation: str
    seconds: float

    @property
    def wrong(self) -> bool:
        """A false accept or a false reject. No verdict (None) is neither; it is counted as a failure."""
        return self.value is not None and self.passed != self.right


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AuditReport:
    target: str
    form: str
    """How answers were stated: the form in which it passed most honest golds."""
    confinement: str
    tasks: int
    judged: tuple[Judged, ...]
    left_out: int
    """Giant and slow inputs that were not tried, because the same input had been slow on other tasks."""
    effects: tuple[dict[str, Any], ...]
    """Each {attack, kind, what}; kind `code`: text of a completion was compiled."""
    canary: bool
    """A payload made its file: text of a completion was executed."""

    @property
    def false_accepts(self) -> list[Judged]:
        return [each for each in self.judged if each.wrong and not each.right]

    @property
    def false_rejects(self) -> list[Judged]:
        return [each for each in self.judged if each.wrong and each.right]

    @property
    def failures(self) -> list[Judged]:
        """Raised, crashed, or stopped at the deadline."""
        return [each for each in self.judged if each.value is None or each.reason in ("crash", "timeout")]

    def rates(self) -> dict[str, Any]:
        right = sum(each.right for each in self.judged)
        wrong = len(self.judged) - right
        return {
            "attacks": wrong,
            "false_accepts": len(self.false_accepts),
            "false_accept_rate": len(self.false_accepts) / wrong if wrong else None,
            "honest": right,
            "false_rejects": len(self.false_rejects),
            "false_reject_rate": len(self.false_rejects) / right if right else None,
            "failures": dict(Counter(each.reason for each in self.failures)),
        }

    def speed(self) -> dict[str, Any]:
        """How long judging took, in seconds, the targets' own time."""
        seconds = sorted(each.seconds for each in self.judged)
        slowest = max(self.judged, key=lambda each: each.seconds)
        return {
            "total_s": sum(seconds),
            "median_s": statistics.median(seconds),
            "p99_s": seconds[math.ceil(0.99 * len(seconds)) - 1],
            "slow": sum(each > SLOW_S for each in seconds),
            "left_out": self.left_out,
            "slowest": {"kind": slowest.kind, "seconds": slowest.seconds, "text": slowest.text[:160]},
        }

    def by_kind(self) -> list[dict[str, Any]]:
        kinds = dict.fromkeys(each.kind for each in self.judged)
        return [self._kind(kind) for kind in kinds]

    def _kind(self, kind: str) -> dict[str, Any]:
        mine = [each for each in self.judged if each.kind == kind]
        wrong = [each for each in mine if each.wrong]
        return {
            "kind": kind,
            "must": "pass" if mine[0].right else "fail",
            "tried": len(mine),
            "wrong": len(wrong),
            "slowest_s": max(each.seconds for each in mine),
            "examples": [f"{each.gold} | {each.text[:160]}" for each in wrong[:EXAMPLES]],
        }

    def to_json(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "form": self.form,
            "confinement": self.confinement,
            "tasks": self.tasks,
            **self.rates(),
            "executed_model_text": self.canary,
            "effects": list(self.effects[:50]),
            **self.speed(),
            "kinds": self.by_kind(),
        }

    def text(self) -> str:
        found = self.to_json()
        lines = [f"{self.target}: {self.tasks} tasks, answers stated {self.form}; {self.confinement}"]
        for name, total in (("false_accept", "attacks"), ("false_reject", "honest")):
            rate = found[f"{name}_rate"]
            share = "" if rate is None else f" ({rate:.1%})"
            lines.append(f"{name.replace('_', ' ')}s: {found[f'{name}s']} of {found[total]}{share}")
        failures = ", ".join(f"{reason} {count}" for reason, count in found["failures"].items())
        lines.append(f"no verdict: {failures or 'none'}")
        left_out = f" ({self.left_out} more like them left out)" if self.left_out else ""
        lines.append(
            f"seconds: median {found['median_s']:.4f}, p99 {found['p99_s']:.3f}, slowest {found['slowest']['seconds']:.3f} "
            f"({found['slowest']['kind']}); {found['slow']} over {SLOW_S:g} s{left_out}"
        )
        effects = dict(Counter(effect["kind"] for effect in self.effects))
        ran = "EXECUTED text of a completion" if self.canary else "executed no payload"
        lines += [f"effects: {', '.join(f'{kind} {count}' for kind, count in effects.items()) or 'none'}; {ran}", ""]
        lines.append(f"{'kind':20} must  tried  wrong  slowest s  example (gold | completion)")
        for row in found["kinds"]:
            example = row["examples"][0].replace("\n", " ")[:70] if row["examples"] else ""
            lines.append(
                f"{row['kind']:20} {row['must']:5} {row['tried']:5}  {row['wrong']:5}  {row['slowest_s']:9.3f}  {example}".rstrip()
            )
        return "\n".join(lines)
