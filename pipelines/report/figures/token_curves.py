"""Figures: the Distiller's loss and novelty along a sample, averaged by token position."""

import numpy as np

from pipelines.report.figures.style import RenderedFigure, colour, condition_legend, dashes, new_figure, render
from pipelines.report.run_samples import token_curve
from pipelines.report.run_set import RunSet

FEW = 0.1
"""Positions that fewer than this share of the samples reach are drawn thin."""


def loss_figure(run_set: RunSet) -> RenderedFigure | None:
    """The Distiller's training loss; None if no condition has one."""
    return token_figure(run_set, "loss", title="Distiller loss", unit="squared error per hidden channel")


def novelty_figure(run_set: RunSet) -> RenderedFigure | None:
    """The Distiller's relative error; None if no condition has one."""
    return token_figure(run_set, "novelty", title="Novelty", unit="|h - prediction| / |h|")


def token_figure(run_set: RunSet, column: str, *, title: str, unit: str) -> RenderedFigure | None:
    """A per-token column of the first run of each condition."""
    curves = [
        (index, token_curve(condition.runs[0].token_column(column)))
        for index, condition in enumerate(run_set.conditions)
    ]
    curves = [(index, curve) for index, curve in curves if len(curve.count)]
    if not curves:
        return None
    with new_figure() as axes:
        for index, curve in curves:
            few = curve.count < FEW * curve.count.max()
            axes.plot(curve.position, curve.mean, color=colour(index), linewidth=0.8, alpha=0.7)
            axes.plot(
                curve.position, np.where(few, np.nan, curve.mean), dashes(index),
                color=colour(index), linewidth=2, label=run_set.conditions[index].name,
            )  # fmt: skip
        axes.set(xlabel="token position in the sample", ylabel=unit, title=title)
        condition_legend(axes)
        return render(
            axes,
            column,
            f"{title} by token position, mean over tokens the Distiller steered; thin where few samples reach",
        )
