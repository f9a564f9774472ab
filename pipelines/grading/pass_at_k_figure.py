"""Figure: pass@k of graded replies against k, in the style of the run report."""

from matplotlib.ticker import PercentFormatter

from pipelines.report.figures.style import RenderedFigure, colour, log_k_axis, marker, new_figure, render
from pipelines.statistics.pass_at_k import PassAtK

CAPTION = "pass@k over problems, with 95% intervals"


def pass_at_k_figure(curve: list[PassAtK]) -> RenderedFigure | None:
    """pass@k with its band. None if it is defined at fewer than two k: there is no curve to draw."""
    points = [point for point in curve if point.method != "undefined"]
    if len(points) < 2:
        return None
    ks = tuple(point.k for point in points)
    with new_figure() as axes:
        axes.plot(ks, [100 * point.estimate for point in points], color=colour(0), marker=marker(0))
        low, high = [100 * point.low for point in points], [100 * point.high for point in points]
        axes.fill_between(ks, low, high, color=colour(0), alpha=0.13, linewidth=0)
        log_k_axis(axes, ks)
        axes.yaxis.set_major_formatter(PercentFormatter(decimals=0))
        axes.set(xlabel="k", title="pass@k")
        return render(axes, "pass_at_k", CAPTION)
