"""Statistics against scipy, against brute force, and by simulated coverage."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rlvr.errors import RlvrError
from rlvr.statistics import (
    avg_at_n,
    compare_paired,
    mean_estimate,
    pass_at_k,
    sign_flip_p_value,
    unbiased_pass_at_k,
    wilson,
)


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_k_subsets_that_hold_a_pass(case: tuple[int, int, int]) -> None:
    n, c, k = case
    subsets = list(itertools.combinations([True] * c + [False] * (n - c), k))
    assert unbiased_pass_at_k([n], [c], k)[0] == pytest.approx(sum(map(any, subsets)) / len(subsets), abs=1e-15)


def test_pass_at_k_is_unbiased_and_the_naive_plug_in_is_not() -> None:
    rng = np.random.default_rng(1)
    correct = rng.binomial(5, 0.3, size=40_000)
    truth = 1 - 0.7**3
    assert unbiased_pass_at_k([5] * len(correct), correct.tolist(), 3).mean() == pytest.approx(truth, abs=0.006)
    assert abs((1 - (1 - correct / 5) ** 3).mean() - truth) > 0.02


def test_pass_at_k_of_large_counts_is_the_hypergeometric_tail() -> None:
    assert unbiased_pass_at_k([1000], [7], 500)[0] == pytest.approx(stats.hypergeom(1000, 7, 500).sf(0), rel=1e-12)


def test_pass_at_k_with_too_few_samples_says_what_to_do() -> None:
    with pytest.raises(RlvrError, match=r"pass@4 needs 4 samples a task and task number 1 has 3: raise eval\.samples"):
        unbiased_pass_at_k([4, 3], [1, 1], 4)


@pytest.mark.parametrize(("successes", "n"), [(0, 3), (3, 3), (5, 8), (37, 120)])
def test_wilson_agrees_with_scipy(successes: int, n: int) -> None:
    theirs = stats.binomtest(successes, n).proportion_ci(method="wilson")
    ours = wilson(successes, n)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.parametrize("skew", [(1.0, 1.0), (0.3, 2.7)])
def test_bootstrap_interval_agrees_with_scipys_bca(skew: tuple[float, float]) -> None:
    rng = np.random.default_rng(3)
    values = rng.binomial(4, rng.beta(*skew, size=80)) / 4
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(0)
    ).confidence_interval
    ours = mean_estimate(values, resamples=20_000)
    assert ours.value == values.mean()
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.006)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    runs, tasks, samples, covered = 400, 40, 4, 0
    for run in range(runs):
        passed = rng.binomial(samples, rng.beta(0.5, 1.5, size=tasks)) / samples
        estimate = mean_estimate(passed, resamples=600, seed=run)
        covered += estimate.low <= 0.25 <= estimate.high
    assert 0.91 <= covered / runs <= 0.98  # nominal 0.95, standard error 0.011


def test_samples_of_one_task_are_not_independent_trials() -> None:
    # 40 tasks that always pass or always fail: sixteen samples each tell no more than one.
    outcomes = {str(task): [task % 2 == 0] * 16 for task in range(40)}
    clustered = avg_at_n(outcomes)
    naive = wilson(320, 640)
    assert clustered.high - clustered.low > 3 * (naive.high - naive.low)


@pytest.mark.parametrize("values", [[0.0] * 50, [1.0] * 50, [0.5] * 50, [1.0, 0.0, 1.0]])
def test_all_equal_or_few_values_are_not_certain(values: list[float]) -> None:
    estimate = mean_estimate(values)
    assert estimate.high - estimate.low > 0.06
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_estimates_are_seeded() -> None:
    values = np.linspace(0, 1, 30)
    assert mean_estimate(values, seed=5) == mean_estimate(values, seed=5)
    assert mean_estimate(values, seed=5) != mean_estimate(values, seed=6)


def test_pass_at_1_is_avg_at_n_and_pass_at_k_grows() -> None:
    rng = np.random.default_rng(2)
    outcomes = {f"t{i}": (rng.random(8) < 0.3).tolist() for i in range(25)}
    assert pass_at_k(outcomes, 1) == avg_at_n(outcomes)
    values = [pass_at_k(outcomes, k).value for k in (1, 2, 4, 8)]
    assert values == sorted(values)
    assert values[0] < values[-1]


@pytest.mark.parametrize("values", [[], [0.5, float("nan")], [0.2, 1.7]])
def test_values_that_cannot_be_averaged_are_refused(values: list[float]) -> None:
    with pytest.raises(RlvrError):
        mean_estimate(values)


def test_a_task_without_samples_is_refused() -> None:
    with pytest.raises(RlvrError, match="'b'"):
        avg_at_n({"a": [True], "b": []})


@settings(max_examples=20)
@given(st.lists(st.integers(-4, 4), min_size=2, max_size=8))
def test_sign_flip_agrees_with_scipys_exact_permutation_test(quarters: list[int]) -> None:
    differences = np.array(quarters) / 4
    theirs = stats.permutation_test((differences,), np.sum, permutation_type="samples", n_resamples=10**9).pvalue
    assert sign_flip_p_value(differences) == pytest.approx(theirs, abs=1e-12)


def test_sampled_sign_flip_agrees_with_the_sign_test() -> None:
    differences = [1.0] * 14 + [-1.0] * 6 + [0.0] * 30
    assert sign_flip_p_value(differences, resamples=100_000) == pytest.approx(stats.binomtest(14, 20).pvalue, abs=0.005)


def test_sampled_sign_flip_is_never_zero() -> None:
    assert sign_flip_p_value([1.0] * 200, resamples=999) == 1 / 1000


def test_sign_flip_p_values_are_uniform_under_no_difference() -> None:
    rng = np.random.default_rng(4)
    p = [sign_flip_p_value(rng.normal(size=30), resamples=400, seed=run) for run in range(300)]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_pairing_sees_a_small_difference_that_separate_intervals_hide() -> None:
    rng = np.random.default_rng(7)
    base = {f"t{i}": float(i % 2) * 0.75 for i in range(60)}
    candidate = {task: value + 0.25 * (rng.random() < 0.3) for task, value in base.items()}
    paired = compare_paired(base, candidate)
    assert paired.difference.low > 0
    assert paired.p_value < 0.001
    assert paired.difference.value == pytest.approx(paired.candidate - paired.baseline)
    assert (paired.worse, paired.better + paired.equal) == (0, 60)
    assert mean_estimate(list(base.values())).high > mean_estimate(list(candidate.values())).low


def test_no_difference_on_any_task_is_not_certain_either() -> None:
    same = {f"t{i}": float(i % 2) for i in range(50)}
    paired = compare_paired(same, same)
    assert (paired.difference.value, paired.p_value) == (0.0, 1.0)
    assert -0.1 < paired.difference.low < 0 < paired.difference.high < 0.1


def test_different_tasks_cannot_be_paired() -> None:
    with pytest.raises(RlvrError, match="differ in 2 tasks, first 'b'"):
        compare_paired({"a": 1.0, "b": 0.0}, {"a": 1.0, "c": 0.0})
