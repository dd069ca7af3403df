"""Proof of sync: does the engine really sample from the weights that the learner handed over? Pure arithmetic, no model.

Learner and engine compute the same log-probs with different kernels. In bfloat16 each carries rounding noise, together 0.05 to
0.15 nats a token (root mean square), which is redrawn whenever a weight changes, and one update changes log-probs by less. So no
threshold on the gap can tell new weights from old ones, and neither can a fit of the engine's change to the learner's, which
contains the learner's own noise (such a fit finds a fresh engine halfway between old and new). Five questions can be answered,
on a fixed probe of a few hundred tokens:

    moved       rms(e_new - e_old) / rms(l_new - l_old), about 1. An engine is deterministic: with the weights it had before
                it repeats itself, and the ratio is 0. Finds a hand-over that did nothing, at once.
    direction   is the engine nearer to the new learner than to the old one? Each token votes x = (e - (l_new + l_old)/2) (l_new - l_old),
                whose mean is positive for new and negative for old weights, with the noise of both sides cancelling. The votes of all
                hand-overs are summed and divided by their root sum of squares. Finds an engine that lags behind, in time.
    adapter use median over tokens of (e - base) / (l_new - base), 1 with the adapter and 0 without. Finds one that is loaded and not used.
    agreement   correlation of engine's and learner's change since calibration, each measured on its own side, so that no noise is
                in both. Noise alone may lower it to `reliability` at worst; far below that the engine has gone another way.
                Finds the adapter of another run, once the policy has left the noise behind.
    gap         rms(e - l_new) against the noise measured so far. Finds weights of another model.

e: the engine's log-probs, l: the learner's, old: at the hand-over before, base: with the adapter off.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rlvr.errors import RlvrError

STUCK = 0.2
"""`moved` below this: the engine stood still while the policy moved."""
BACKWARDS = -5.0
"""`direction` below this is five standard errors on the side of the old weights."""
LARGEST_VOTE = 4.0
"""In units of the noise: changes and distances are cut here, so that the heavy tail of the noise has one vote like the rest."""
UNUSED = 0.25
"""`adapter_use` below this is no adapter."""
SURE_RELIABILITY = 0.6
"""`agreement` is judged only where noise leaves at least so much of it."""
AGREEMENT_ERRORS = 3.0
"""`agreement` plus so many standard errors below half of the reliability is another adapter."""
GAP_FACTOR = 4.0
"""How far the gap may exceed the noise measured so far."""
SMALLEST_NOISE = 1e-4
"""Nats a token: in float32 the two agree so well that the measured noise is no yardstick."""

Logprobs = Sequence[Sequence[float]]
"""One list of log p(token t | tokens < t), t = 1 .. T-1, for each probe sequence."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SyncResult:
    """What one hand-over's proof found; None where the policy has not moved, or too little to say."""

    version: int
    gap_mean: float
    """Mean absolute difference of learner and engine, nats a token."""
    gap_rms: float
    moved: float | None
    direction: float | None
    adapter_use: float | None
    agreement: float | None = None
    agreement_stderr: float | None = None
    reliability: float | None = None
    """What `agreement` should at least be: the share of the learner's change that is not noise, estimated from below."""

    def is_astray(self) -> bool:
        """Whether the agreement is too low to be explained by noise."""
        if self.agreement is None or self.agreement_stderr is None or self.reliability is None:
            return False
        highest = self.agreement + AGREEMENT_ERRORS * self.agreement_stderr
        return self.reliability >= SURE_RELIABILITY and highest < self.reliability / 2

    def metrics(self) -> dict[str, float]:
        found = {
            "sync/gap_mean": self.gap_mean,
            "sync/moved": self.moved,
            "sync/direction": self.direction,
            "sync/adapter_use": self.adapter_use,
            "sync/agreement": self.agreement,
            "sync/reliability": self.reliability,
        }
        return {name: value for name, value in found.items() if value is not None}


