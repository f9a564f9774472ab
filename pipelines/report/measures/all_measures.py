"""Every measure of the report's main table, in its order. To add one: a function in the file it fits, and a line here."""

from pipelines.report.measures.correctness import correctness_at_k
from pipelines.report.measures.costs import costs, costs_per_solved_problem
from pipelines.report.measures.measure import Measure
from pipelines.report.measures.verdict_rates import verdict_rates
from pipelines.report.run_set import RunSet


def measure_conditions(run_set: RunSet) -> list[Measure]:
    """Every measure that is defined: without verdicts, as for stories, only what the samples cost."""
    if not run_set.is_verified:
        return costs(run_set)
    return [
        *correctness_at_k(run_set),
        *verdict_rates(run_set),
        *costs(run_set),
        *costs_per_solved_problem(run_set),
    ]
