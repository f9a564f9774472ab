"""Figure: how far the Distiller's weights lag behind the engine."""

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import MaxNLocator

from pipelines.report.figures.style import RenderedFigure, colour, condition_legend, dashes, new_figure, render
from pipelines.report.run_set import RunSet

CAPTION = (
    "Staleness: decode steps whose hidden states the weights in use had not yet been trained on, mean of each sample"
)


def staleness_figure(run_set: RunSet) -> RenderedFigure | None:
    """A histogram over the samples of each condition's first run; None if no sample was steered."""
    lags = [
        (index, [lag for lag in condition.runs[0].table["lag_mean"].to_pylist() if lag is not None])
        for index, condition in enumerate(run_set.conditions)
    ]
    lags = [(index, values) for index, values in lags if values]
    if not lags:
        return None
    with new_figure() as axes:
        edges = lag_bins(np.concatenate([values for _, values in lags]))
        bins = list(edges)
        for index, values in lags:
            name = run_set.conditions[index].name
            axes.hist(values, bins=bins, histtype="stepfilled", alpha=0.35, color=colour(index), label=name)
            axes.hist(values, bins=bins, histtype="step", color=colour(index), linestyle=dashes(index))
        axes.set_xlim(0, edges[-1] + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="decode steps behind", ylabel="samples", title="Staleness of the Distiller")
        condition_legend(axes)
        return render(axes, "staleness", CAPTION)


def lag_bins(lags: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Edges of the bins of mean lags; one bin around a whole number if all are equal, as with a trainer inside the engine."""
    if np.ptp(lags) < 0.01:
        return np.arange(0.5, lags.max() + 1.5)
    edges: npt.NDArray[np.float64] = np.histogram_bin_edges(lags, bins=24)
    return edges
