"""Proof of sync: does the engine really sample from the weights that the learner handed over? Pure arithmetic, no model.

Learner and engine compute the same log-probs with different kernels, so they differ by noise (about 0.05 nats a token in
bfloat16). One update changes log-probs by less than that, so no threshold on the gap can tell new weights from old ones. A
matched filter can. With l_new, l_old the learner's log-probs of all probe tokens now and at an earlier version, e the engine's,

    freshness = <e - l_old, l_new - l_old> / |l_new - l_old|^2        standard error = noise / |l_new - l_old|

is 1 in the mean for an engine with the new weights and 0 for one that still has the old ones, and its error falls as the policy
moves. It is judged only once that error is small; until then the older reference is kept and the change accumulates. The same
filter against the base (adapter off) finds an adapter that is loaded but not used. Last, the gap itself may not exceed a
multiple of the noise, which finds an adapter that belongs to another run.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rlvr.errors import RlvrError

RESOLVED = 0.1
"""Largest standard error at which a filter is judged: five of them lie between 1 and the threshold."""
STALE = 0.5
"""Freshness below this is stale: halfway between the new weights (1) and the old ones (0)."""
UNUSED = 0.25
"""Adapter use below this is no adapter; a stale one lies between this and 1, and is told from the new one by its freshness."""
GAP_FACTOR = 4.0
"""How far the root mean square gap may exceed the noise measured so far."""
SMALLEST_NOISE = 1e-4
"""Nats a token: in float32 the two agree so well that the measured noise is no yardstick."""

Logprobs = Sequence[Sequence[float]]
"""One list of log p(token t | tokens < t), t = 1 .. T-1, for each probe sequence."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SyncResult:
    """What one hand-over's proof found."""

    version: int
    gap_mean: float
    """Mean absolute difference of learner and engine, nats a token."""
    gap_rms: float
    freshness: float | None
    """Matched filter against `reference_version`; None where the policy has not moved since."""
    freshness_stderr: float | None
    reference_version: int
    adapter_use: float | None
    """Matched filter against the base; None where the adapter changes nothing yet, or there is no base to compare with."""
    adapter_use_stderr: float | None

    def metrics(self) -> dict[str, float]:
        optional = {
            "sync/freshness": self.freshness,
            "sync/freshness_stderr": self.freshness_stderr,
            "sync/adapter_use": self.adapter_use,
            "sync/adapter_use_stderr": self.adapter_use_stderr,
        }
        return {
            "sync/gap_mean": self.gap_mean,
            "sync/resolved": float(self.freshness_stderr is not None and self.freshness_stderr <= RESOLVED),
            **{name: value for name, value in optional.items() if value is not None},
        }


class SyncProof:
    """Keeps the noise and the learner's log-probs at the last version that could be told apart from the one before."""

    def __init__(
        self, sequences: Sequence[Sequence[int]], learner: Logprobs, engine: Logprobs, *, version: int, on_base: bool
    ) -> None:
        """Calibrates on weights that both are known to share: the base (adapter off) where there is one, or the policy as it is."""
        self.sequences = [list(sequence) for sequence in sequences]
        reference, measured = _flat(learner), _flat(engine)
        self.noise = max(SMALLEST_NOISE, _rms(_differences(measured, reference)))
        self.base = reference if on_base else None
        self.reference = reference
        self.reference_version = version

    def check(self, version: int, learner: Logprobs, engine: Logprobs) -> SyncResult:
        """Compares; raises `RlvrError` where the engine has old weights, no adapter, or other weights."""
        new, measured = _flat(learner), _flat(engine)
        residual = _differences(measured, new)
        freshness, freshness_error = self._filter(measured, new, self.reference)
        use, use_error = (None, None) if self.base is None else self._filter(measured, new, self.base)
        result = SyncResult(
            version=version,
            gap_mean=sum(map(abs, residual)) / len(residual),
            gap_rms=_rms(residual),
            freshness=freshness,
            freshness_stderr=freshness_error,
            reference_version=self.reference_version,
            adapter_use=use,
            adapter_use_stderr=use_error,
        )
        self._judge(result)
        if freshness_error is not None and freshness_error <= RESOLVED:
            # The engine is known to be fresh: its gap is noise, and this version is the next one's reference.
            self.noise = max(self.noise, result.gap_rms)
            self.reference, self.reference_version = new, version
        return result

    def state(self) -> dict[str, Any]:
        """JSON-able, for checkpoints."""
        return {
            "sequences": self.sequences,
            "noise": self.noise,
            "base": self.base,
            "reference": self.reference,
            "reference_version": self.reference_version,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> SyncProof:
        proof = cls.__new__(cls)
        proof.sequences = [list(map(int, sequence)) for sequence in state["sequences"]]
        proof.noise = float(state["noise"])
        proof.base = None if state["base"] is None else list(map(float, state["base"]))
        proof.reference = list(map(float, state["reference"]))
        proof.reference_version = int(state["reference_version"])
        return proof

    def _filter(
        self, measured: Sequence[float], new: Sequence[float], old: Sequence[float]
    ) -> tuple[float | None, float | None]:
        """(coefficient, standard error); (None, None) where new and old are the same numbers."""
        energy = math.fsum((n - o) ** 2 for n, o in zip(new, old, strict=True))
        if energy == 0:
            return None, None
        overlap = math.fsum((e - o) * (n - o) for e, n, o in zip(measured, new, old, strict=True))
        return overlap / energy, self.noise / math.sqrt(energy)

    def _judge(self, result: SyncResult) -> None:
        numbers = f"gap {result.gap_mean:.4f} nats a token, noise {self.noise:.4f}"
        if _below(UNUSED, result.adapter_use, result.adapter_use_stderr):
            raise RlvrError(
                f"proof of sync failed: the engine does not use the adapter of policy version {result.version} (adapter use "
                f"{result.adapter_use:.2f}, 1 expected, standard error {result.adapter_use_stderr:.2f}; {numbers}). It samples from "
                "the base. Check the engine's LoRA support for adapter.target_modules, or use engine.kind=hf"
            )
        if _below(STALE, result.freshness, result.freshness_stderr):
            raise RlvrError(
                f"proof of sync failed: the engine was handed policy version {result.version} but samples from older weights, like "
                f"those of version {result.reference_version} (freshness {result.freshness:.2f}, 1 expected, standard error "
                f"{result.freshness_stderr:.2f}; {numbers}). The hand-over did not take effect; use engine.kind=hf to compare"
            )
        if not result.gap_rms <= GAP_FACTOR * self.noise:  # also true of NaN
            raise RlvrError(
                f"proof of sync failed: learner and engine disagree about policy version {result.version} by {result.gap_rms:.4f} "
                f"nats a token (rms), over {GAP_FACTOR:g} times the noise measured so far, {self.noise:.4f}. The engine "
                "holds other weights, or computes them differently; use engine.kind=hf to compare"
            )


def _below(threshold: float, coefficient: float | None, error: float | None) -> bool:
    """Whether the coefficient is known well enough to be judged, and too small (or NaN)."""
    return coefficient is not None and error is not None and error <= RESOLVED and not coefficient >= threshold


def _differences(a: Sequence[float], b: Sequence[float]) -> list[float]:
    return [x - y for x, y in zip(a, b, strict=True)]


def _flat(logprobs: Logprobs) -> list[float]:
    return [value for sequence in logprobs for value in sequence]


def _rms(values: Sequence[float]) -> float:
    return math.sqrt(math.fsum(value * value for value in values) / max(1, len(values)))
