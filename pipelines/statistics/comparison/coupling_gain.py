"""What coupling siblings gains by itself: pass@k of joint draws against that of independent samples, whatever luck both had in pass@1.

A sampler with exact marginals draws each sample as the plain model would. So its pass@1 is the plain model's, and where two runs differ in
it, by chance, that chance is in the difference of their pass@k as well, k-fold at small p. It can be taken out. With q the probability
that a sample is wrong, w the share of wrong samples of the joint run, W_k the share of its groups of k without a correct sample, and U_j
the unbiased estimate of q^j from the independent samples (1 - pass@j, Chen et al. 2021),

    gain_k = k w U_{k-1} - (k-1) U_k - W_k

has the mean k q q^{k-1} - (k-1) q^k - E[W_k] = q^k - E[W_k], exactly, since the runs are independent: the gain in pass@k. And to first
order an error of w, or of the independent samples, changes nothing: moving w by dq moves the first term by k q^{k-1} dq and W_k by as much;
moving the independent samples moves the first two terms by k (k-1) q^{k-1} dq each. What is left is of second order, which pays at small k
(at k = 2 a third of the plain difference's standard error, as seen with 8 samples of each of 102 problems, so a ninth of the problems is
enough) and costs at large k, where the plain difference is the better estimate.

Where marginals are not the plain model's this says nothing: what is taken out would be the effect itself.

Legend: P problems, N samples.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipelines.statistics.group_estimator import GroupEstimator
from pipelines.statistics.pass_at_k import pass_at_k_per_problem


def coupling_gain_per_problem(
    joint_PN: Sequence[npt.ArrayLike],
    num_independent_P: npt.ArrayLike,
    num_correct_P: npt.ArrayLike,
    k: int,
    estimate: GroupEstimator,
) -> npt.NDArray[np.float64]:
    """Gain in pass@k of each problem, [P], unbiased; NaN where either sampler has fewer than k samples.

    `joint_PN`: verdicts of the joint draws in the order of their index; `estimate`: the one that fits them (group_estimator.py). Of the
    independent samples only the numbers count. Raises ValueError if k < 2 or the problems are not as many.

    >>> from pipelines.statistics.group_estimator import over_windows
    >>> coupling_gain_per_problem([[1, 0, 1, 0]], [4], [2], 2, over_windows).round(3).tolist()
    [0.333]
    """
    if k < 2:
        raise ValueError(f"siblings are coupled in groups of two or more; got k={k}.")
    sizes = np.asarray(num_independent_P)
    if len(joint_PN) != len(sizes):
        raise ValueError(f"both samplers must have the same problems; got {len(joint_PN)} and {len(sizes)}.")
    wrong_P = 1 - estimate(joint_PN, 1)  # of one sample, every estimator is the mean
    all_wrong_P = 1 - estimate(joint_PN, k)
    fewer_wrong_P = 1 - pass_at_k_per_problem(sizes, num_correct_P, k - 1)
    as_many_wrong_P = 1 - pass_at_k_per_problem(sizes, num_correct_P, k)
    gain_P: npt.NDArray[np.float64] = k * wrong_P * fewer_wrong_P - (k - 1) * as_many_wrong_P - all_wrong_P
    return gain_P
