"""Figure: diversity of the samples against their coherence."""

import numpy as np

from pipelines.report.figures.style import RenderedFigure, colour, condition_legend, marker, new_figure, render
from pipelines.report.measures.measure import Measure
from pipelines.report.run_set import RunSet

CAPTION = (
    "Diversity against coherence, means over problems with 95% intervals: samples further up differ more, samples further left are more "
    "coherent"
)


def diversity_figure(run_set: RunSet, diversity: list[Measure]) -> RenderedFigure | None:
    """One point per condition; None if no condition has both measures."""
    by_name = {measure.name: measure for measure in diversity}
    across = by_name.get("perplexity, second model", by_name["perplexity, own model"])
    up = by_name.get("Vendi score", by_name["distinct-2"])
    points = [
        (index, x, y)
        for index, (x, y) in enumerate(zip(across.values, up.values, strict=True))
        if not np.isnan([x.estimate, y.estimate]).any()
    ]
    if not points:
        return None
    with new_figure() as axes:
        for index, x, y in points:
            axes.errorbar(
                x.estimate, y.estimate,
                xerr=[[x.estimate - x.low], [x.high - x.estimate]], yerr=[[y.estimate - y.low], [y.high - y.estimate]],
                fmt=marker(index), color=colour(index), capsize=3, label=run_set.conditions[index].name,
            )  # fmt: skip
        axes.set(xlabel=across.name, ylabel=up.name, title="Diversity and coherence")
        condition_legend(axes)
        return render(axes, "diversity", CAPTION)