class SyncProof:
    """Keeps what the last hand-over showed, the noise, and the votes so far."""

    def __init__(
        self, sequences: Sequence[Sequence[int]], learner: Logprobs, engine: Logprobs, *, version: int, on_base: bool
    ) -> None:
        """Calibrates on weights that both are known to share: the base (adapter off) where there is one, or the policy as it is."""
        self.sequences = [list(sequence) for sequence in sequences]
        self.learner = _flat(learner)
        self.engine = _flat(engine)
        self.version = version
        self.noise = max(SMALLEST_NOISE, _rms(_differences(self.engine, self.learner)))
        self.base = self.learner if on_base else None
        self.first_learner, self.first_engine = self.learner, self.engine
        self.votes = 0.0
        self.squared_votes = 0.0

    def check(self, version: int, learner: Logprobs, engine: Logprobs) -> SyncResult:
        """Compares; raises `RlvrError` where the engine has old weights, no adapter, or other weights."""
        new, seen = _flat(learner), _flat(engine)
        gap = _differences(seen, new)
        change = _differences(new, self.learner)
        moved = _rms(_differences(seen, self.engine)) / _rms(change) if any(change) else None
        agreement = stderr = reliability = None
        if moved is not None:
            self._vote(seen, new, change)
            agreement, stderr, reliability = self._agreement(seen, new)
        result = SyncResult(
            version=version,
            gap_mean=sum(map(abs, gap)) / len(gap),
            gap_rms=_rms(gap),
            moved=moved,
            direction=self.votes / math.sqrt(self.squared_votes) if self.squared_votes else None,
            adapter_use=self._adapter_use(seen, new),
            agreement=agreement,
            agreement_stderr=stderr,
            reliability=reliability,
        )
        self._judge(result)
        if moved is not None:
            self.noise = max(self.noise, result.gap_rms)  # grows as the policy finds parts of the probe less and less likely
            self.learner, self.engine, self.version = new, seen, version
        return result

    def state(self) -> dict[str, Any]:
        """JSON-able, for checkpoints."""
        return dict(vars(self))

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> SyncProof:
        proof = cls.__new__(cls)
        vars(proof).update(state)
        return proof

    def _vote(self, seen: Sequence[float], new: Sequence[float], change: Sequence[float]) -> None:
        limit = LARGEST_VOTE * self.noise
        for e, n, d in zip(seen, new, change, strict=True):
            vote = _cut(e - n + d / 2, limit) * _cut(d, limit)
            self.votes += vote
            self.squared_votes += vote * vote

    def _adapter_use(self, seen: Sequence[float], new: Sequence[float]) -> float | None:
        """Judged only once the adapter changes half of all tokens by more than the noise; before, the largest changes are noise."""
        if self.base is None:
            return None
        changes = _differences(new, self.base)
        if not _median(list(map(abs, changes))) > self.noise:
            return None
        seen_changes = _differences(seen, self.base)
        return _median([e / n for e, n in zip(seen_changes, changes, strict=True) if not abs(n) <= self.noise])

    def _agreement(self, seen: Sequence[float], new: Sequence[float]) -> tuple[float, float, float]:
        """(correlation, its standard error, its reliability), all on changes cut at the largest vote.

        A step's change is noise plus what was learnt, on either side: half of both sides' squares bounds today's noise from above,
        whatever weights the engine has.
        """
        limit = LARGEST_VOTE * self.noise

        def change(now: Sequence[float], then: Sequence[float]) -> list[float]:
            return [_cut(difference, limit) for difference in _differences(now, then)]

        ours, theirs = change(new, self.first_learner), change(seen, self.first_engine)
        size = _rms(ours) * _rms(theirs) * len(ours)
        products = [a * b for a, b in zip(ours, theirs, strict=True)]
        noise = (_rms(change(new, self.learner)) ** 2 + _rms(change(seen, self.engine)) ** 2) / 2
        if not size > 0:  # the engine is where it was at calibration: `moved` has the say
            return 0.0, 0.0, 0.0
        return math.fsum(products) / size, _norm(products) / size, 1 - noise / _rms(ours) ** 2

    def _judge(self, result: SyncResult) -> None:
        version, numbers = result.version, f"gap {result.gap_mean:.4f} nats a token, noise {self.noise:.4f}"
        if result.adapter_use is not None and not result.adapter_use >= UNUSED:
            raise RlvrError(
                f"proof of sync failed: the engine does not use the adapter of policy version {version} (adapter use "
                f"{result.adapter_use:.2f}, 1 expected; {numbers}). It samples from the base. Check the engine's LoRA support for "
                "adapter.target_modules, or use engine.kind=hf"
            )
        if result.moved is not None and not result.moved >= STUCK:
            raise RlvrError(
                f"proof of sync failed: the engine was handed policy version {version} but still samples from the weights of version "
                f"{self.version} (it moved {result.moved:.3f} times as far as the learner, 1 expected; {numbers}). The hand-over did "
                "not take effect; use engine.kind=hf to compare"
            )
        if result.direction is not None and not result.direction >= BACKWARDS:
            raise RlvrError(
                f"proof of sync failed: up to policy version {version} the engine was nearer to the weights before each hand-over than "
                f"to those after it (direction {result.direction:.1f} standard errors; {numbers}). It lags behind the learner; use "
                "engine.kind=hf to compare"
            )
        if result.is_astray():
            raise RlvrError(
                f"proof of sync failed: since calibration the engine went another way than the learner up to policy version {version} "
                f"(agreement {result.agreement:.2f} with standard error {result.agreement_stderr:.2f}, at least "
                f"{result.reliability:.2f} expected; {numbers}). It holds another adapter. Check that nothing else writes to the "
                "folders of the hand-over, or use engine.kind=hf to compare"
            )
        if not result.gap_rms <= GAP_FACTOR * self.noise:  # also true of NaN
            raise RlvrError(
                f"proof of sync failed: learner and engine disagree about policy version {version} by {result.gap_rms:.4f} nats a token "
                f"(rms), over {GAP_FACTOR:g} times the noise measured so far, {self.noise:.4f}. The engine holds other weights, or "
                "computes them differently; use engine.kind=hf to compare"
            )


def _cut(value: float, limit: float) -> float:
    return max(-limit, min(limit, value))


def _differences(a: Sequence[float], b: Sequence[float]) -> list[float]:
    return [x - y for x, y in zip(a, b, strict=True)]


def _flat(logprobs: Logprobs) -> list[float]:
    return [value for sequence in logprobs for value in sequence]


def _median(values: Sequence[float]) -> float:
    return math.nan if any(map(math.isnan, values)) else statistics.median(values)


def _norm(values: Sequence[float]) -> float:
    return math.sqrt(math.fsum(value * value for value in values))


def _rms(values: Sequence[float]) -> float:
    return _norm(values) / math.sqrt(max(1, len(values)))
