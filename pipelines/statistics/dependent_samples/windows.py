"""pass@k of siblings that were drawn jointly from a golden-ratio sequence: the mean over all windows of k neighbouring samples.

What is estimated. The probability that a group of k solves its problem, as a run with `--samples k` would draw it. The estimator of
Chen et al. (pass_at_k.py) takes random k-subsets of the n siblings; these are less evenly spread than a group of k is, so it would
understate a joint sampler. A window of k neighbours is different: neighbours i..i+k-1 have the codes U + i/phi + j/phi, j < k, which is
the sequence of a group of k with another uniform offset. So each window is distributed as a prefix, and the mean over the n-k+1 windows
is unbiased, with less variance than the prefix alone. Windows overlap, which costs nothing: problems are what is resampled.

It holds for any sampler whose windows are alike in distribution, independent samples included (where it is noisier than Chen's).

Legend: P problems, N samples in the order of their index.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipelines.statistics.interval import Interval, mean_interval


def window_pass_at_k(correct_N: npt.ArrayLike, k: int) -> float:
    """Share of the windows of k neighbouring samples of one problem that hold a correct one; NaN with fewer than k samples.

    Raises ValueError if k < 1.

    >>> window_pass_at_k([1, 0, 0, 0], 2)
    0.3333333333333333
    """
    if k < 1:
        raise ValueError(f"k must be >= 1; got k={k}.")
    correct = np.asarray(correct_N, dtype=bool)
    if len(correct) < k:
        return float("nan")
    return float(np.lib.stride_tricks.sliding_window_view(correct, k).any(axis=1).mean())


def window_pass_at_k_per_problem(correct_PN: Sequence[npt.ArrayLike], k: int) -> npt.NDArray[np.float64]:
    """The same for every problem, shape [P]. Problems may differ in N."""
    return np.array([window_pass_at_k(correct_N, k) for correct_N in correct_PN])


def window_curve(
    correct_PN: Sequence[npt.ArrayLike], ks: Sequence[int], *, confidence: float = 0.95, seed: int = 0
) -> list[Interval]:
    """pass@k at each k of `ks`, in that order, with intervals over problems. NaN where a problem has fewer than k samples."""
    return [mean_interval(window_pass_at_k_per_problem(correct_PN, k), confidence=confidence, seed=seed) for k in ks]
