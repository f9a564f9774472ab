"""The report's numbers as CSV, undefined ones empty."""

import csv
import io
import math
from collections.abc import Iterable

from pipelines.report.measures.comparison import ArmComparison
from pipelines.report.measures.outcomes import Measure
from pipelines.report.run_set import Evidence


def measures_csv(evidence: Evidence, measures: Iterable[Measure]) -> str:
    """One row per measure and arm."""
    return as_csv(
        ["measure", "k", "arm", "runs", "estimate", "low", "high", "interval"],
        (
            [measure.name, measure.k, arm.name, len(arm.runs), value.estimate, value.low, value.high, value.method]
            for measure in measures
            for arm, value in zip(evidence.arms, measure.values, strict=True)
        ),
    )


def differences_csv(comparisons: Iterable[ArmComparison]) -> str:
    """One row per compared arm and k."""
    return as_csv(
        ["arm", "baseline", "k", "arm_mean", "baseline_mean", "difference", "low", "high", "p", "p_holm", "detectable"],
        (
            [
                *(comparison.arm, comparison.baseline, at.k, at.paired.mean_a, at.paired.mean_b),
                *(at.paired.difference.estimate, at.paired.difference.low, at.paired.difference.high),
                *(at.paired.p_value, at.adjusted_p, at.paired.detectable),
            ]
            for comparison in comparisons
            for at in comparison.at
        ),
    )


def problems_csv(evidence: Evidence) -> str:
    """One row per problem, run and arm."""
    return as_csv(
        ["problem_id", "arm", "seed", "samples", "correct", "tokens"],
        (
            [
                *(problem.problem_id, arm.name, run.manifest.config.seed, run.group_size),
                *(int(run.correct_PN[p].sum()), int(run.num_tokens_PN[p].sum())),
            ]
            for p, problem in enumerate(evidence.problems)
            for arm in evidence.arms
            for run in arm.runs
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
