"""What GRPO trainings reached, step by step: a table in Markdown and a figure.

Legend: R trainings of a condition, E evaluations, P held-out problems.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pipelines.devtools.grpo.result import HELD_OUT_SAMPLES, GrpoResult
from pipelines.report.figures.style import STYLE, colour, dashes, marker
from pipelines.statistics.comparison.paired import difference_interval
from pipelines.statistics.pass_at_k import pass_at_k_per_problem

KS = (1, HELD_OUT_SAMPLES)
BASELINE = "vanilla"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GrpoCurve:
    """The trainings of a condition."""

    condition: str
    results: Sequence[GrpoResult]
    """[R]"""

    @property
    def evaluated_at(self) -> list[int]:
        """[E] steps."""
        return self.results[0].evaluated_at

    def pass_at(self, k: int) -> npt.NDArray[np.float64]:
        """[R, E, P] pass@k of each held-out problem, by the plain model."""
        return np.array(
            [
                [
                    pass_at_k_per_problem([HELD_OUT_SAMPLES] * len(correct_P), correct_P, k)
                    for correct_P in result.correct_EP
                ]
                for result in self.results
            ]
        )


def curves_of(results: Sequence[GrpoResult]) -> list[GrpoCurve]:
    """By condition, in the order of their first training."""
    names = list(dict.fromkeys(result.condition for result in results))
    return [
        GrpoCurve(condition=name, results=[result for result in results if result.condition == name]) for name in names
    ]


def table(curves: Sequence[GrpoCurve]) -> list[str]:
    """Lines of Markdown: pass@k after each evaluation, in percent, and what a step cost; means over trainings."""
    steps = curves[0].evaluated_at
    lines = [f"| condition | k | {' | '.join(f'step {step}' for step in steps)} |", f"|---|---:|{'---:|' * len(steps)}"]
    for curve in curves:
        for k in KS:
            reached_E = 100 * curve.pass_at(k).mean(axis=(0, 2))
            lines.append(f"| {curve.condition} | {k} | {' | '.join(f'{value:.1f}' for value in reached_E)} |")
    return [*lines, "", *cost_lines(curves), "", *difference_lines(curves)]


def cost_lines(curves: Sequence[GrpoCurve]) -> list[str]:
    """Seconds of a step, and importance ratios."""
    lines = [
        "| condition | trainings | sampling, s per step | training, s per step | mean importance ratio per token |"
    ]
    lines.append("|---|---:|---:|---:|---:|")
    for curve in curves:
        num_steps = sum(len(result.rewards) for result in curve.results)
        sampling = sum(result.sampling_s for result in curve.results) / num_steps
        training = sum(result.training_s for result in curve.results) / num_steps
        ratios = [ratio for result in curve.results for ratio in result.ratios]
        ratio = f"{np.mean(ratios):.3f}" if ratios else "-"
        lines.append(f"| {curve.condition} | {len(curve.results)} | {sampling:.2f} | {training:.2f} | {ratio} |")
    return lines


def difference_lines(curves: Sequence[GrpoCurve]) -> list[str]:
    """Difference from vanilla, in points, at the last evaluation and on average over all behind the first; seeds are averaged first, the
    intervals are over problems. Only seeds that both have."""
    by_name = {curve.condition: curve for curve in curves}
    if BASELINE not in by_name:
        return []
    lines = [
        f"| difference from {BASELINE} | k | after the last step | mean over all evaluations |",
        "|---|---:|---|---|",
    ]
    for name, curve in by_name.items():
        if name == BASELINE:
            continue
        for k in KS:
            ours_REP, theirs_REP = paired(curve, by_name[BASELINE], k)
            d_EP = (ours_REP - theirs_REP).mean(axis=0)[1:]
            last, mean = (difference_interval(d_P) for d_P in (d_EP[-1], d_EP.mean(axis=0)))
            cells = [f"{100 * d.estimate:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}]" for d in (last, mean)]
            lines.append(f"| {name} | {k} | {' | '.join(cells)} |")
    return lines


def paired(a: GrpoCurve, b: GrpoCurve, k: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """pass@k [R, E, P] of the trainings of a and b that have the same seeds, in the same order."""
    seeds = [result.seed for result in a.results if result.seed in [other.seed for other in b.results]]
    return tuple(  # type: ignore[return-value]
        curve.pass_at(k)[[[result.seed for result in curve.results].index(seed) for seed in seeds]] for curve in (a, b)
    )


def figure(curves: Sequence[GrpoCurve]) -> Figure:
    """pass@k against the step, a panel for each k: lines are means over trainings, bands their extremes."""
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(8.6, 3.4), layout="constrained")
        for axes, k in zip(drawn.subplots(1, len(KS)), KS, strict=True):
            for index, curve in enumerate(curves):
                reached_RE = 100 * curve.pass_at(k).mean(axis=2)
                style = {"color": colour(index), "marker": marker(index), "label": curve.condition, "markersize": 4}
                axes.plot(curve.evaluated_at, reached_RE.mean(axis=0), dashes(index), **style)
                axes.fill_between(
                    curve.evaluated_at, reached_RE.min(axis=0), reached_RE.max(axis=0), color=colour(index), alpha=0.13
                )
            axes.yaxis.set_major_formatter(PercentFormatter(decimals=0))
            axes.set(xlabel="optimiser steps", title=f"held-out pass@{k}")
        axes.legend()
        return drawn
