"""Figure: the verdicts of the samples as stacked bars."""

import numpy as np
from matplotlib.ticker import PercentFormatter

from pipelines.report.figures.style import (
    CONDITION_COLOURS,
    LINE,
    MUTED,
    PAPER,
    RenderedFigure,
    new_figure,
    render,
    shortened,
)
from pipelines.report.run_set import RunSet

OUTCOMES = {
    "correct": ("correct",),
    "wrong": ("wrong",),
    "no answer": ("no_answer", "parse_error"),
    "time-out": ("timeout",),
    "failed": ("error", "out_of_memory", "sandbox_error"),
}
"""Bars, and the verdicts in each."""
SHADES = (CONDITION_COLOURS[2], LINE, MUTED, CONDITION_COLOURS[3], CONDITION_COLOURS[1])
HATCHES = ("", "", "////", "xxxx", "||||")


def outcomes_figure(run_set: RunSet) -> RenderedFigure | None:
    """Share of the samples by verdict, one bar per condition. None without verdicts."""
    if not run_set.is_verified:
        return None
    conditions = run_set.conditions
    with new_figure() as axes:
        left = np.zeros(len(conditions))
        for (outcome, verdicts), shade, hatch in zip(OUTCOMES.items(), SHADES, HATCHES, strict=True):
            shares = [np.mean([np.isin(run.status_PN, verdicts) for run in each.runs]) for each in conditions]
            width = 100 * np.array(shares)
            bar = {"color": shade, "hatch": hatch, "edgecolor": PAPER, "label": outcome}
            axes.barh(range(len(left)), width, left=left, height=0.6, **bar)
            left += width
        axes.set_yticks(range(len(left)), [shortened(condition.name) for condition in conditions])
        axes.invert_yaxis()
        axes.xaxis.set_major_formatter(PercentFormatter(decimals=0))
        axes.set(title="Outcomes", xlim=(0, 100))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3)
        return render(axes, "outcomes", "Verdicts of the samples, in percent")
