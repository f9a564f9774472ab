"""The report's figures: what is drawn. How it looks is in style.py.

Legend: K values of k.
"""

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import MaxNLocator, PercentFormatter

from pipelines.report.figures.style import (
    CONDITION_COLOURS,
    DASHES,
    INK,
    LINE,
    MUTED,
    PAPER,
    RenderedFigure,
    colour,
    condition_legend,
    log_k_axis,
    marker,
    new_figure,
    shortened,
)
from pipelines.report.measures.comparison import ConditionComparison
from pipelines.report.measures.outcomes import Measure
from pipelines.report.run_samples import token_curve
from pipelines.report.run_set import RunSet


def draw_figures(
    run_set: RunSet, measures: list[Measure], diversity: list[Measure], comparisons: list[ConditionComparison]
) -> list[RenderedFigure]:
    """Every figure for which there is data."""
    return [
        *(pass_at_k_figure(run_set, measures) if run_set.is_verified else []),
        *differences_figure(run_set, comparisons),
        *diversity_figure(run_set, diversity),
        *token_figure(run_set, "loss", "Distiller loss", "squared error per hidden channel"),
        *token_figure(run_set, "novelty", "Novelty", "|h - prediction| / |h|"),
        *staleness_figure(run_set),
        *(outcomes_figure(run_set) if run_set.is_verified else []),
    ]


def pass_at_k_figure(run_set: RunSet, measures: list[Measure]) -> list[RenderedFigure]:
    """pass@k of every condition with its band, and the prefix curve, which needs no exchangeability."""
    drawn: list[RenderedFigure] = []
    caption = "pass@k of a random k-subset (lines, 95% bands) and of the first k launched (crosses)"
    with new_figure("pass_at_k", caption, drawn) as axes:
        for index, condition in enumerate(run_set.conditions):
            for prefix, is_subset in (("pass@", True), ("first ", False)):
                points = [
                    (m.k, m.values[index])
                    for m in measures
                    if m.name.startswith(prefix) and m.k and m.k <= condition.group_size
                ]
                ks = [k for k, _ in points]
                estimates = [100 * value.estimate for _, value in points]
                if is_subset:
                    axes.plot(
                        ks,
                        estimates,
                        DASHES[index % 4],
                        color=colour(index),
                        marker=marker(index),
                        label=condition.name,
                    )
                    bounds = [[100 * value.low for _, value in points], [100 * value.high for _, value in points]]
                    axes.fill_between(ks, *bounds, color=colour(index), alpha=0.13, linewidth=0)
                else:
                    axes.plot(ks, estimates, "x", color=colour(index), markersize=7)
        log_k_axis(axes, run_set.ks)
        axes.yaxis.set_major_formatter(PercentFormatter(decimals=0))
        axes.set(xlabel="k", title="pass@k of a group")
        condition_legend(axes)
    return drawn


def differences_figure(run_set: RunSet, comparisons: list[ConditionComparison]) -> list[RenderedFigure]:
    """Paired differences from the baseline, with the differences that could not have been seen."""
    if not comparisons:
        return []
    drawn: list[RenderedFigure] = []
    caption = (
        "Paired difference in pass@k from the baseline, with 95% intervals over problems; within the shade a true difference would "
        "mostly go unseen"
    )
    with new_figure("differences", caption, drawn) as axes:
        names = [condition.name for condition in run_set.conditions]
        for offset, comparison in enumerate(comparisons):
            index = names.index(comparison.condition)
            shift = 1 + 0.06 * (offset - (len(comparisons) - 1) / 2)
            ks = np.array([at.k for at in comparison.at])
            middle = np.array([at.paired.difference.estimate for at in comparison.at])
            ends = np.array([[at.paired.difference.low, at.paired.difference.high] for at in comparison.at]).T
            axes.errorbar(
                ks * shift, 100 * middle, 100 * np.abs(ends - middle),
                fmt=marker(index), color=colour(index), capsize=3, label=comparison.condition,
            )  # fmt: skip
        ks = np.array([at.k for at in comparisons[0].at])
        unseen = np.minimum(100, [100 * at.paired.detectable for at in comparisons[0].at])
        axes.fill_between(ks, -unseen, unseen, color=MUTED, alpha=0.12, linewidth=0)
        axes.axhline(0, color=INK, linewidth=1)
        log_k_axis(axes, run_set.ks)
        axes.set(xlabel="k", ylabel="percentage points", title=f"Difference from {comparisons[0].baseline}")
        condition_legend(axes)
    return drawn


