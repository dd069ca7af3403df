"""The verdict of a comparison, put to the test by simulation: how often it is wrong, and how often its interval holds the truth."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from rlvr.crossed import compare_crossed, holm, t_quantile, t_tail
from rlvr.errors import RlvrError
from rlvr.statistics import sign_flip_p_value

TASKS, SAMPLES, ROUNDS = 60, 4, 300


def simulated(
    rng: np.random.Generator,
    seeds: int,
    luck: float,
    task_effect: float,
    shift: float = 0.0,
    tasks: int = TASKS,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Shares of passed samples [S, T] of two ways to train; `luck` is the spread of seeds, `task_effect` of differences by task."""
    difficulty = rng.normal(0.4, 1.3, tasks)
    leaning = rng.normal(0, task_effect, tasks) / 2

    def runs(sign: int) -> npt.NDArray[np.float64]:
        logits = (
            difficulty + sign * (leaning + shift / 2) + rng.normal(0, luck, (seeds, 1)) + rng.normal(0, 0.3, (seeds, tasks))
        )
        return rng.binomial(SAMPLES, 1 / (1 + np.exp(-logits))) / SAMPLES

    return runs(-1), runs(1)


def runs_of(shares: npt.NDArray[np.float64]) -> list[dict[str, float]]:
    return [{str(task): float(share) for task, share in enumerate(run)} for run in shares]


@pytest.fixture
def verdict_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The part about these runs alone resamples thousands of times and decides nothing here."""
    from rlvr import crossed

    monkeypatch.setattr(crossed, "compare_paired", lambda *_, **__: None)


@pytest.mark.usefixtures("verdict_only")
@pytest.mark.parametrize(
    ("seeds", "tasks", "luck", "task_effect"),
    [
        *[(seeds, TASKS, *spread) for seeds in (2, 3, 5) for spread in ((0.0, 0.0), (0.2, 0.3), (0.5, 0.0), (0.5, 1.0))],
        *[(seeds, 12, *spread) for seeds in (2, 3) for spread in ((0.0, 0.0), (0.5, 1.0))],
    ],
)
def test_equal_ways_to_train_are_rarely_called_different(seeds: int, tasks: int, luck: float, task_effect: float) -> None:
    rng = np.random.default_rng(seeds)
    wrong = missed = 0
    for _ in range(ROUNDS):
        found = compare_crossed(*map(runs_of, simulated(rng, seeds, luck, task_effect, tasks=tasks)))
        assert found.p_value is not None
        wrong += found.p_value < 0.05
        missed += not found.difference.low <= 0 <= found.difference.high
    assert wrong == missed
    # 5 % and its own sampling error (binomial, one in a thousand)
    assert wrong <= stats.binom.ppf(0.999, ROUNDS, 0.05)


@pytest.mark.usefixtures("verdict_only")
@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize("tasks", [12, TASKS])
def test_the_interval_holds_a_real_difference_as_often_as_it_says(seeds: int, tasks: int) -> None:
    """The truth is the mean over all tasks and seeds that could have been drawn, of which each round draws a few."""
    luck, task_effect, shift = 0.3, 0.5, 0.8
    baseline, candidate = simulated(np.random.default_rng(99), 40, luck, task_effect, shift, tasks=40_000)
    truth = candidate.mean() - baseline.mean()
    rng = np.random.default_rng(7 + seeds)
    missed = 0
    for _ in range(ROUNDS):
        d = compare_crossed(*map(runs_of, simulated(rng, seeds, luck, task_effect, shift, tasks=tasks))).difference
        missed += not d.low <= truth <= d.high
    assert missed <= stats.binom.ppf(0.999, ROUNDS, 0.05)


@pytest.mark.usefixtures("verdict_only")
def test_five_equal_variants_against_a_baseline_are_rarely_called_different_any_of_them() -> None:
    """An ablation's question; the tests share the baseline's runs, and Holm's adjustment does not mind."""
    rng = np.random.default_rng(3)
    wrong = 0
    for _ in range(ROUNDS):
        difficulty = rng.normal(0.4, 1.3, TASKS)
        logits = difficulty + rng.normal(0, 0.4, (6, 3, 1)) + rng.normal(0, 0.4, (6, 3, TASKS))
        baseline, *others = rng.binomial(SAMPLES, 1 / (1 + np.exp(-logits))) / SAMPLES
        found = [compare_crossed(runs_of(baseline), runs_of(other)).p_value for other in others]
        wrong += min(holm([p for p in found if p is not None])) < 0.05
    assert wrong <= stats.binom.ppf(0.999, ROUNDS, 0.05)


def test_tasks_alone_would_call_equal_ways_different() -> None:
    """The mistake that this module exists to avoid."""
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(200):
        baseline, candidate = simulated(rng, 3, 0.5, 0.0)
        wrong += sign_flip_p_value((candidate - baseline).mean(axis=0), resamples=400) < 0.05
    assert wrong > 50


def test_a_real_difference_is_found() -> None:
    rng = np.random.default_rng(1)
    found = [compare_crossed(*map(runs_of, simulated(rng, 5, 0.1, 0.2, shift=1.0))) for _ in range(20)]
    assert sum(f.p_value is not None and f.p_value < 0.05 and f.difference.value > 0 for f in found) >= 18


def test_over_seeds_it_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(2)
    baseline, candidate = simulated(rng, 4, 1.0, 0.0)
    found = compare_crossed(runs_of(baseline), runs_of(candidate))
    expected = stats.ttest_rel(candidate.mean(axis=1), baseline.mean(axis=1))
    assert found.p_value is not None
    assert found.p_value >= expected.pvalue - 1e-9
    assert found.seed_differences == pytest.approx(candidate.mean(axis=1) - baseline.mean(axis=1))
    assert found.seed_p_value >= 2 / 2**4


@pytest.mark.parametrize("freedom", [1.0, 2.0, 7.5, 99.0])
def test_student_agrees_with_scipy(freedom: float) -> None:
    for t in (0.1, 1.0, 3.0, 12.0):
        assert t_tail(t, freedom) == pytest.approx(stats.t.sf(t, freedom), rel=1e-9)
    assert t_quantile(0.975, freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-6)


def test_holm_agrees_with_the_definition() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.5]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_one_seed_tells_nothing_about_ways_to_train() -> None:
    found = compare_crossed([{"a": 0.0, "b": 0.5}], [{"a": 1.0, "b": 1.0}])
    assert found.p_value is None
    assert found.these_runs.p_value <= 1


def test_cells_that_are_all_equal_are_no_proof() -> None:
    same = [{"a": 0.5, "b": 0.5}] * 2
    found = compare_crossed(same, same)
    assert found.p_value == 1.0
    assert found.difference.low < 0 < found.difference.high


def test_other_tasks_or_seeds_are_refused() -> None:
    with pytest.raises(RlvrError, match="differ in 1 held-out tasks"):
        compare_crossed([{"a": 1.0}], [{"a": 1.0, "b": 0.0}])
    with pytest.raises(RlvrError, match="same seeds on both sides"):
        compare_crossed([{"a": 1.0}], [])
