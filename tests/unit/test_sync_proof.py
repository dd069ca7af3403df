"""Synthetic engines: a fresh one passes, and stuck, lagging, adapter-less and foreign ones are caught, noise is not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rlvr.errors import RlvrError
from rlvr.sync_proof import SyncProof, SyncResult

TOKENS, SEQUENCES = 100, 4
NOISE = 0.05


class World:
    """True log-probs that drift from the base; learner and engine each see a version of them through noise of their own.

    Noise belongs to the weights, as rounding does: the same side gives the same numbers for the same version again.
    """

    def __init__(self, seed: int, drift: float, noise: float = NOISE) -> None:
        self.rng = np.random.default_rng(seed)
        self.drift, self.noise = drift, noise
        self.truth = [-self.rng.exponential(1.0, (SEQUENCES, TOKENS))]
        self.learner = [self.through_noise(self.truth[0])]
        self.engine = [self.through_noise(self.truth[0])]
        self.proof = SyncProof([[1] * (TOKENS + 1)] * SEQUENCES, self.learner[0], self.engine[0], version=0, on_base=True)

    def through_noise(self, truth: np.ndarray) -> list[list[float]]:
        heavy = self.rng.standard_t(3, truth.shape) / 3**0.5
        return (truth + self.noise / 2**0.5 * heavy).tolist()

    def learn(self) -> None:
        self.truth.append(self.truth[-1] + self.rng.normal(0, self.drift, self.truth[0].shape))
        self.learner.append(self.through_noise(self.truth[-1]))
        self.engine.append(self.through_noise(self.truth[-1]))

    def hand_over(self, lag: int = 0) -> SyncResult:
        """One step of learning, and an engine that is `lag` versions behind."""
        self.learn()
        version = len(self.truth) - 1
        return self.proof.check(version, self.learner[-1], self.engine[max(0, version - lag)])

    def run(self, steps: int, **options: int) -> None:
        for _ in range(steps):
            self.hand_over(**options)


@pytest.mark.parametrize("drift", [0.001, 0.01, 0.05, 0.3])
@pytest.mark.parametrize("noise", [0.0, 0.05, 0.15])
def test_fresh_hand_overs_never_alarm(drift: float, noise: float) -> None:
    for seed in range(2):
        world = World(seed, drift, noise)
        for _ in range(40):
            result = world.hand_over()
            assert result.moved is not None
            assert 0.3 < result.moved < 3


@pytest.mark.parametrize("drift", [0.001, 0.02, 0.3])
def test_a_hand_over_that_did_nothing_is_caught_at_once(drift: float) -> None:
    world = World(0, drift)
    world.run(3)
    world.learn()
    with pytest.raises(
        RlvrError, match=r"handed policy version 4 but still samples from the weights of version 3 \(it moved 0\.000"
    ):
        world.proof.check(4, world.learner[4], world.engine[3])


@pytest.mark.parametrize(("drift", "within"), [(0.3, 4), (0.05, 12), (0.02, 100)])
def test_an_engine_that_lags_one_version_is_caught_in_time(drift: float, within: int) -> None:
    for seed in range(3):
        world = World(seed, drift)
        with pytest.raises(RlvrError, match="proof of sync failed"):
            world.run(within, lag=1)


def test_an_adapter_that_is_loaded_but_not_used_is_caught() -> None:
    world = World(0, drift=0.2)
    world.learn()
    with pytest.raises(RlvrError, match=r"does not use the adapter of policy version 1 .* samples from the base"):
        world.proof.check(1, world.learner[1], world.through_noise(world.truth[0]))


@pytest.mark.parametrize("similar", [0.0, 0.2])
def test_the_adapter_of_another_run_is_caught_in_time(similar: float) -> None:
    """It moves as much as ours does, a part of it in the same direction; no single gap or step gives it away."""
    for seed in range(5):
        world = World(seed, drift=0.02)
        other = World(seed + 100, drift=0.02)

        def wrong_engine(world: World, other: World) -> None:
            for version in range(1, 120):
                world.learn()
                other.learn()
                shared = similar * (world.truth[-1] - world.truth[0])
                own = (1 - similar**2) ** 0.5 * (other.truth[-1] - other.truth[0])
                world.proof.check(version, world.learner[-1], world.through_noise(world.truth[0] + shared + own))

        with pytest.raises(RlvrError, match="proof of sync failed: since calibration the engine went another way"):
            wrong_engine(world, other)


def test_weights_of_another_model_are_caught_by_the_gap() -> None:
    world = World(0, drift=0.1)
    world.learn()
    foreign = world.truth[1] + world.rng.normal(0, 0.5, world.truth[1].shape)
    with pytest.raises(RlvrError, match="disagree about policy version 1"):
        world.proof.check(1, world.learner[1], world.through_noise(foreign))


def test_nan_is_not_agreement() -> None:
    world = World(0, drift=0.1)
    world.learn()
    with pytest.raises(RlvrError):
        world.proof.check(1, world.learner[1], np.full((SEQUENCES, TOKENS), np.nan).tolist())


def test_a_policy_that_has_not_moved_is_not_judged() -> None:
    world = World(0, drift=0.1)
    result = world.proof.check(1, world.learner[0], world.engine[0])
    assert (result.moved, result.direction, result.adapter_use) == (None, None, None)


def test_state_survives_json() -> None:
    world = World(3, drift=0.02)
    world.run(3)
    other = SyncProof.from_state(json.loads(json.dumps(world.proof.state())))
    world.learn()
    assert other.check(4, world.learner[4], world.engine[4]) == world.proof.check(4, world.learner[4], world.engine[4])
    assert other.state() == world.proof.state()
