"""The report's numbers as CSV, undefined ones empty."""

import csv
import io
import math
from collections.abc import Iterable

from pipelines.report.measures.comparison import ConditionComparison
from pipelines.report.measures.measure import Measure
from pipelines.report.run_set import RunSet


def measures_csv(run_set: RunSet, measures: Iterable[Measure]) -> str:
    """One row per measure and condition."""
    return as_csv(
        ["measure", "k", "arm", "runs", "estimate", "low", "high", "interval"],
        (
            [
                measure.name,
                measure.k,
                condition.name,
                len(condition.runs),
                value.estimate,
                value.low,
                value.high,
                value.method,
            ]
            for measure in measures
            for condition, value in zip(run_set.conditions, measure.values, strict=True)
        ),
    )


def differences_csv(comparisons: Iterable[ConditionComparison]) -> str:
    """One row per compared condition and k."""
    return as_csv(
        ["arm", "baseline", "k", "arm_mean", "baseline_mean", "difference", "low", "high", "p", "p_holm", "detectable"],
        (
            [
                *(comparison.condition, comparison.baseline, at.k, at.paired.mean_a, at.paired.mean_b),
                *(at.paired.difference.estimate, at.paired.difference.low, at.paired.difference.high),
                *(at.paired.p_value, at.adjusted_p, at.paired.detectable),
            ]
            for comparison in comparisons
            for at in comparison.at
        ),
    )


def problems_csv(run_set: RunSet) -> str:
    """One row per problem, run and condition."""
    return as_csv(
        ["problem_id", "arm", "seed", "samples", "correct", "tokens"],
        (
            [
                *(problem.problem_id, condition.name, run.manifest.config.seed, run.group_size),
                *(int(run.correct_PN[p].sum()), int(run.num_tokens_PN[p].sum())),
            ]
            for p, problem in enumerate(run_set.problems)
            for condition in run_set.conditions
            for run in condition.runs
        ),
    )


def as_csv(header: list[str], rows: Iterable[list[str | int | float | None]]) -> str:
    """The text of a CSV file. NaN becomes an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow(["" if isinstance(cell, float) and math.isnan(cell) else cell for cell in row])
    return text.getvalue()
