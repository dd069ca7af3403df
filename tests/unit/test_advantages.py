"""Advantages against the papers' formulas written out with numpy, and the properties that training relies on."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlvr.advantages import AdvantageKind, compute_advantages, is_informative
from rlvr.errors import RlvrError

KINDS: list[AdvantageKind] = ["group_normalized", "group_centered", "leave_one_out", "batch_normalized"]
RAGGED = [[1.0, 0.0, 0.0, 1.0, 0.25], [0.0, 0.0, 1.0], [0.5, 0.75]]
rewards = st.floats(min_value=-10, max_value=10, allow_nan=False)


def test_group_normalized_divides_by_the_sample_standard_deviation() -> None:
    for ours, group in zip(compute_advantages(RAGGED, "group_normalized"), RAGGED, strict=True):
        r = np.array(group)
        np.testing.assert_allclose(ours, (r - r.mean()) / (r.std(ddof=1) + 1e-6), rtol=1e-12)


def test_group_centered_subtracts_the_mean_only() -> None:
    for ours, group in zip(compute_advantages(RAGGED, "group_centered"), RAGGED, strict=True):
        np.testing.assert_allclose(ours, np.array(group) - np.mean(group), rtol=1e-12)


def test_leave_one_out_compares_with_the_others() -> None:
    for ours, group in zip(compute_advantages(RAGGED, "leave_one_out"), RAGGED, strict=True):
        for i, advantage in enumerate(ours):
            others = group[:i] + group[i + 1 :]
            assert advantage == pytest.approx(group[i] - sum(others) / len(others), abs=1e-12)


def test_batch_normalized_takes_the_scale_from_all_groups() -> None:
    centered = [np.array(group) - np.mean(group) for group in RAGGED]
    std = np.concatenate(centered).std(ddof=1)
    for ours, group in zip(compute_advantages(RAGGED, "batch_normalized"), centered, strict=True):
        np.testing.assert_allclose(ours, group / (std + 1e-6), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_group_without_spread_gets_exact_zeros(kind: AdvantageKind) -> None:
    """0.1 summed three times is not three times 0.1: a plain subtraction leaves a residue."""
    assert compute_advantages([[0.1] * 3, [1.0, 0.0], [0.1 + 0.2, 0.3]], kind)[0] == [0.0, 0.0, 0.0]
    assert compute_advantages([[0.1 + 0.2, 0.3]], kind) == [[0.0, 0.0]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_group_of_one_or_none_has_nothing_to_compare_with(kind: AdvantageKind) -> None:
    assert compute_advantages([[1.0], [], [1.0, 0.0]], kind)[:2] == [[0.0], []]


@pytest.mark.parametrize("kind", KINDS)
@given(groups=st.lists(st.lists(rewards, max_size=6), max_size=5))
def test_advantages_of_a_group_sum_to_zero_and_keep_the_order(kind: AdvantageKind, groups: list[list[float]]) -> None:
    for group, advantages in zip(groups, compute_advantages(groups, kind), strict=True):
        assert len(advantages) == len(group)
        assert math.fsum(advantages) == pytest.approx(0, abs=1e-6 * max(1, *map(abs, advantages), 1))
        for (a, x), (b, y) in zip(
            zip(group, advantages, strict=True), zip(group[1:], advantages[1:], strict=True), strict=False
        ):
            assert (x <= y) if a <= b else (x >= y)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_not_a_number_is_refused_with_its_group(kind: AdvantageKind, bad: float) -> None:
    with pytest.raises(RlvrError, match="group 1: rewards must be finite"):
        compute_advantages([[1.0, 0.0], [0.0, bad]], kind)


@pytest.mark.parametrize(
    ("group", "informative"),
    [([1, 1, 1], False), ([0, 1, 1], True), ([0.1 + 0.2, 0.3], False), ([0.3, 0.3001], True), ([1], False), ([], False)],
)
def test_a_group_is_informative_when_its_rewards_spread(group: list[float], informative: bool) -> None:
    assert is_informative(group) is informative
