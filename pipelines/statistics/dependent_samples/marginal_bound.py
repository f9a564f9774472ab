"""The most that joint draws with exact marginals can reach: mean over problems of min(1, k p).

However k samples are coupled, each alone is correct with probability p; so one of them is correct with probability k p at the most (the
union bound), reached where no two are correct together. The distance from pass@k of independent samples to this bound is all the room
that a marginal-preserving sampler has. A sampler that changes the marginals is not bound by it.

p is estimated by c / n from the samples at hand. min(1, k p) is concave, so this plug-in understates the bound (Jensen); most where n is
small and k p is near 1. It is exact where no problem's k c / n is near 1.

Legend: P problems, N samples.
"""

import numpy as np
import numpy.typing as npt

from pipelines.statistics.pass_at_k import checked_counts


def marginal_bound_per_problem(
    num_samples_P: npt.ArrayLike, num_correct_P: npt.ArrayLike, k: int
) -> npt.NDArray[np.float64]:
    """min(1, k c / n) of every problem, shape [P]; NaN where a problem has no sample. Raises ValueError on counts that are none, or k < 1.

    >>> marginal_bound_per_problem([16, 16, 16], [0, 2, 16], 4).tolist()
    [0.0, 0.5, 1.0]
    """
    if k < 1:
        raise ValueError(f"k must be >= 1; got k={k}.")
    samples_P, correct_P = checked_counts(num_samples_P, num_correct_P).T
    with np.errstate(invalid="ignore"):
        return np.asarray(np.minimum(1.0, k * correct_P / samples_P), dtype=np.float64)
