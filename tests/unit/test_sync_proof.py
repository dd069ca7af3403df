"""The matched filter on synthetic log-probs: fresh passes, stale, unused and foreign weights are caught, noise is not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rlvr.errors import RlvrError
from rlvr.sync_proof import RESOLVED, SyncProof

TOKENS, SEQUENCES = 100, 4
NOISE = 0.05


class World:
    """A policy that drifts from the base, and an engine that computes its log-probs with noise."""

    def __init__(self, seed: int, drift: float, noise: float = NOISE) -> None:
        self.rng = np.random.default_rng(seed)
        self.noise, self.drift = noise, drift
        self.base = -self.rng.exponential(1.0, (SEQUENCES, TOKENS))
        self.versions = [self.base]
        self.proof = SyncProof(
            [[1] * (TOKENS + 1)] * SEQUENCES, self.base.tolist(), self.seen(self.base), version=0, on_base=True
        )

    def seen(self, logprobs: np.ndarray) -> list[list[float]]:
        return (logprobs + self.rng.normal(0, self.noise, logprobs.shape)).tolist()

    def learn(self) -> np.ndarray:
        self.versions.append(self.versions[-1] + self.rng.normal(0, self.drift, self.base.shape))
        return self.versions[-1]


@pytest.mark.parametrize("drift", [0.001, 0.01, 0.05, 0.3])
def test_fresh_hand_overs_never_alarm(drift: float) -> None:
    for seed in range(10):
        world = World(seed, drift)
        for version in range(1, 31):
            new = world.learn()
            result = world.proof.check(version, new.tolist(), world.seen(new))
            if result.freshness_stderr is not None and result.freshness_stderr <= RESOLVED:
                assert result.freshness == pytest.approx(1, abs=0.5)


def stay_stuck(world: World, stuck: np.ndarray, steps: int) -> None:
    for version in range(4, 4 + steps):
        world.proof.check(version, world.learn().tolist(), world.seen(stuck))


@pytest.mark.parametrize(("drift", "within"), [(0.3, 1), (0.05, 1), (0.02, 6), (0.005, 60)])
def test_stale_weights_are_caught_as_soon_as_they_can_be_told_apart(drift: float, within: int) -> None:
    """The change of one step is below the noise, but it accumulates against the last resolved version."""
    for seed in range(5):
        world = World(seed, drift)
        for version in range(1, 4):  # healthy at first
            new = world.learn()
            world.proof.check(version, new.tolist(), world.seen(new))
        stuck = world.versions[-1]
        with pytest.raises(RlvrError, match=r"samples from older weights|does not use the adapter"):
            stay_stuck(world, stuck, within)


def test_an_adapter_that_is_loaded_but_not_used_is_caught() -> None:
    world = World(0, drift=0.1)
    with pytest.raises(RlvrError, match=r"does not use the adapter of policy version 1 .* samples from\s+the base"):
        world.proof.check(1, world.learn().tolist(), world.seen(world.base))


def test_weights_of_another_run_are_caught_by_the_gap() -> None:
    world = World(0, drift=0.1)
    new = world.learn()
    foreign = new + world.rng.normal(0, 0.5, new.shape)
    with pytest.raises(RlvrError, match="disagree about policy version 1"):
        world.proof.check(1, new.tolist(), world.seen(foreign))


def test_nan_is_not_agreement() -> None:
    world = World(0, drift=0.1)
    with pytest.raises(RlvrError):
        world.proof.check(1, world.learn().tolist(), np.full((SEQUENCES, TOKENS), np.nan).tolist())


def test_nothing_learnt_is_reported_as_unresolved() -> None:
    world = World(0, drift=0.1)
    result = world.proof.check(1, world.base.tolist(), world.seen(world.base))
    assert result.freshness is None
    assert result.adapter_use is None
    assert result.metrics()["sync/resolved"] == 0


def test_exact_arithmetic_resolves_the_smallest_step() -> None:
    world = World(0, drift=1e-4, noise=0.0)
    new = world.learn()
    assert world.proof.check(1, new.tolist(), new.tolist()).freshness == pytest.approx(1)
    with pytest.raises(RlvrError, match="older weights"):
        world.proof.check(2, world.learn().tolist(), new.tolist())


def test_state_survives_json() -> None:
    world = World(3, drift=0.02)
    new = world.learn()
    world.proof.check(1, new.tolist(), world.seen(new))
    other = SyncProof.from_state(json.loads(json.dumps(world.proof.state())))
    later = world.learn()
    engine = world.seen(later)
    assert other.check(2, later.tolist(), engine) == world.proof.check(2, later.tolist(), engine)
