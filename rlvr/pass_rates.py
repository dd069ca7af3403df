"""Which problems were solved, and how often: pass@k of each task source with intervals, and each problem's first failing case.

Fed one score at a time, from a model that is being evaluated or from completions that somebody else sampled. Scores of None (our
failures) are counted and are in no rate. pass@k is the unbiased estimate over all completions of a problem; it is given for k up
to the fewest completions that any problem of the source has.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from rlvr.errors import RlvrError
from rlvr.printable import visible
from rlvr.statistics import Estimate, pass_at_k
from rlvr_verifiers.types import Score

KEPT_CHARACTERS = 600
"""Of the first failure's explanation: the failing case with its input, what was expected, and what came."""
POWERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
ALL = "all sources"
UNANSWERED = frozenset({"no_answer", "truncated"})
"""Say nothing about the problem: any other failure is the one to show."""


@dataclasses.dataclass(slots=True)
class Problem:
    """What became of one task's completions."""

    id: str
    source: str
    outcomes: list[bool] = dataclasses.field(default_factory=list[bool])
    reasons: Counter[str] = dataclasses.field(default_factory=Counter[str])
    """Of the completions that did not pass, our own failures among them."""
    first_failure: str = ""
    verifier_failures: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "source": self.source,
            "samples": len(self.outcomes),
            "passed": sum(self.outcomes),
            "reasons": dict(self.reasons.most_common()),
            "first_failure": self.first_failure,
        }


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SourceRates:
    source: str
    problems: int
    """With at least one score."""
    completions: int
    fewest: int
    """Completions of the problem that has fewest."""
    solved: int
    """Problems with at least one completion that passed."""
    verifier_failures: int
    pass_at: dict[int, Estimate]

    def to_json(self) -> dict[str, Any]:
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "pass_at"}
        return {**plain, **{f"pass@{k}": dataclasses.asdict(estimate) for k, estimate in self.pass_at.items()}}


class PassRates:
    """Problems in the order in which they were first met; the same id in two sources is two problems."""

    def __init__(self) -> None:
        self._problems: dict[tuple[str, str], Problem] = {}

    def add(self, task_id: str, source: str, score: Score) -> None:
        source = source or "tasks"
        problem = self._problems.setdefault((source, task_id), Problem(task_id, source))
        if score.value is None:
            problem.verifier_failures += 1
        else:
            problem.outcomes.append(score.passed)
        if not score.passed:
            told = not problem.first_failure or problem.reasons.keys() <= UNANSWERED
            problem.reasons[score.reason] += 1
            if told and (score.reason not in UNANSWERED or not problem.first_failure):
                problem.first_failure = score.explanation[:KEPT_CHARACTERS] or score.reason

    def sources(self, ks: Sequence[int] = ()) -> list[SourceRates]:
        """Rates by source, by name, and of all together where there are several. `ks`: instead of the powers of two and the
        largest k there can be. Raises RlvrError where a k is beyond what was sampled."""
        by_source: dict[str, list[Problem]] = {}
        for problem in self._problems.values():
            by_source.setdefault(problem.source, []).append(problem)
        if len(by_source) > 1:
            by_source = {**dict(sorted(by_source.items())), ALL: list(self._problems.values())}
        return [_rates(source, problems, ks) for source, problems in by_source.items()]

    def failures(self) -> list[Problem]:
        """Problems that not every completion solved, those solved least often first."""
        failed = [problem for problem in self._problems.values() if problem.reasons]
        return sorted(failed, key=lambda problem: sum(problem.outcomes) / max(1, len(problem.outcomes)))

    def to_json(self, ks: Sequence[int] = ()) -> dict[str, Any]:
        return {
            "sources": [rates.to_json() for rates in self.sources(ks)],
            "failures": [problem.to_json() for problem in self.failures()],
        }

    def show(self, console: Console, *, ks: Sequence[int] = (), failures: int = 10) -> None:
        """Prints the table of rates and the first `failures` problems that failed."""
        rates = self.sources(ks)
        if any(part.problems for part in rates):
            console.print(_table(rates))
        failed = self.failures()
        if failed and failures:
            unsolved = sum(not any(problem.outcomes) for problem in failed)
            console.print(f"{len(failed)} problems with failures, {unsolved} of them never solved:", highlight=False)
            for line in _failure_lines(failed[:failures]):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
            if len(failed) > failures:
                console.print(f"  ... and {len(failed) - failures} more (--failures {len(failed)})", highlight=False)


def _rates(source: str, problems: Sequence[Problem], ks: Sequence[int]) -> SourceRates:
    scored = {f"{problem.source}\0{problem.id}": problem.outcomes for problem in problems if problem.outcomes}
    fewest = min(map(len, scored.values()), default=0)
    if scored and max(ks, default=0) > fewest:
        raise RlvrError(
            f"pass@{max(ks)} of {source}: a problem has only {fewest} scored completions; sample more or lower --k"
        )
    possible: list[int] = [k for k in POWERS if k <= fewest] + ([fewest] if fewest else [])
    chosen: list[int] = sorted(set(ks or possible))
    return SourceRates(
        source=source,
        problems=len(scored),
        completions=sum(map(len, scored.values())),
        fewest=fewest,
        solved=sum(map(any, scored.values())),
        verifier_failures=sum(problem.verifier_failures for problem in problems),
        pass_at={k: pass_at_k(scored, k) for k in chosen} if scored else {},
    )


def _table(rates: Sequence[SourceRates]) -> Table:
    ks = sorted({k for part in rates for k in part.pass_at})
    table = Table(title="pass@k (95 % interval over problems)", title_justify="left")
    table.add_column("source", overflow="fold")
    for name in ("problems", "completions", "solved", *(f"pass@{k}" for k in ks)):
        table.add_column(name, justify="right")
    failed = any(part.verifier_failures for part in rates)
    if failed:
        table.add_column("not scored", justify="right")
    for part in rates:
        cells = [str(part.problems), str(part.completions), str(part.solved)]
        cells += [part.pass_at[k].as_percent().replace("[", "\\[") if k in part.pass_at else "-" for k in ks]
        name = visible(part.source, 60).replace("[", "\\[")
        table.add_row(name, *cells, *([str(part.verifier_failures)] if failed else []))
    return table


def _failure_lines(failed: Sequence[Problem]) -> Iterator[str]:
    for problem in failed:
        reasons = ", ".join(f"{reason} {count}" for reason, count in problem.reasons.most_common(4))
        name = visible(problem.id, 80)
        yield f"  {name} ({visible(problem.source, 40)}): {sum(problem.outcomes)} of {len(problem.outcomes)} passed; {reasons}"
        yield f"      {visible(problem.first_failure, KEPT_CHARACTERS)}"


def parsed_ks(text: str | None) -> tuple[int, ...]:
    """`1,5,10` as numbers. Raises RlvrError on anything else."""
    if text is None:
        return ()
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdecimal() and int(word) > 0 for word in words):
        raise RlvrError(f"--k {text}: give whole numbers from 1 up with commas between, such as 1,5,10")
    return tuple(sorted({int(word) for word in words}))
