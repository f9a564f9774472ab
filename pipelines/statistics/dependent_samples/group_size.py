"""What groups of other sizes would give: the question that pass@k of one large group does not answer for dependent samples.

Groups are independent of each other, samples within a group are not. So the group takes the place of the sample: "a group of n solved the
problem" is one yes or no, and the estimators for independent samples hold for groups.

Legend: P problems, G groups of one size of each problem, N samples of one group.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.statistics.interval import Interval, mean_interval
from pipelines.statistics.pass_at_k import pass_at_k_per_problem


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupSizePoint:
    """Problems solved with `num_groups` groups of `group_size` samples each."""

    group_size: int
    num_groups: int
    solved: Interval
    """Mean over problems of the probability that one of the groups holds a correct sample."""

    @property
    def num_samples(self) -> int:
        """The budget: samples in all groups."""
        return self.group_size * self.num_groups


def group_size_sweep(correct_of_size: dict[int, npt.NDArray[np.bool_]], budget: int) -> list[GroupSizePoint]:
    """One budget of samples, spent on groups of each size that was run: [P, G, N] arrays by their N.

    For groups of n, m = budget / n of them are needed; the estimate is pass@m over the G groups that were run, unbiased since groups
    are independent (Chen et al. 2021, eq. 1). NaN if G < m. Raises ValueError if a size does not divide the budget, or an array is not
    of the size it is filed under.
    """
    points = []
    for size, correct_PGN in sorted(correct_of_size.items()):
        if correct_PGN.ndim != 3 or correct_PGN.shape[2] != size:
            raise ValueError(
                f"groups of {size} must come as [problems, groups, {size}]; got shape {correct_PGN.shape}."
            )
        if budget % size:
            raise ValueError(
                f"a budget must be a multiple of each group size; got {budget} samples and groups of {size}. "
                f"Give a multiple of {np.lcm.reduce(list(correct_of_size))}."
            )
        solved_PG = correct_PGN.any(axis=2)
        num_groups_P = np.full(correct_PGN.shape[0], correct_PGN.shape[1])
        values_P = pass_at_k_per_problem(num_groups_P, solved_PG.sum(axis=1), budget // size)
        points.append(GroupSizePoint(group_size=size, num_groups=budget // size, solved=mean_interval(values_P)))
    return points
