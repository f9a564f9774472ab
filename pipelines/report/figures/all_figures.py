"""Every figure of the report, in the order of the page. To add one: a file beside this one, and a line here."""

from pipelines.report.figures.differences import differences_figure
from pipelines.report.figures.diversity import diversity_figure
from pipelines.report.figures.outcomes import outcomes_figure
from pipelines.report.figures.pass_at_k import pass_at_k_figure
from pipelines.report.figures.staleness import staleness_figure
from pipelines.report.figures.style import RenderedFigure
from pipelines.report.figures.token_curves import loss_figure, novelty_figure
from pipelines.report.measures.comparison import ConditionComparison
from pipelines.report.measures.measure import Measure
from pipelines.report.run_set import RunSet


def draw_figures(
    run_set: RunSet, measures: list[Measure], diversity: list[Measure], comparisons: list[ConditionComparison]
) -> list[RenderedFigure]:
    """Every figure for which there is data; a figure's function returns None where there is none."""
    figures = [
        pass_at_k_figure(run_set, measures),
        differences_figure(run_set, comparisons),
        diversity_figure(run_set, diversity),
        loss_figure(run_set),
        novelty_figure(run_set),
        staleness_figure(run_set),
        outcomes_figure(run_set),
    ]
    return [figure for figure in figures if figure is not None]
