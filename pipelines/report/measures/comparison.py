"""Conditions against the baseline, problem by problem, and what that comes to in plain words."""

from dataclasses import dataclass

import numpy as np

from pipelines.report.run_set import Condition, RunSet
from pipelines.statistics.paired import PairedComparison, SolvedByOne, compare_paired, holm, mcnemar

LEVEL = 0.05
"""Adjusted p-values below this count as more than chance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DifferenceAtK:
    """One k of a comparison."""

    k: int
    paired: PairedComparison
    adjusted_p: float
    """Holm's p-value over all k of this comparison."""

    @property
    def is_shown(self) -> bool:
        """True if chance is no explanation, at this many k's looked at."""
        return self.adjusted_p < LEVEL


@dataclass(frozen=True, kw_only=True, slots=True)
class ConditionComparison:
    """A condition against the baseline."""

    condition: str
    baseline: str
    group_size: int
    at: list[DifferenceAtK]
    """By rising k."""
    solved: SolvedByOne | None
    """Problems solved by one and not the other; None with replicates, where a problem has more than one result."""


def compare_conditions(run_set: RunSet) -> list[ConditionComparison]:
    """Every other condition with groups of the baseline's size against the baseline; other sizes answer another question."""
    return [
        compare_condition(condition, run_set.baseline, run_set.ks)
        for condition in run_set.conditions[1:]
        if condition.group_size == run_set.baseline.group_size
    ]


def compare_condition(condition: Condition, baseline: Condition, ks: tuple[int, ...]) -> ConditionComparison:
    """One condition against another at every k they have."""
    ks = tuple(k for k in ks if k <= condition.group_size)
    paired = [compare_paired(condition.pass_at_P(k), baseline.pass_at_P(k)) for k in ks]
    adjusted = holm([comparison.p_value for comparison in paired])
    has_one_run = len(condition.runs) == len(baseline.runs) == 1
    return ConditionComparison(
        condition=condition.name,
        baseline=baseline.name,
        group_size=condition.group_size,
        at=[
            DifferenceAtK(k=k, paired=comparison, adjusted_p=p)
            for k, comparison, p in zip(ks, paired, adjusted, strict=True)
        ],
        solved=mcnemar(condition.correct_RPN[0].any(axis=1), baseline.correct_RPN[0].any(axis=1))
        if has_one_run
        else None,
    )


def conclusion(comparison: ConditionComparison) -> str:
    """The comparison in plain words: who leads at which k, by how much, whether it could be chance, what could have been seen."""
    shown = [at for at in comparison.at if at.is_shown]
    if not shown:
        last = comparison.at[-1]
        return (
            f"No difference between {comparison.condition} and {comparison.baseline} could be shown at any k. {in_figures(last)}; "
            f"that could be chance (p\u00a0=\u00a0{last.paired.p_value:.2g}). {what_could_be_seen(last)}"
        )
    better = [at for at in shown if at.paired.difference.estimate > 0]
    worse = [at for at in shown if at.paired.difference.estimate < 0]
    claims = [
        f"{winner} beats {loser} at k = {', '.join(str(at.k) for at in where)}. {in_figures(where[-1])}."
        for winner, loser, where in (
            (comparison.condition, comparison.baseline, better),
            (comparison.baseline, comparison.condition, worse),
        )
        if where
    ]
    chance = [str(at.k) for at in comparison.at if not at.is_shown]
    return " ".join(
        [
            *claims,
            f"Chance does not explain this (p < {LEVEL:g}, adjusted for {len(comparison.at)} k's looked at).",
            *([f"At k = {', '.join(chance)} the difference could be chance."] if chance else []),
            what_could_be_seen(comparison.at[-1]),
        ]
    )


def in_figures(at: DifferenceAtK) -> str:
    """One difference with its interval, in words."""
    paired, difference = at.paired, at.paired.difference
    return (
        f"pass@{at.k} is {paired.mean_a:.1%} against {paired.mean_b:.1%}, a difference of {points(difference.estimate)} points "
        f"(95% interval {points(difference.low)} to {points(difference.high)})"
    )


def what_could_be_seen(at: DifferenceAtK) -> str:
    """The smallest difference these data could have shown, in words."""
    problems, detectable = at.paired.num_problems, at.paired.detectable
    if problems == 1 or detectable > 1:
        return f"{problems} problem{'s' if problems > 1 else ''} can hardly show any difference."
    if np.isnan(detectable):
        return (
            f"The {problems} problems all differ alike, so nothing says how small a difference they could have shown."
        )
    return (
        f"With {problems} problems, a true difference of {100 * detectable:.1f} points at k = {at.k} would be found 4 times "
        "in 5, and smaller ones mostly not."
    )


def points(share: float) -> str:
    """A difference of shares in percentage points, signed."""
    return f"{100 * share:+.1f}"
