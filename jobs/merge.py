"""Joins folders of one run that was made in several places, each with its --partition, into one.

    python -m jobs.merge runs/math500 siteA/math500 siteB/math500

The first folder is written, the others are only read. They must be the same run (jobs.passk with the same settings, but for where it
ran). A sample that two of them hold is taken once if its tokens are the same, and refused otherwise.
"""

import sys
from dataclasses import dataclass

import tyro

from jobs.command.exit_codes import one_line_errors


@dataclass(frozen=True, kw_only=True)
class MergeCommand:
    """The command line of this job."""

    output: tyro.conf.Positional[str]
    """Folder to write, or its URL."""
    runs: tyro.conf.Positional[tuple[str, ...]]
    """Folders to join."""


def main(args: list[str]) -> None:
    """Parse, join, say what was taken, summarise."""
    with one_line_errors():
        command = tyro.cli(MergeCommand, prog="python -m jobs.merge", description=__doc__, args=args)
        # Imported late: Parquet takes a moment that --help and a mistyped flag need not wait for.
        from pipelines.logs.console import run_console
        from pipelines.runs.folder import RunFolder
        from pipelines.runs.merge import merge_runs
        from pipelines.runs.summary import summarise, summary_table

        console = run_console()
        output = RunFolder(command.output)
        for source in merge_runs(output, [RunFolder(run) for run in command.runs]):
            console.print(
                f"{source.path}: {source.taken} of {source.answers} samples taken"
                + (f", {source.answers - source.taken} are there already" if source.taken < source.answers else "")
                + (f"; {source.under_way} of work units under way came along in live/" if source.under_way else ""),
                highlight=False,
                soft_wrap=True,
            )
        console.print(summary_table([summarise(output, pass_at=output.manifest().config.pass_at)]))
        console.print(f"run folder: {command.output}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main(sys.argv[1:])
