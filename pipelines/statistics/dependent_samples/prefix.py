"""The prefix curve: how many problems the first k samples in launch order solve.

What is estimated. The mean over problems of "one of the first k samples launched is correct": what a user who launches a group of n and
looks at the first k gets. No exchangeability is assumed, and no sample is used twice, so it is noisier than pass@k. It is not what a run
with groups of k would give either: siblings run concurrently, and what the Distiller learns from a later one changes the earlier ones.

Legend: P problems, N samples in launch order.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipelines.statistics.interval import Interval, mean_interval


def solved_within(correct_PN: Sequence[npt.ArrayLike], k: int) -> npt.NDArray[np.float64]:
    """1 where one of a problem's first k samples is correct, else 0, shape [P]. Problems may differ in N.

    NaN where a problem has fewer than k samples and none is correct; with a correct one the k samples hold it, whatever the rest.
    Raises ValueError if k < 1.

    >>> solved_within([[0, 1, 0], [0, 0, 0], [0]], 2).tolist()
    [1.0, 0.0, nan]
    """
    if k < 1:
        raise ValueError(f"k must be >= 1; got k={k}.")
    problems = [np.asarray(correct_N, dtype=bool)[:k] for correct_N in correct_PN]
    return np.array([1.0 if first.any() else 0.0 if len(first) == k else np.nan for first in problems])


def prefix_curve(
    correct_PN: Sequence[npt.ArrayLike], ks: Sequence[int], *, confidence: float = 0.95, seed: int = 0
) -> list[Interval]:
    """The prefix curve at each k of `ks`, in that order, with intervals over problems. NaN where it is undefined for a problem."""
    return [mean_interval(solved_within(correct_PN, k), confidence=confidence, seed=seed) for k in ks]
