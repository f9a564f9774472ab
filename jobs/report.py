"""The report of finished runs: one HTML file that opens offline, with PNG and CSV beside it. Nothing is generated.

    python -m jobs.report runs/demo/vanilla runs/demo/esamp
    python -m jobs.report runs/math-* --diversity.embedding-model models/all-MiniLM-L6-v2

Runs of one sampler that differ in their seed are replicates; a vanilla run, or else the first, is what the others are compared with.
"""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from jobs.command.exit_codes import one_line_errors
from pipelines.errors import InputError
from pipelines.report.config import ReportConfig


@dataclass(frozen=True, kw_only=True)
class ReportCommand:
    """The command line of this job."""

    runs: tyro.conf.Positional[tuple[str, ...]]
    """Run folders, or their URLs."""
    output: Path | None = None
    """Folder to write to; by default report/ in the run, or in the folder that the runs share."""
    report: Annotated[ReportConfig, tyro.conf.arg(name="")] = field(default_factory=ReportConfig)
    """What the report looks at."""

    @property
    def report_folder(self) -> Path:
        """Where the report is written. Raises InputError if it has no default."""
        if self.output is None and any("://" in run for run in self.runs):
            raise InputError("a report of runs behind URLs needs a local --output folder.")
        return self.output or Path(os.path.commonpath(self.runs or (".",))) / "report"


def main(args: list[str]) -> None:
    """Parse, write the report, print its conclusions."""
    with one_line_errors():
        command = tyro.cli(ReportCommand, prog="python -m jobs.report", description=__doc__, args=args)
        # Imported late: plotting and Parquet take seconds that --help and a mistyped flag need not wait for.
        from rich.console import Console

        from pipelines.report.early_stopped_runs import has_adaptive, print_adaptive
        from pipelines.report.page import write_report
        from pipelines.runs.folder import RunFolder

        folders = [RunFolder(path) for path in command.runs]
        if has_adaptive(folders):
            print_adaptive(folders, Console())
            return
        conclusions = write_report(folders, command.report_folder, command.report)
        print(conclusions)
        print(f"report: {command.report_folder / 'report.html'}")


if __name__ == "__main__":
    main(sys.argv[1:])
