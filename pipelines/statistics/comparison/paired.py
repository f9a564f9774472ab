"""Two samplers on the same problems: how large is the difference, could it be chance, and what could the data have shown?

Everything is paired by problem: the difference of each problem first, then its mean. What makes a problem hard drops out, and the
samples of one problem may depend on each other in any way.

Legend: P problems, d_P difference a - b of each problem.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from pipelines.statistics.interval import EQUAL_WITHIN, Interval, clopper_pearson_interval, mean_interval

FEW_DIFFERENCES = 10
"""With fewer problems that differ their spread is hardly known: see `difference_interval` and `detectable_difference`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedComparison:
    """Sampler a against sampler b. NaN where it is undefined."""

    mean_a: float
    mean_b: float
    difference: Interval
    """a - b: mean over problems, with the interval for another set of as many problems."""
    p_value: float
    """Two-sided, by flipping signs: see `sign_flip_test`."""
    detectable: float
    """Smallest true difference that these problems would have shown 4 times in 5: see `detectable_difference`."""
    num_problems: int


def compare_paired(
    values_a_P: npt.ArrayLike,
    values_b_P: npt.ArrayLike,
    *,
    strata_P: Sequence[str] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> PairedComparison:
    """Compare one value per problem in [0, 1], such as its pass@k, between two samplers; NaN if one of them is.

    The interval is a bootstrap over problems, within strata if they are given. Raises ValueError if the problems are not as many.
    """
    a_P, b_P = np.asarray(values_a_P, dtype=np.float64), np.asarray(values_b_P, dtype=np.float64)
    if a_P.shape != b_P.shape or a_P.ndim != 1:
        raise ValueError(f"both samplers must have one value for each problem; got shapes {a_P.shape} and {b_P.shape}.")
    d_P = a_P - b_P
    return PairedComparison(
        mean_a=float(a_P.mean()) if len(a_P) else np.nan,
        mean_b=float(b_P.mean()) if len(b_P) else np.nan,
        difference=difference_interval(d_P, strata_P=strata_P, confidence=confidence, seed=seed),
        p_value=sign_flip_test(d_P, seed=seed),
        detectable=detectable_difference(d_P, alpha=1 - confidence),
        num_problems=len(d_P),
    )


def difference_interval(
    d_P: npt.NDArray[np.float64], *, strata_P: Sequence[str] | None = None, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Mean difference with its interval; differences lie in [-1, 1]. As `mean_interval`, but for few problems that differ.

    With fewer than 10 of them a bootstrap hardly meets any and is far too short. Then gains E[max(d, 0)] and losses E[max(-d, 0)] are
    bounded one by one, each problem a coin toss (Clopper and Pearson 1934), and each at half the error (Bonferroni): coverage is at least
    as stated, for any distribution and whatever the strata.
    """
    num_differing = int((np.abs(d_P) > EQUAL_WITHIN).sum())
    if len(d_P) == 0 or np.isnan(d_P).any() or num_differing >= FEW_DIFFERENCES:
        return mean_interval(d_P, strata_P=strata_P, bounds=(-1.0, 1.0), confidence=confidence, seed=seed)
    each = (1 + confidence) / 2
    gain_low, gain_high = clopper_pearson_interval(np.maximum(d_P, 0), confidence=each)
    loss_low, loss_high = clopper_pearson_interval(np.maximum(-d_P, 0), confidence=each)
    return Interval(
        estimate=float(d_P.mean()), low=gain_low - loss_high, high=gain_high - loss_low, method="clopper-pearson"
    )


def sign_flip_test(d_P: npt.ArrayLike, *, num_resamples: int = 49_999, seed: int = 0) -> float:
    """Two-sided p-value of "which sampler gave which result does not matter": the differences' signs are flipped at random.

    Fisher's permutation test for pairs (scipy.stats.permutation_test, permutation_type "samples"), exact for 15 differences or fewer and
    by 49,999 draws with the observed one counted in beyond. Its null is that the two results of each problem could be swapped; where the
    differences are skewed it tests that, not quite that their mean is 0. 1 if one problem differs or none; NaN if there is no problem or
    one is NaN.
    """
    d = np.asarray(d_P, dtype=np.float64)
    if len(d) == 0 or np.isnan(d).any():
        return float("nan")
    moved = d[np.abs(d) > EQUAL_WITHIN]  # a zero has no sign to flip
    if len(moved) < 2:
        return 1.0  # with either sign a single difference is as extreme as it is
    result = stats.permutation_test(
        (moved, np.zeros_like(moved)),
        lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=num_resamples,
        batch=1_000,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def detectable_difference(d_P: npt.ArrayLike, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest true mean difference that a two-sided test at `alpha` on these many problems would find with probability `power`.

    (z_{1-alpha/2} + z_power) sd(d) / sqrt(P), normal approximation (Cohen 1988, chapter 2; statsmodels NormalIndPower), with the spread
    that was seen. Where fewer than 10 problems differ that spread is hardly known: then the largest one that fits, from the upper
    Clopper-Pearson bound of E[d^2]. A difference below the result may well exist and go unseen. NaN for fewer than two problems, or if
    all differ alike: no spread was seen.

    >>> round(detectable_difference([0.5, -0.5, 0.0, 0.25] * 25), 3)
    0.104
    """
    d = np.asarray(d_P, dtype=np.float64)
    if len(d) < 2 or np.isnan(d).any():
        return float("nan")
    if (np.abs(d) > EQUAL_WITHIN).sum() < FEW_DIFFERENCES:
        spread = np.sqrt(clopper_pearson_interval(d**2, confidence=1 - alpha)[1])
    elif np.ptp(d) <= EQUAL_WITHIN:
        return float("nan")
    else:
        spread = d.std(ddof=1)
    return float((stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power)) * spread / np.sqrt(len(d)))


@dataclass(frozen=True, kw_only=True, slots=True)
class SolvedByOne:
    """Problems by who solved them, and whether the split of the discordant ones could be a coin's."""

    both: int
    only_a: int
    only_b: int
    neither: int
    p_value: float
    """Exact McNemar test, two-sided."""


def mcnemar(solved_a_P: npt.ArrayLike, solved_b_P: npt.ArrayLike) -> SolvedByOne:
    """McNemar's test (1947), exact: only_a of only_a + only_b is a fair coin's if the samplers are alike.

    For one yes or no per problem and sampler, such as "a group of n holds a correct sample". p = 1 if they solve the same problems.
    Raises ValueError if the problems are not as many.
    """
    a_P, b_P = np.asarray(solved_a_P, dtype=bool), np.asarray(solved_b_P, dtype=bool)
    if a_P.shape != b_P.shape:
        raise ValueError(f"both samplers must have one result per problem; got shapes {a_P.shape} and {b_P.shape}.")
    only_a, only_b = int((a_P & ~b_P).sum()), int((b_P & ~a_P).sum())
    discordant = only_a + only_b
    return SolvedByOne(
        both=int((a_P & b_P).sum()),
        only_a=only_a,
        only_b=only_b,
        neither=int((~a_P & ~b_P).sum()),
        p_value=float(stats.binomtest(only_a, discordant).pvalue) if discordant else 1.0,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for testing several hypotheses (Holm 1979): the chance of any false alarm stays below the level. NaN stays NaN.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    defined = sorted((p, index) for index, p in enumerate(p_values) if not np.isnan(p))
    adjusted = [float("nan")] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(defined):
        largest = max(largest, min(1.0, (len(defined) - rank) * p))
        adjusted[index] = largest
    return adjusted
