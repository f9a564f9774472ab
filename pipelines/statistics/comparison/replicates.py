"""Runs that differ in their seed only: how much a result varies from run to run.

A bootstrap over problems answers "what of other problems?"; replicates answer "what of another run on these problems?". Only replicates
see what is shared by all problems of a run, and they need no assumption about the samples within one.

Legend: R runs, P problems.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats


@dataclass(frozen=True, kw_only=True, slots=True)
class BetweenRuns:
    """A result over replicates. All but the mean is NaN for a single run."""

    mean: float
    standard_deviation: float
    """Of the runs' means: how far runs of the same command scatter."""
    low: float
    high: float
    """t interval of the mean for these problems; assumes runs that are independent and near normal, as means over problems are."""
    num_runs: int


def between_runs(values_R: npt.ArrayLike, *, confidence: float = 0.95) -> BetweenRuns:
    """Mean over replicates and its error. Raises ValueError if there is no run."""
    values = np.asarray(values_R, dtype=np.float64)
    if len(values) == 0:
        raise ValueError("between_runs needs one run or more; got none.")
    mean, spread, low, high = float(values.mean()), np.nan, np.nan, np.nan
    if len(values) > 1:
        spread = float(values.std(ddof=1))
        half = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1)) * spread / np.sqrt(len(values))
        low, high = mean - half, mean + half
    return BetweenRuns(mean=mean, standard_deviation=spread, low=low, high=high, num_runs=len(values))


def run_variance_share(values_RP: npt.NDArray[np.float64]) -> float:
    """Share of the variance of one problem's value in one run that is between runs; the rest is between problems.

    One-way analysis of variance with problems as groups: mean within-problem variance over the total variance of a single value. Small:
    more problems would help; near 1: more runs, or more samples, would. Assumes that the errors of a run's problems are independent. NaN
    for fewer than two runs or problems, or if nothing varies.
    """
    num_runs, num_problems = values_RP.shape
    if num_runs < 2 or num_problems < 2:
        return float("nan")
    within = float(values_RP.var(axis=0, ddof=1).mean())
    between = max(0.0, float(values_RP.mean(axis=0).var(ddof=1)) - within / num_runs)
    return within / (within + between) if within + between > 0 else float("nan")
