"""Figure: pass@k of every condition against k.

Legend: K values of k.
"""

from matplotlib.ticker import PercentFormatter

from pipelines.report.figures.style import (
    RenderedFigure,
    colour,
    condition_legend,
    dashes,
    log_k_axis,
    marker,
    new_figure,
    render,
)
from pipelines.report.measures.measure import Measure
from pipelines.report.run_set import RunSet
from pipelines.statistics.interval import Interval

CAPTION = (
    "pass@k of a random k-subset (lines, 95% bands) and of the first k launched (crosses). The thin grey line is the most that joint draws "
    "with the baseline's marginals could reach"
)


def pass_at_k_figure(run_set: RunSet, measures: list[Measure]) -> RenderedFigure | None:
    """pass@k with its band, and the prefix curve, which needs no exchangeability. None without verdicts."""
    if not run_set.is_verified:
        return None
    with new_figure() as axes:
        for index, condition in enumerate(run_set.conditions):
            ks_K, subset_K = curve(measures, "pass@", index)
            style = {"color": colour(index), "marker": marker(index), "label": condition.name}
            axes.plot(ks_K, [100 * value.estimate for value in subset_K], dashes(index), **style)
            low_K, high_K = [100 * value.low for value in subset_K], [100 * value.high for value in subset_K]
            axes.fill_between(ks_K, low_K, high_K, color=colour(index), alpha=0.13, linewidth=0)
            ks_K, first_K = curve(measures, "first ", index)
            axes.plot(ks_K, [100 * value.estimate for value in first_K], "x", color=colour(index), markersize=7)
        ks_K, bound_K = curve(measures, "bound of pass@", 0)
        axes.plot(ks_K, [100 * value.estimate for value in bound_K], color="0.55", linewidth=0.8, linestyle="--")
        log_k_axis(axes, run_set.ks)
        axes.yaxis.set_major_formatter(PercentFormatter(decimals=0))
        axes.set(xlabel="k", title="pass@k of a group")
        condition_legend(axes)
        return render(axes, "pass_at_k", CAPTION)


def curve(measures: list[Measure], prefix: str, index: int) -> tuple[list[int], list[Interval]]:
    """Values of k and a condition's intervals there, of the measures named by this prefix; [K] each, undefined ones left out."""
    points = [
        (measure.k, measure.values[index])
        for measure in measures
        if measure.name.startswith(prefix) and measure.k is not None and measure.values[index].method != "undefined"
    ]
    return [k for k, _ in points], [value for _, value in points]
