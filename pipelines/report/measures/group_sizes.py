"""One budget spent on groups of different sizes, where the runs allow it: the same sampler with several --samples."""

from dataclasses import dataclass
from typing import Any

from pipelines.report.run_set import Condition, RunSet, by_condition, condition_settings, sampler_name
from pipelines.statistics.dependent_samples.group_size import GroupSizePoint, group_size_sweep


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupSizeSweep:
    """A sampler's sweep; the budget is its largest group."""

    sampler: str
    budget: int
    points: list[GroupSizePoint]


def group_size_sweeps(run_set: RunSet) -> list[GroupSizeSweep]:
    """A sweep of each sampler that was run with two group sizes or more. Runs with other seeds give the further groups.

    Only sizes that divide the largest take part, and only runs that generated each group as one work unit: work units of a problem may
    share a Distiller, and then are not independent groups.
    """
    one_unit_each = [
        condition
        for condition in run_set.conditions
        if condition.config.samples_per_work_unit in (None, condition.group_size)
    ]
    sweeps = []
    for conditions in by_condition(one_unit_each, without_size):
        budget = max(condition.group_size for condition in conditions)
        sizes = {
            condition.group_size: condition.correct_RPN.swapaxes(0, 1)
            for condition in conditions
            if budget % condition.group_size == 0
        }
        if len(sizes) > 1:
            points = group_size_sweep(sizes, budget)
            sweeps.append(GroupSizeSweep(sampler=sampler_name(conditions[0].config), budget=budget, points=points))
    return sweeps


def without_size(condition: Condition) -> dict[str, Any]:
    """A condition's settings but for the size of its groups."""
    settings = condition_settings(condition.runs[0].manifest)
    return {name: value for name, value in settings.items() if name not in ("samples", "samples_per_work_unit")}
