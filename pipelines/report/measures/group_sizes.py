"""One budget spent on groups of different sizes, where the runs allow it: the same sampler with several --samples."""

from dataclasses import dataclass
from typing import Any

from pipelines.report.run_set import Arm, Evidence, arm_settings, sampler_name
from pipelines.statistics.group_size import GroupSizePoint, group_size_sweep


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupSizeSweep:
    """A sampler's sweep; the budget is its largest group."""

    sampler: str
    budget: int
    points: list[GroupSizePoint]


def group_size_sweeps(evidence: Evidence) -> list[GroupSizeSweep]:
    """A sweep of each sampler that was run with two group sizes or more. Runs with other seeds give the further groups.

    Only sizes that divide the largest take part, and only runs that drew each group as one unit of work: units of a problem may share
    a Distiller, and would not be groups of their own.
    """
    families: dict[str, list[Arm]] = {}
    for arm in evidence.arms:
        if arm.config.samples_per_work_unit in (None, arm.group_size):
            families.setdefault(str(sorted(without_size(arm).items())), []).append(arm)
    sweeps = []
    for arms in families.values():
        budget = max(arm.group_size for arm in arms)
        sizes = {arm.group_size: arm.correct_RPN.swapaxes(0, 1) for arm in arms if budget % arm.group_size == 0}
        if len(sizes) > 1:
            points = group_size_sweep(sizes, budget)
            sweeps.append(GroupSizeSweep(sampler=sampler_name(arms[0].config), budget=budget, points=points))
    return sweeps


def without_size(arm: Arm) -> dict[str, Any]:
    """An arm's settings but for the size of its groups."""
    settings = arm_settings(arm.runs[0].manifest)
    return {name: value for name, value in settings.items() if name not in ("samples", "samples_per_work_unit")}
