"""report.html of graded replies: pass@k, verdicts by name, every problem, and replies to read. One file that opens offline.

It looks and filters as the report of a run does: page.css and page.js are that one's.
"""

from collections.abc import Mapping, Sequence

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipelines.grading.completions import BadRow
from pipelines.grading.config import GradeConfig
from pipelines.grading.pass_at_k_figure import pass_at_k_figure
from pipelines.grading.readable_replies import MAX_CHARACTERS, ReadableProblem
from pipelines.grading.summary import GradeSummary
from pipelines.report import number_format
from pipelines.runs.provenance import now

MAX_BAD_ROWS = 200
"""Rows that could not be scored, told one by one."""


def report_html(
    summary: GradeSummary,
    problems: Sequence[ReadableProblem],
    bad: Sequence[BadRow],
    config: GradeConfig,
    settings: Mapping[str, object],
) -> bytes:
    """The page. Everything put into it is escaped: replies are whatever a model wrote.

    `settings`: what verdicts depend on besides the replies, for the last section.
    """
    figure = pass_at_k_figure(summary.pass_at)
    html = (
        template_environment()
        .get_template("report.html.j2")
        .render(
            summary=summary,
            problems=problems,
            num_shown=sum(len(problem.shown) for problem in problems),
            max_characters=MAX_CHARACTERS,
            bad=bad[:MAX_BAD_ROWS],
            num_more_bad=max(0, len(bad) - MAX_BAD_ROWS),
            figure=figure,
            svg=Markup(figure.svg) if figure else "",  # safe: drawn from numbers alone
            source=config.task or config.dataset,
            completions=config.completions,
            settings=settings,
            made=now(),
        )
    )
    # A reply from JSON may hold half of a surrogate pair, which has no UTF-8.
    return html.encode(errors="backslashreplace")


def template_environment() -> Environment:
    """Templates of this package, and the style and script of the run report."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("pipelines.grading", "."), PackageLoader("pipelines.report", ".")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number_format.number, "ends": number_format.ends}
    return environment