def diversity_figure(run_set: RunSet, diversity: list[Measure]) -> list[RenderedFigure]:
    """Diversity against coherence, one point per condition: up is more different, left is more sensible. Nothing without a point."""
    by_name = {measure.name: measure for measure in diversity}
    across = by_name.get("perplexity, second model", by_name["perplexity, own model"])
    up = by_name.get("Vendi score", by_name["distinct-2"])
    points = [
        (index, x, y)
        for index, (x, y) in enumerate(zip(across.values, up.values, strict=True))
        if not np.isnan([x.estimate, y.estimate]).any()
    ]
    if not points:
        return []
    drawn: list[RenderedFigure] = []
    caption = "Diversity against coherence, means over problems with 95% intervals: upwards samples differ more, leftwards they read better"
    with new_figure("diversity", caption, drawn) as axes:
        for index, x, y in points:
            axes.errorbar(
                x.estimate, y.estimate,
                xerr=[[x.estimate - x.low], [x.high - x.estimate]], yerr=[[y.estimate - y.low], [y.high - y.estimate]],
                fmt=marker(index), color=colour(index), capsize=3, label=run_set.conditions[index].name,
            )  # fmt: skip
        axes.set(xlabel=across.name, ylabel=up.name, title="Diversity and coherence")
        condition_legend(axes)
    return drawn


def token_figure(run_set: RunSet, column: str, title: str, unit: str) -> list[RenderedFigure]:
    """A per-token measure of the Distiller along the answer; nothing if no condition has one."""
    curves = [
        (index, token_curve(condition.runs[0].token_column(column)))
        for index, condition in enumerate(run_set.conditions)
    ]
    curves = [(index, curve) for index, curve in curves if len(curve.count)]
    if not curves:
        return []
    drawn: list[RenderedFigure] = []
    caption = f"{title} along the answer, mean over tokens the Distiller took part in; thin where few samples reach"
    with new_figure(column, caption.replace("|", ""), drawn) as axes:
        for index, curve in curves:
            few = curve.count < curve.count.max() / 10
            axes.plot(curve.position, curve.mean, color=colour(index), linewidth=0.8, alpha=0.7)
            axes.plot(
                curve.position, np.where(few, np.nan, curve.mean), DASHES[index % 4],
                color=colour(index), linewidth=2, label=run_set.conditions[index].name,
            )  # fmt: skip
        axes.set(xlabel="place in the answer, tokens", ylabel=unit, title=title)
        condition_legend(axes)
    return drawn


def staleness_figure(run_set: RunSet) -> list[RenderedFigure]:
    """How far the weights that steered lagged behind; nothing if nothing was steered."""
    lags = [
        (index, [lag for lag in condition.runs[0].table["lag_mean"].to_pylist() if lag is not None])
        for index, condition in enumerate(run_set.conditions)
    ]
    lags = [(index, values) for index, values in lags if values]
    if not lags:
        return []
    drawn: list[RenderedFigure] = []
    caption = "Staleness: decode steps that the weights which steered had not yet learned from, mean of each sample"
    with new_figure("staleness", caption, drawn) as axes:
        edges = lag_bins(np.concatenate([values for _, values in lags]))
        for index, values in lags:
            axes.hist(
                values,
                bins=list(edges),
                histtype="stepfilled",
                alpha=0.35,
                color=colour(index),
                label=run_set.conditions[index].name,
            )
            axes.hist(values, bins=list(edges), histtype="step", color=colour(index), linestyle=DASHES[index % 4])
        axes.set_xlim(0, edges[-1] + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="decode steps behind", ylabel="samples", title="Staleness of the Distiller")
        condition_legend(axes)
    return drawn


def lag_bins(lags: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Edges of the bins of mean lags; one bin around a whole number if they are all alike, as with a trainer inside the engine."""
    if np.ptp(lags) < 0.01:
        return np.arange(0.5, lags.max() + 1.5)
    edges: npt.NDArray[np.float64] = np.histogram_bin_edges(lags, bins=24)
    return edges


OUTCOMES = {
    "correct": ("correct",),
    "wrong": ("wrong",),
    "no answer": ("no_answer", "parse_error"),
    "time-out": ("timeout",),
    "failed": ("error", "out_of_memory", "sandbox_error"),
}
"""Bars of the outcomes figure, and the verdicts in them."""
HATCHES = ("", "", "////", "xxxx", "||||")


def outcomes_figure(run_set: RunSet) -> list[RenderedFigure]:
    """What became of the samples."""
    drawn: list[RenderedFigure] = []
    with new_figure("outcomes", "What became of the samples, in percent", drawn) as axes:
        left = np.zeros(len(run_set.conditions))
        shades = (CONDITION_COLOURS[2], LINE, MUTED, CONDITION_COLOURS[3], CONDITION_COLOURS[1])
        for (outcome, verdicts), shade, hatch in zip(OUTCOMES.items(), shades, HATCHES, strict=True):
            width = np.array(
                [
                    100 * np.mean([np.isin(run.status_PN, verdicts) for run in condition.runs])
                    for condition in run_set.conditions
                ]
            )
            axes.barh(
                range(len(left)), width, left=left, color=shade, hatch=hatch, edgecolor=PAPER, label=outcome, height=0.6
            )
            left += width
        axes.set_yticks(range(len(left)), [shortened(condition.name) for condition in run_set.conditions])
        axes.invert_yaxis()
        axes.xaxis.set_major_formatter(PercentFormatter(decimals=0))
        axes.set(title="Outcomes", xlim=(0, 100))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3)
    return drawn
