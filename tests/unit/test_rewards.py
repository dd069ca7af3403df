"""Reward shaping: DAPO's soft overlong punishment and the KL in the reward."""

from __future__ import annotations

import pytest

from rlvr.config.schema import AlgorithmConfig
from rlvr.errors import RlvrError
from rlvr.rewards import overlong_penalty, shape_rewards


def equation_13(length: int, limit: int, cache: int) -> float:
    if length <= limit - cache:
        return 0
    if length <= limit:
        return (limit - cache - length) / cache
    return -1


@pytest.mark.parametrize(("limit", "cache"), [(20480, 4096), (512, 102), (10, 10), (10, 1)])
def test_overlong_penalty_is_equation_13_times_its_height(limit: int, cache: int) -> None:
    for length in {0, 1, limit - cache - 1, limit - cache, limit - cache + 1, limit - 1, limit, limit + 1, 2 * limit}:
        assert overlong_penalty(length, limit, cache, 0.5) == pytest.approx(0.5 * equation_13(length, limit, cache))


def test_no_buffer_is_no_penalty() -> None:
    assert overlong_penalty(10_000, 100, 0, 1.0) == 0


def test_a_buffer_beyond_the_limit_is_refused_with_a_better_number() -> None:
    with pytest.raises(RlvrError, match=r"overlong_buffer_tokens \(102\).*max_completion_tokens \(40\).*: 8"):
        overlong_penalty(10, 40, 102, 1.0)


def test_shaping_adds_the_penalty_to_the_score() -> None:
    config = AlgorithmConfig(overlong_buffer_tokens=10, overlong_penalty=0.5)
    assert shape_rewards([1.0, 1.0, 0.0], [80, 95, 100], config, 100) == [1.0, 0.75, -0.5]


def test_kl_is_subtracted_only_when_the_config_places_it_in_the_reward() -> None:
    in_reward = AlgorithmConfig(kl_coef=0.1, kl_placement="reward", kl_estimator="k1")
    assert shape_rewards([1.0, 0.0], [5, 5], in_reward, 100, kls=[2.0, -1.0]) == pytest.approx([0.8, 0.1])
    in_loss = AlgorithmConfig(kl_coef=0.1, kl_placement="loss")
    assert shape_rewards([1.0, 0.0], [5, 5], in_loss, 100, kls=[2.0, -1.0]) == [1.0, 0.0]


def test_a_missing_kl_is_an_error_and_not_a_zero() -> None:
    with pytest.raises(RlvrError, match="no KL was computed"):
        shape_rewards([1.0], [5], AlgorithmConfig(kl_coef=0.1, kl_placement="reward"), 100)


def test_one_length_for_each_score() -> None:
    with pytest.raises(ValueError, match="zip"):
        shape_rewards([1.0, 0.0], [5], AlgorithmConfig(), 100)
