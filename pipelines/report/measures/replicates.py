"""What the runs of a condition say about each other and about launch order."""

from dataclasses import dataclass

import numpy as np

from pipelines.report.run_set import RunSet
from pipelines.statistics.comparison.replicates import BetweenRuns, between_runs, run_variance_share
from pipelines.statistics.dependent_samples.exchangeability import Exchangeability, exchangeability_test


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplicateSpread:
    """pass@k of a condition over its runs."""

    condition: str
    k: int
    between: BetweenRuns
    run_variance_share: float
    """Share of the variance of a problem's pass@k that is between runs: see `statistics/comparison/replicates.py`."""


def replicate_spreads(run_set: RunSet) -> list[ReplicateSpread]:
    """Of every condition with two runs or more, at every k it defines."""
    return [
        ReplicateSpread(
            condition=condition.name,
            k=k,
            between=between_runs(condition.pass_at_RP(k).mean(axis=1)),
            run_variance_share=run_variance_share(condition.pass_at_RP(k)),
        )
        for condition in run_set.conditions
        if len(condition.runs) > 1
        for k in run_set.ks
        if k <= condition.group_size
    ]


def launch_order(run_set: RunSet) -> list[Exchangeability]:
    """Does launch order matter? One test per condition, over the problems of all its runs."""
    return [exchangeability_test(np.concatenate(list(condition.correct_RPN))) for condition in run_set.conditions]
