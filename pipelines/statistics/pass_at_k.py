"""pass@k of a run, with an interval over its problems.

What is estimated. For every problem a group of n samples was generated together; c of them are correct. pass@k is the probability that k of
these n, taken at random without replacement, hold at least one correct sample; then the mean over problems. The estimator is that
of Chen et al. 2021 (arXiv:2107.03374), who assume independent samples; for these pass@k does not depend on n. ESamp's samples of one
prompt depend on each other, since they share a Distiller. The estimator stays unbiased for the random k-subset of a group of n, but
it is not what a run with groups of k would give, and at k = n it is simply the share of groups that hold a correct sample. So compare
runs at the same k and the same n only. `prefix.py` and `group_size.py` answer the other two questions.

What is uncertain. Samples of a problem are not independent, problems are. So problems are resampled, never samples: the interval is for
another set of as many problems and includes the variance of the samples.

Legend: P problems, K values of k.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.statistics.interval import IntervalMethod, mean_interval


@dataclass(frozen=True, kw_only=True, slots=True)
class PassAtK:
    """pass@k of a set of problems. `estimate`, `low` and `high` are NaN where it is undefined."""

    k: int
    estimate: float
    """Mean over problems, in [0, 1]."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    num_problems: int
    """Problems in the mean, P."""
    group_size: int | None
    """Samples per problem, n, of whose random k-subsets this is pass@k; None if problems differ in it, there are none, or it is pass@k of
    groups of k themselves (windows.py)."""
    method: IntervalMethod
    """How the interval was found: see `pipelines.statistics.interval.mean_interval`."""

    @property
    def label(self) -> str:
        """The estimate by its full name: pass@k alone does not say what the k samples were siblings of."""
        return f"pass@{self.k}" if self.group_size is None else f"pass@{self.k} | group={self.group_size}"


def pass_at_k(n: int, c: int, k: int) -> float:
    """Probability that k of n samples, taken at random, hold at least one of the c correct ones.

    1 - C(n-c, k) / C(n, k): Chen et al. 2021, arXiv:2107.03374, eq. 1, as a product, since binomials overflow.
    Raises ValueError if not 0 <= c <= n or not 1 <= k <= n.

    >>> pass_at_k(n=4, c=1, k=2)
    0.5
    """
    if not 0 <= c <= n:
        raise ValueError(f"c correct samples must be in 0..n; got c={c}, n={n}.")
    if not 1 <= k <= n:
        raise ValueError(f"k must be in 1..n for an unbiased pass@k; got k={k}, n={n}. Draw more samples.")
    if n - c < k:
        return 1.0
    return 1.0 - float(np.prod(1.0 - k / np.arange(n - c + 1, n + 1)))


def pass_at_k_per_problem(
    num_samples_P: npt.ArrayLike, num_correct_P: npt.ArrayLike, k: int
) -> npt.NDArray[np.float64]:
    """pass@k of every problem, shape [P]; NaN where a problem has fewer than k samples.

    Raises ValueError if k < 1, on counts that are not 0 <= correct <= samples, and on shapes other than [P] for both.
    """
    if k < 1:
        raise ValueError(f"k must be >= 1; got k={k}.")
    counts_P2 = checked_counts(num_samples_P, num_correct_P)
    distinct, problem_P = np.unique(counts_P2, axis=0, return_inverse=True)
    values = [pass_at_k(n, c, k) if k <= n else np.nan for n, c in distinct.tolist()]
    return np.array(values, dtype=np.float64)[problem_P]


def pass_at_k_curve(
    num_samples_P: npt.ArrayLike,
    num_correct_P: npt.ArrayLike,
    ks: Sequence[int],
    *,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> list[PassAtK]:
    """pass@k of a set of problems for each k in `ks`, in that order. The same arguments give the same numbers.

    The interval is that of `pipelines.statistics.interval.mean_interval`. All is NaN if there is no problem, or one with fewer than k
    samples: to leave out such a problem, or to call it unsolved, would be the answer to another question.

    Raises ValueError if not 0 < confidence < 1 or num_resamples < 1, and as `pass_at_k_per_problem` does.
    """
    samples_P, correct_P = checked_counts(num_samples_P, num_correct_P).T
    group_sizes = np.unique(samples_P).tolist()
    return pass_at_k_points(
        [pass_at_k_per_problem(samples_P, correct_P, k) for k in ks],
        ks,
        group_size=group_sizes[0] if len(group_sizes) == 1 else None,
        confidence=confidence,
        num_resamples=num_resamples,
        seed=seed,
    )


def pass_at_k_points(
    values_KP: Sequence[npt.NDArray[np.float64]],
    ks: Sequence[int],
    *,
    group_size: int | None,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> list[PassAtK]:
    """The curve from pass@k of each problem at each k, by whatever estimator; `group_size` as in PassAtK."""
    curve = []
    for k, values_P in zip(ks, values_KP, strict=True):
        interval = mean_interval(values_P, confidence=confidence, num_resamples=num_resamples, seed=seed)
        curve.append(
            PassAtK(
                k=k,
                estimate=interval.estimate,
                low=interval.low,
                high=interval.high,
                num_problems=len(values_P),
                group_size=group_size,
                method=interval.method,
            )
        )
    return curve


def ks_up_to(n: int) -> tuple[int, ...]:
    """1, 2, 4, ... and n itself. Raises ValueError if n < 1.

    >>> ks_up_to(6)
    (1, 2, 4, 6)
    """
    if n < 1:
        raise ValueError(f"n samples must be >= 1; got n={n}.")
    return (*(2**power for power in range((n - 1).bit_length())), n)


def checked_counts(num_samples_P: npt.ArrayLike, num_correct_P: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Samples and correct samples of each problem, shape [P, 2]. Raises ValueError if they cannot be counts."""
    samples_P, correct_P = np.asarray(num_samples_P), np.asarray(num_correct_P)
    if samples_P.ndim != 1 or samples_P.shape != correct_P.shape:
        raise ValueError(
            "num_samples_P and num_correct_P must have one number per problem; "
            f"got shapes {samples_P.shape} and {correct_P.shape}."
        )
    are_counts_P = (correct_P >= 0) & (correct_P <= samples_P) & (correct_P % 1 == 0) & (samples_P % 1 == 0)
    if not are_counts_P.all():
        problem = int(np.argmin(are_counts_P))
        raise ValueError(
            "num_samples_P and num_correct_P must be whole numbers with 0 <= correct <= samples; "
            f"got {correct_P[problem]} correct of {samples_P[problem]} for problem {problem}."
        )
    return np.stack([samples_P, correct_P], axis=1).astype(np.int64)
