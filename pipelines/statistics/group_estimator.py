"""pass@k of each problem by the estimator that fits how its samples were drawn.

Legend: P problems, N samples in the order of their index.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from pipelines.statistics.dependent_samples.windows import window_pass_at_k_per_problem
from pipelines.statistics.pass_at_k import pass_at_k_per_problem

GroupEstimator = Callable[[Sequence[npt.ArrayLike], int], npt.NDArray[np.float64]]
"""(correct_PN, k) -> pass@k of each problem [P], NaN where it has fewer than k samples."""


def over_subsets(correct_PN: Sequence[npt.ArrayLike], k: int) -> npt.NDArray[np.float64]:
    """For exchangeable siblings: a random k-subset of the group (Chen et al. 2021)."""
    counts = [(len(correct), int(correct.sum())) for correct in map(np.asarray, correct_PN)]
    return pass_at_k_per_problem([n for n, _ in counts], [c for _, c in counts], k)


def over_windows(correct_PN: Sequence[npt.ArrayLike], k: int) -> npt.NDArray[np.float64]:
    """For siblings that form a low-discrepancy sequence: the mean over windows of k neighbours (windows.py)."""
    return window_pass_at_k_per_problem(correct_PN, k)


def group_estimator(*, siblings_form_sequence: bool) -> GroupEstimator:
    """The estimator for a sampler of this kind."""
    return over_windows if siblings_form_sequence else over_subsets
