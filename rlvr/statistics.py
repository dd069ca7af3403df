"""How sure we are of a score: pass@k, avg@n, intervals, and the paired comparison of two evaluations.

The unit of resampling is the task, never the sample: completions of one prompt are alike, so treating 100 tasks x 8 samples as
800 independent trials would make every interval too narrow. Each task is first reduced to one number (its mean, its pass@k),
and intervals are taken over those numbers.

The interval is the bias-corrected and accelerated bootstrap (BCa; Efron, 1987). Chosen by simulation over 10 to 120 tasks, 1 or 4
samples a task and four shapes of difficulty: BCa's coverage of the true mean stayed at 91 % or more for a nominal 95 %, where the
plain percentile bootstrap fell to 85 % on skewed tasks. The bootstrap knows only the values it was given, so where they are
all equal or fewer than ten it would claim false certainty; there we take Wilson's interval with one trial a task,
which is conservative: no variable in [0, 1] has more variance than a coin of the same mean.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from rlvr.errors import RlvrError

FloatArray = npt.NDArray[np.float64]
Outcomes = Mapping[str, Sequence[bool]]
"""Task id -> whether each of its samples passed."""

FEWEST_TASKS_TO_RESAMPLE = 10
LARGEST_EXACT_SIGN_FLIP = 14  # 2^14 sign patterns are enumerated, more are sampled
CELLS_AT_ONCE = 4_000_000  # bounds the memory of a resampling block to about 32 MB


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over `n` tasks and its interval, in the unit of the values (fractions for accuracies)."""

    value: float
    low: float
    high: float
    n: int

    def as_percent(self) -> str:
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


@dataclasses.dataclass(frozen=True, slots=True)
class PairedComparison:
    """Candidate minus baseline on the same tasks."""

    difference: Estimate
    p_value: float
    """Two-sided sign-flip permutation test of `the two are interchangeable on every task`."""
    baseline: float
    candidate: float
    better: int
    """Tasks on which the candidate has the higher mean."""
    worse: int
    equal: int


def unbiased_pass_at_k(samples: Sequence[int], correct: Sequence[int], k: int) -> FloatArray:
    """pass@k of each task: 1 - C(n-c, k) / C(n, k), exact to the last bit (Chen et al., 2021, eq. 1).

    `samples` and `correct` are n and c of each task, [T]. Returns [T]. Raises RlvrError where a task has fewer than k samples.
    """
    if k < 1:
        raise RlvrError(f"pass@{k} does not exist: k starts at 1")
    if len(samples) != len(correct):
        raise RlvrError(f"pass@{k}: {len(samples)} sample counts but {len(correct)} correct counts")
    for task, (n, c) in enumerate(zip(samples, correct, strict=True)):
        if n < k:
            raise RlvrError(
                f"pass@{k} needs {k} samples a task and task number {task} has {n}: raise eval.samples or lower k"
            )
        if not 0 <= c <= n:
            raise RlvrError(f"pass@{k}: task number {task} counts {c} correct among {n} samples")
    # Whole numbers: Python divides them with one correct rounding, where a float product of ratios drifts.
    return np.array(
        [(math.comb(n, k) - math.comb(n - c, k)) / math.comb(n, k) for n, c in zip(samples, correct, strict=True)]
    )


def avg_at_n(outcomes: Outcomes, *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0) -> Estimate:
    """Mean over tasks of the share of their samples that passed."""
    return mean_estimate(list(task_means(outcomes).values()), confidence=confidence, resamples=resamples, seed=seed)


def pass_at_k(outcomes: Outcomes, k: int, *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0) -> Estimate:
    """Mean over tasks of the unbiased pass@k."""
    samples = [len(passed) for passed in outcomes.values()]
    correct = [sum(passed) for passed in outcomes.values()]
    values = unbiased_pass_at_k(samples, correct, k)
    return mean_estimate(values, confidence=confidence, resamples=resamples, seed=seed)


def task_means(outcomes: Outcomes) -> dict[str, float]:
    """Share of passed samples of each task; a task without a sample is an error, never a zero."""
    empty = [task for task, passed in outcomes.items() if not passed]
    if empty:
        raise RlvrError(f"{len(empty)} tasks have no scored sample, first {empty[0]!r}: leave them out or score them again")
    return {task: sum(passed) / len(passed) for task, passed in outcomes.items()}


def mean_estimate(
    values: npt.ArrayLike,
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Estimate:
    """Mean of one value a task, [T], with a BCa interval, or Wilson's where resampling cannot know (see the module).

    `bounds` are the smallest and largest values that were possible (not the ones seen). Raises RlvrError on no values, on values
    that are not finite or out of bounds.
    """
    x = _checked(values, bounds)
    mean, n = float(x.mean()), len(x)
    if n < FEWEST_TASKS_TO_RESAMPLE or np.ptp(x) == 0.0:
        low, high = bounds
        share = wilson((mean - low) / (high - low) * n, n, confidence=confidence)
        return Estimate(mean, low + share.low * (high - low), low + share.high * (high - low), n)
    interval = _bca_interval(x, _resampled_means(x, resamples, seed), confidence)
    return Estimate(mean, *interval, n)


def wilson(successes: float, n: int, *, confidence: float = 0.95) -> Estimate:
    """Wilson's score interval of a share (Wilson, 1927); `successes` may be fractional, `n` >= 1."""
    if n < 1 or not 0 <= successes <= n + 1e-9:
        raise RlvrError(f"Wilson's interval needs 0 <= successes <= n and n >= 1, not {successes} of {n}")
    p = min(successes / n, 1.0)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Estimate(p, max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)), n)


