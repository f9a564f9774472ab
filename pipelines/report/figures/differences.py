"""Figure: paired differences in pass@k from the baseline, and the differences that the data could hardly have shown."""

import numpy as np

from pipelines.report.figures.style import (
    INK,
    MUTED,
    RenderedFigure,
    colour,
    condition_legend,
    log_k_axis,
    marker,
    new_figure,
    render,
)
from pipelines.report.measures.comparison import ConditionComparison
from pipelines.report.run_set import RunSet

CAPTION = (
    "Paired difference in pass@k from the baseline, with 95% intervals over problems; a true difference inside the shaded area would "
    "mostly go undetected"
)
OFFSET = 0.06
"""Share of k by which the conditions stand apart, so that their error bars do not cover each other."""


def differences_figure(run_set: RunSet, comparisons: list[ConditionComparison]) -> RenderedFigure | None:
    """One series per compared condition; the shaded area is that of the first. None without a comparison."""
    if not comparisons:
        return None
    names = [condition.name for condition in run_set.conditions]
    with new_figure() as axes:
        for place, comparison in enumerate(comparisons):
            index = names.index(comparison.condition)
            shift = 1 + OFFSET * (place - (len(comparisons) - 1) / 2)
            ks = np.array([at.k for at in comparison.at])
            middle = np.array([at.paired.difference.estimate for at in comparison.at])
            ends = np.array([[at.paired.difference.low, at.paired.difference.high] for at in comparison.at]).T
            axes.errorbar(
                ks * shift, 100 * middle, 100 * np.abs(ends - middle),
                fmt=marker(index), color=colour(index), capsize=3, label=comparison.condition,
            )  # fmt: skip
        ks = np.array([at.k for at in comparisons[0].at])
        detectable = np.minimum(100, [100 * at.paired.detectable for at in comparisons[0].at])
        axes.fill_between(ks, -detectable, detectable, color=MUTED, alpha=0.12, linewidth=0)
        axes.axhline(0, color=INK, linewidth=1)
        log_k_axis(axes, run_set.ks)
        axes.set(xlabel="k", ylabel="percentage points", title=f"Difference from {comparisons[0].baseline}")
        condition_legend(axes)
        return render(axes, "differences", CAPTION)
