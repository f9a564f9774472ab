"""Does the place in launch order matter? A permutation test within problems.

pass@k from all k-subsets of a group treats its samples as exchangeable: any order as likely as any other. With a Distiller that is trained
meanwhile, or a first sample generated before it was trained at all, they may not be; then "k of n at random" differs from "the first k",
and the plain estimator misleads whoever stops early.

What it can see: correctness that drifts along the order, a first sample unlike the rest, neighbours that resemble or avoid each other.
What it cannot see: dependence that has no order. In a group whose members all repel each other equally, or all succeed or fail
together, every permutation is as likely as the next, and no test of order can tell it from independence. A large p-value therefore does
not say that samples are independent, nor that pass@k would be the same in groups of another size.

Legend: P problems, N samples in launch order, R permutations, S statistics.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.statistics.interval import batches

PERMUTATION_CELLS = 8_000_000
"""Samples permuted at a time: 8 MB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exchangeability:
    """Outcome of the test; NaN where no problem has both correct and wrong samples."""

    p_value: float
    """Probability of statistics this extreme if launch order does not matter; adjusted for looking at three of them."""
    trend: float
    """Correctness against launch order, in standard deviations of its permutation distribution: > 0 rises."""
    first: float
    """The first sample against the others, likewise: > 0 is better than they are."""
    neighbours: float
    """Neighbours both correct, likewise: > 0 more often than by chance."""
    num_problems: int
    """Problems with both correct and wrong samples; the others cannot show an effect of order."""

    def misleads(self, alpha: float = 0.05) -> bool:
        """True if launch order matters, at this level."""
        return self.p_value < alpha


def exchangeability_test(
    correct_PN: npt.NDArray[np.bool_], *, num_permutations: int = 2000, seed: int = 0
) -> Exchangeability:
    """Test whether launch order matters within problems, [P, N] in launch order.

    Samples are permuted within each problem, which leaves its number of correct ones as it is: exact whatever the problems' difficulty
    and however strong an order-free dependence. The three statistics are standardised by their permutation distribution; the p-value is
    that of the largest of them (Westfall and Young 1993, min-P), with the observed order counted among the permutations.
    Raises ValueError if the array is not [P, N] or num_permutations < 1.
    """
    if correct_PN.ndim != 2:
        raise ValueError(f"correct_PN must be [problems, samples]; got shape {correct_PN.shape}.")
    if num_permutations < 1:
        raise ValueError(f"num_permutations must be >= 1; got {num_permutations}.")
    mixed_PN = correct_PN[correct_PN.any(axis=1) & ~correct_PN.all(axis=1)].astype(np.uint8)
    if len(mixed_PN) == 0:
        return Exchangeability(p_value=np.nan, trend=np.nan, first=np.nan, neighbours=np.nan, num_problems=0)
    rng = np.random.default_rng(seed)
    batch = max(1, PERMUTATION_CELLS // mixed_PN.size)
    permuted_RS = np.concatenate(
        [
            order_statistics(rng.permuted(np.broadcast_to(mixed_PN, (count, *mixed_PN.shape)), axis=2))
            for count in batches(num_permutations, batch)
        ]
    )
    all_RS = np.concatenate([order_statistics(mixed_PN[None]), permuted_RS])
    spread_S = all_RS.std(axis=0)
    # A statistic that no permutation can change (N = 2 has no second pair of neighbours) says nothing: 0 standard deviations.
    z_RS = np.divide(all_RS - all_RS.mean(axis=0), spread_S, out=np.zeros_like(all_RS), where=spread_S > 0)
    largest_R = np.abs(z_RS).max(axis=1)
    return Exchangeability(
        p_value=float((largest_R >= largest_R[0] - 1e-9).mean()),
        trend=float(z_RS[0, 0]),
        first=float(z_RS[0, 1]),
        neighbours=float(z_RS[0, 2]),
        num_problems=len(mixed_PN),
    )


def order_statistics(correct_RPN: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Trend, first sample and neighbours of each permutation, summed over problems, shape [R, S]."""
    at_position_RN = correct_RPN.sum(axis=1, dtype=np.float64)
    num_samples = correct_RPN.shape[2]
    trend_R = at_position_RN @ (np.arange(num_samples) - (num_samples - 1) / 2)
    neighbours_R = (correct_RPN[:, :, 1:] & correct_RPN[:, :, :-1]).sum(axis=(1, 2), dtype=np.float64)
    return np.stack([trend_R, at_position_RN[:, 0], neighbours_R], axis=1)