def compare_paired(
    baseline: Mapping[str, float],
    candidate: Mapping[str, float],
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> PairedComparison:
    """Compare two evaluations task by task: task id -> its value (mean, pass@k) for each.

    Pairing removes the difficulty of the tasks from the noise. Raises RlvrError unless both cover the same tasks.
    """
    if baseline.keys() != candidate.keys():
        odd = sorted(baseline.keys() ^ candidate.keys())
        raise RlvrError(
            f"the two evaluations differ in {len(odd)} tasks, first {odd[0]!r}: evaluate both on the same task file and limit"
        )
    tasks = list(baseline)
    before = _checked([baseline[task] for task in tasks], bounds)
    after = _checked([candidate[task] for task in tasks], bounds)
    differences = after - before  # [T]
    return PairedComparison(
        difference=_difference_estimate(differences, bounds[1] - bounds[0], confidence, resamples, seed),
        p_value=sign_flip_p_value(differences, resamples=resamples, seed=seed),
        baseline=float(before.mean()),
        candidate=float(after.mean()),
        better=int((differences > 0).sum()),
        worse=int((differences < 0).sum()),
        equal=int((differences == 0).sum()),
    )


def sign_flip_p_value(differences: npt.ArrayLike, *, resamples: int = 10_000, seed: int = 0) -> float:
    """Two-sided p-value that paired differences [T] are symmetric around 0.

    Every pattern of signs is enumerated up to 14 non-zero differences; beyond that `resamples` patterns are drawn and the seen one
    is counted among them (Phipson & Smyth, 2010), so p is never 0. Zero differences carry no sign and change nothing.
    """
    d = np.asarray(differences, dtype=np.float64)
    sizes = np.abs(d[d != 0.0])
    if sizes.size == 0:
        return 1.0
    seen = abs(d.sum()) * (1 - 1e-12)  # a sum in another order may differ in the last bit
    if sizes.size <= LARGEST_EXACT_SIGN_FLIP:
        patterns = np.arange(2**sizes.size)[:, None] >> np.arange(sizes.size) & 1  # [2^m, m]
        return float((np.abs((2.0 * patterns - 1.0) @ sizes) >= seen).mean())
    # Equal sizes are interchangeable, so the sum of their random signs is one binomial draw.
    distinct, counts = np.unique(sizes, return_counts=True)  # [K], [K]
    rng = np.random.default_rng(seed)
    extreme = 0
    for block in _blocks(resamples, len(distinct)):
        sums = (2.0 * rng.binomial(counts, 0.5, size=(block, len(distinct))) - counts) @ distinct  # [block]
        extreme += int((np.abs(sums) >= seen).sum())
    return (1 + extreme) / (1 + resamples)


def _difference_estimate(d: FloatArray, span: float, confidence: float, resamples: int, seed: int) -> Estimate:
    if np.any(d):
        return mean_estimate(d, bounds=(-span, span), confidence=confidence, resamples=resamples, seed=seed)
    # No task differs: the mean can be no further from 0 than the share of tasks that differ, times their largest difference.
    reach = wilson(0, len(d), confidence=confidence).high * span
    return Estimate(0.0, -reach, reach, len(d))


def _checked(values: npt.ArrayLike, bounds: tuple[float, float]) -> FloatArray:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.size == 0:
        raise RlvrError(f"an interval needs one value for each of at least one task, got an array of shape {x.shape}")
    if not np.isfinite(x).all():
        raise RlvrError(
            f"{int((~np.isfinite(x)).sum())} of {x.size} task values are NaN or infinite: drop unscored samples first"
        )
    if x.min() < bounds[0] - 1e-9 or x.max() > bounds[1] + 1e-9:
        raise RlvrError(f"task values reach from {x.min():g} to {x.max():g}, outside the stated bounds {bounds}")
    return x


def _resampled_means(x: FloatArray, resamples: int, seed: int) -> FloatArray:
    """Means of `resamples` draws of T tasks with replacement, [R].

    Drawing tasks is drawing how often each distinct value occurs, a multinomial: the same distribution, and its cost does not
    grow with the number of tasks.
    """
    distinct, counts = np.unique(x, return_counts=True)  # [K], [K]
    rng = np.random.default_rng(seed)
    drawn = [rng.multinomial(len(x), counts / len(x), size=block) @ distinct for block in _blocks(resamples, len(distinct))]
    return np.concatenate(drawn) / len(x)


def _bca_interval(x: FloatArray, resampled: FloatArray, confidence: float) -> tuple[float, float]:
    normal = NormalDist()
    mean = x.mean()
    # Median bias: where the estimate stands among the resampled ones, ties counted half.
    below = ((resampled < mean).mean() + (resampled <= mean).mean()) / 2
    edge = 1 / (2 * len(resampled))
    z0 = normal.inv_cdf(float(np.clip(below, edge, 1 - edge)))
    # Acceleration from the jackknife, which for a mean is the skewness of the values.
    deviation = x - mean
    acceleration = float((deviation**3).sum() / (6 * (deviation**2).sum() ** 1.5))
    levels: list[float] = []
    for tail in (0.5 - confidence / 2, 0.5 + confidence / 2):
        z = z0 + normal.inv_cdf(tail)
        levels.append(normal.cdf(z0 + z / (1 - acceleration * z)))
    low, high = np.quantile(resampled, levels)
    return float(low), float(high)


def _blocks(total: int, width: int) -> list[int]:
    """Split `total` rows of `width` cells so that a block stays within memory."""
    rows = max(1, CELLS_AT_ONCE // width)
    return [min(rows, total - start) for start in range(0, total, rows)]
