"""best-of-k: the sample with the highest score of k, exactly over all k-subsets; and pass^k, where all k must be correct.

Legend: N samples of one problem.
"""

from math import comb

import numpy as np
import numpy.typing as npt


def best_of_k(scores_N: npt.ArrayLike, values_N: npt.ArrayLike, k: int) -> float:
    """Expected value (correctness, reward) of the sample with the highest score among k taken at random without replacement.

    The sample that ranks r-th from below is the best of a k-subset in C(r-1, k-1) of C(N, k) cases; samples with equal scores share
    their ranks. For a random k-subset of this group, as pass@k is. NaN if k > N or a score is NaN. Raises ValueError if k < 1 or the
    lengths differ.

    >>> best_of_k([0.1, 0.9, 0.5], [0.0, 1.0, 0.0], 2)  # of 3 pairs, 2 hold the sample scored 0.9
    0.6666666666666666
    """
    scores, values = np.asarray(scores_N, dtype=np.float64), np.asarray(values_N, dtype=np.float64)
    if scores.shape != values.shape or scores.ndim != 1:
        raise ValueError(f"scores and values must be as many; got shapes {scores.shape} and {values.shape}.")
    if k < 1:
        raise ValueError(f"k must be >= 1; got k={k}.")
    if k > len(scores) or np.isnan(scores).any():
        return float("nan")
    _, level_N = np.unique(scores, return_inverse=True)
    mean_of_level = np.bincount(level_N, weights=values) / np.bincount(level_N)
    order = np.argsort(level_N, kind="stable")
    subsets = comb(len(scores), k)
    return sum(
        comb(rank, k - 1) / subsets * float(mean_of_level[level]) for rank, level in enumerate(level_N[order].tolist())
    )


def pass_hat_k(n: int, c: int, k: int) -> float:
    """pass^k: probability that all of k samples, taken at random of n with c correct, are correct.

    C(c, k) / C(n, k): tau-bench, arXiv:2406.12045, section 4. NaN if k > n. Raises ValueError if not 0 <= c <= n or k < 1.

    >>> pass_hat_k(n=4, c=2, k=2)
    0.16666666666666666
    """
    if not 0 <= c <= n:
        raise ValueError(f"c correct samples must be in 0..n; got c={c}, n={n}.")
    if k < 1:
        raise ValueError(f"k must be >= 1; got k={k}.")
    return comb(c, k) / comb(n, k) if k <= n else float("nan")
