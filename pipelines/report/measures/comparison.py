"""Conditions against the baseline, paired by problem, and the conclusion in words."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipelines.report.run_set import Condition, RunSet
from pipelines.statistics.comparison.coupling_gain import coupling_gain_per_problem
from pipelines.statistics.comparison.paired import (
    PairedComparison,
    SolvedByOne,
    compare_paired,
    holm,
    mcnemar,
    sign_flip_test,
)
from pipelines.statistics.comparison.sample_efficiency import SampleEfficiency, sample_efficiency
from pipelines.statistics.group_estimator import group_estimator
from pipelines.statistics.interval import Interval, mean_interval

LEVEL = 0.05
"""Adjusted p-values below this count as more than chance."""
PassAtP = Callable[[int], npt.NDArray[np.float64]]
"""pass@k of each problem, [P], for a k."""


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
class CouplingGainAtK:
    """What coupling the siblings gained at one k, the luck of both conditions in pass@1 taken out (coupling_gain.py)."""

    k: int
    gain: Interval
    p_value: float
    """Two-sided, by flipping signs."""


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
    efficiency: list[SampleEfficiency] = field(default_factory=list)
    """By rising k: how many independent samples are worth k of the condition's. Empty unless the baseline's samples are independent."""
    coupling: list[CouplingGainAtK] = field(default_factory=list)
    """By rising k. Empty unless the condition's samples are coupled and otherwise distributed as the baseline's, which are independent."""


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
    has_one_run = len(condition.runs) == len(baseline.runs) == 1
    return ConditionComparison(
        condition=condition.name,
        baseline=baseline.name,
        group_size=condition.group_size,
        at=differences_at(ks, condition.pass_at_P, baseline.pass_at_P),
        solved=mcnemar(condition.correct_RPN[0].any(axis=1), baseline.correct_RPN[0].any(axis=1))
        if has_one_run
        else None,
        efficiency=[] if baseline.couples_samples else [efficiency_at(condition, baseline, k) for k in ks if k > 1],
        coupling=coupling_gains(condition, baseline, ks),
    )


def coupling_gains(condition: Condition, baseline: Condition, ks: tuple[int, ...]) -> list[CouplingGainAtK]:
    """At each k up to half of the baseline's samples, beyond which the plain difference is more precise; see ConditionComparison."""
    if not differ_in_coupling_only(condition, baseline):
        return []
    most = len(baseline.runs) * baseline.group_size // 2
    return [coupling_gain_at(condition, baseline, k) for k in ks if 1 < k <= most]


def differ_in_coupling_only(condition: Condition, baseline: Condition) -> bool:
    """True if a sample of either has the same distribution, and only the condition's siblings depend on each other."""
    return (
        condition.couples_samples
        and not baseline.couples_samples
        and condition.keeps_marginals
        and baseline.keeps_marginals
        and condition.config.sampling == baseline.config.sampling
    )


def coupling_gain_at(condition: Condition, baseline: Condition, k: int) -> CouplingGainAtK:
    """Mean over the condition's runs; a baseline of several runs counts as one group of all their samples."""
    independent_RPN = baseline.correct_RPN
    num_runs, num_problems, num_samples = independent_RPN.shape
    estimate = group_estimator(siblings_form_sequence=condition.config.siblings_form_sequence)
    gains_RP = [
        coupling_gain_per_problem(
            list(run.correct_PN),
            np.full(num_problems, num_runs * num_samples),
            independent_RPN.sum(axis=(0, 2)),
            k,
            estimate,
        )
        for run in condition.runs
    ]
    gain_P = np.mean(gains_RP, axis=0)
    return CouplingGainAtK(k=k, gain=mean_interval(gain_P, bounds=(-k, k)), p_value=sign_flip_test(gain_P))


def efficiency_at(condition: Condition, baseline: Condition, k: int) -> SampleEfficiency:
    """Independent samples that give the condition's pass@k; a baseline of several runs counts as one group of all their samples."""
    correct_RPN = baseline.correct_RPN
    return sample_efficiency(
        condition.pass_at_P(k),
        k,
        baseline_samples_P=np.full(correct_RPN.shape[1], correct_RPN.shape[0] * correct_RPN.shape[2]),
        baseline_correct_P=correct_RPN.sum(axis=(0, 2)),
    )


def differences_at(ks: tuple[int, ...], pass_at_P_a: PassAtP, pass_at_P_b: PassAtP) -> list[DifferenceAtK]:
    """Paired differences a - b at each k, with p-values adjusted for the number of k's."""
    paired = [compare_paired(pass_at_P_a(k), pass_at_P_b(k)) for k in ks]
    adjusted = holm([comparison.p_value for comparison in paired])
    return [
        DifferenceAtK(k=k, paired=comparison, adjusted_p=p)
        for k, comparison, p in zip(ks, paired, adjusted, strict=True)
    ]


def conclusion(comparison: ConditionComparison) -> str:
    """The comparison in words: which condition is better at which k, by how much, whether it could be chance, what was detectable."""
    shown = [at for at in comparison.at if at.is_shown]
    if not shown:
        last = comparison.at[-1]
        return (
            f"No difference between {comparison.condition} and {comparison.baseline} could be shown at any k. {difference_text(last)}; "
            f"that could be chance (p\u00a0=\u00a0{last.paired.p_value:.2g}). {detectable_text(last)}"
        )
    better = [at for at in shown if at.paired.difference.estimate > 0]
    worse = [at for at in shown if at.paired.difference.estimate < 0]
    claims = [
        f"{winner} beats {loser} at k = {', '.join(str(at.k) for at in where)}. {difference_text(where[-1])}."
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
            detectable_text(comparison.at[-1]),
        ]
    )


def difference_text(at: DifferenceAtK) -> str:
    """One difference with its interval, in words."""
    paired, difference = at.paired, at.paired.difference
    return (
        f"pass@{at.k} is {paired.mean_a:.1%} against {paired.mean_b:.1%}, a difference of {points(difference.estimate)} points "
        f"(95% interval {points(difference.low)} to {points(difference.high)})"
    )


def detectable_text(at: DifferenceAtK) -> str:
    """The smallest difference that these data would show, in words."""
    problems, detectable = at.paired.num_problems, at.paired.detectable
    if problems == 1 or detectable > 1:
        return f"{problems} problem{'s' if problems > 1 else ''} can hardly show any difference."
    if np.isnan(detectable):
        return f"All {problems} problems have the same difference, so the smallest detectable one is unknown."
    return (
        f"With {problems} problems, a true difference of {100 * detectable:.1f} points at k = {at.k} would be found 4 times "
        "in 5, and smaller ones mostly not."
    )


def points(share: float) -> str:
    """A difference of shares in percentage points, signed."""
    return f"{100 * share:+.1f}"
