"""Are siblings that begin alike right or wrong together? What a coupling of first choices has to work on.

Joint draws share out the first ln k nats of a reply among k siblings (quasi, arXiv:2607.01179): they keep siblings from making the same
first choices. That can raise pass@k only where siblings that do make the same first choices, and draw the rest independently, are right
or wrong together more often than others. So pairs of independent siblings are sorted by the nats that they share, the surprisal of
their common prefix under the plain model, and within each class the correlation of their success is estimated.

It is relative to each problem's p, which comes from samples of other runs, so that no pair is compared with itself. With m the mean of
n of these, (s_i - m)(s_j - m) - m (1 - m) / (n - 1) has the mean E[(s_i - p)(s_j - p)], and m (1 - m) n / (n - 1) the mean p (1 - p).

Legend: T tokens of a reply, N samples of a problem.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

EDGES = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, np.inf)
"""Nats."""


@dataclass(frozen=True, slots=True, eq=False)
class Reply:
    """One sample of a problem."""

    is_correct: bool
    token_ids: npt.NDArray[np.int64]
    """[T]"""
    surprisal: npt.NDArray[np.float64]
    """[T] nats of each token, >= 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedChoices:
    """Pairs that share between `low` and `high` nats of their choices."""

    low: float
    high: float
    num_pairs: int
    share: float
    """Of all pairs."""
    correlation: float
    """Of their success; NaN without pairs, or where every problem is always or never solved."""


def shared_nats(a: Reply, b: Reply) -> float:
    """Surprisal of the common prefix of two replies to one prompt, in nats."""
    length = min(len(a.token_ids), len(b.token_ids))
    differs = np.flatnonzero(a.token_ids[:length] != b.token_ids[:length])
    common = int(differs[0]) if len(differs) else length
    return float(a.surprisal[:common].sum())


def success_by_shared_choices(
    problems: Iterable[tuple[Sequence[Reply], Sequence[bool]]], edges: Sequence[float] = EDGES
) -> list[SharedChoices]:
    """The classes between neighbours of `edges`, in nats. Of each problem: independent siblings, and verdicts of two or more other samples
    with the same marginals. Raises ValueError if a problem has fewer."""
    covariance = np.zeros(len(edges) - 1)
    variance, pairs = covariance.copy(), np.zeros(len(edges) - 1, dtype=np.int64)
    for siblings, others in problems:
        n, mean = len(others), float(np.mean(others)) if len(others) else np.nan
        if n < 2:
            raise ValueError(f"a problem's p needs two samples of other runs or more; got {n}.")
        of_mean = mean * (1 - mean) / (n - 1)
        for a, b in combinations(siblings, 2):
            place = int(np.searchsorted(edges, shared_nats(a, b), side="right")) - 1
            covariance[place] += (a.is_correct - mean) * (b.is_correct - mean) - of_mean
            variance[place] += of_mean * n
            pairs[place] += 1
    with np.errstate(invalid="ignore", divide="ignore"):
        correlations = covariance / variance
    return [
        SharedChoices(
            low=edges[i],
            high=edges[i + 1],
            num_pairs=int(pairs[i]),
            share=float(pairs[i] / max(1, pairs.sum())),
            correlation=float(c),
        )
        for i, c in enumerate(correlations)
    ]
