"""The report that ends a run: where it lies, and what to look at."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from pipelines.errors import InputError
from pipelines.report.config import ReportConfig
from pipelines.report.early_stopped_runs import has_adaptive
from pipelines.report.page import write_report
from pipelines.runs.folder import RunFolder
from pipelines.statistics.pass_at_k import ks_up_to

LOOK_AT = "Look at pass@{k} with its interval and at the caveats first, then read samples: tokens that the sampler changed are marked."
"""What a reader of a first report should not miss."""
LOOK_AT_UNVERIFIED = (
    "Look at the diversity of the samples, then read some: the task has no verifier, so there is no pass@k."
)


def report_after_run(paths: Sequence[str | Path], output: str | Path, console: Console) -> Path | None:
    """Write the report of runs that have just ended, and say where it is and what to look at; its page. A run that can have none says why,
    and gives None."""
    folders = [RunFolder(path) for path in paths]
    if has_adaptive(folders):
        return None  # their table is the report: jobs.report has no page for problems that stopped early
    names = " ".join(map(str, paths))
    if isinstance(output, str) and "://" in output:
        console.print(f"report: python -m jobs.report {names} --output report", highlight=False, soft_wrap=True)
        return None
    try:
        conclusions = write_report(folders, Path(output), ReportConfig())
    except InputError as error:
        # Such as a partition, whose problems are complete only when it is merged with the others. The run itself is done.
        console.print(f"no report: {error}", highlight=False, markup=False, soft_wrap=True)
        return None
    config = folders[0].manifest().config
    look_at = LOOK_AT_UNVERIFIED if config.verifier_name == "none" else LOOK_AT.format(k=ks_up_to(config.largest_k)[-1])
    console.print(conclusions, highlight=False, markup=False, soft_wrap=True)
    page = Path(output) / "report.html"
    console.print(f"report: {page}. {look_at}", highlight=False, markup=False, soft_wrap=True)
    return page
