"""What a solved problem costs: a ratio of sums over problems, with an interval that resamples problems.

Legend: P problems.
"""

import numpy as np
import numpy.typing as npt

from pipelines.statistics.interval import UNDEFINED, Interval, batches

RESAMPLED_CELLS = 1_000_000
"""Problems resampled at a time: 8 MB an array."""


def cost_per_solved(
    cost_P: npt.ArrayLike,
    solved_P: npt.ArrayLike,
    *,
    confidence: float = 0.95,
    num_resamples: int = 5_000,
    seed: int = 0,
) -> Interval:
    """Total cost (tokens, seconds) over problems solved, unsolved problems' cost included.

    Percentile bootstrap over problems, cost and outcome together; a resample that solves nothing costs infinitely much, so the upper end
    may be infinite. NaN if nothing was solved. Raises ValueError if the lengths differ.
    """
    cost, solved = np.asarray(cost_P, dtype=np.float64), np.asarray(solved_P, dtype=bool)
    if cost.shape != solved.shape or cost.ndim != 1:
        raise ValueError(
            f"cost and outcome must be given for each problem; got shapes {cost.shape} and {solved.shape}."
        )
    if not solved.any() or np.isnan(cost).any():
        return UNDEFINED
    if len(cost) == 1:
        return Interval(estimate=float(cost[0]), low=np.nan, high=np.nan, method="undefined")
    rng = np.random.default_rng(seed)
    resampled_R = np.concatenate(
        [
            ratio(cost[chosen_RP], solved[chosen_RP])
            for count in batches(num_resamples, max(1, RESAMPLED_CELLS // len(cost)))
            for chosen_RP in [rng.integers(len(cost), size=(count, len(cost)))]
        ]
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(
        resampled_R, [tail, 1 - tail], method="inverted_cdf"
    )  # no interpolation: some may be infinite
    return Interval(estimate=float(cost.sum() / solved.sum()), low=float(low), high=float(high), method="bootstrap")


def ratio(cost: npt.NDArray[np.float64], solved: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Sum of cost over number solved; infinite where none is."""
    total, count = cost.sum(axis=-1), solved.sum(axis=-1).astype(np.float64)
    return np.divide(total, count, out=np.full_like(total, np.inf), where=count > 0)
