"""Samples as rollouts for reinforcement learning, in Parquet: from a finished Pass@k run, or drawn first.

python -m jobs.rollouts runs/countdown-esamp-0 --output rollouts.parquet
python -m jobs.rollouts --output rollouts.parquet --run.model Qwen/Qwen2.5-7B-Instruct --run.dataset train.jsonl
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from jobs.exit_codes import one_line_errors
from jobs.passk import values_of
from pipelines.config.renamed import check_options
from pipelines.config.run import RunConfig
from pipelines.deploy.retries import bad_input_ends_retries
from pipelines.errors import InputError


@dataclass(frozen=True, kw_only=True)
class RolloutsCommand:
    """The command line of this job."""

    run_folder: tyro.conf.Positional[str | None] = None
    """Folder or URL of a Pass@k run; without it the run that --run.* describes is made first."""
    output: Path
    """Parquet file to write."""
    run: RunConfig = field(default_factory=RunConfig)
    """The run to make first, as in jobs.passk."""


def main(args: list[str]) -> None:
    """Parse, run where asked for, write."""
    with one_line_errors(), bad_input_ends_retries(run_folder_of(args), args):
        check_options(args)
        command = tyro.cli(RolloutsCommand, prog="python -m jobs.rollouts", description=__doc__, args=args)
        if command.run_folder is not None and command.run != RunConfig():
            raise InputError(f"give either a run folder or --run.* settings; got {command.run_folder} and settings.")
        # Imported late: Ray and torch take seconds that --help and a mistyped flag need not wait for.
        from pipelines.passk import run_passk
        from pipelines.rollouts.export import write_rollouts
        from pipelines.runs.folder import RunFolder
        from pipelines.stages.progress import run_console

        console = run_console()
        if command.run_folder is None:
            run_passk(command.run, console=console)
        count = write_rollouts(RunFolder(command.run_folder or command.run.run_folder), command.output)
        console.print(f"{count} rollouts: {command.output}", highlight=False, soft_wrap=True)


def run_folder_of(args: list[str]) -> str | None:
    """What --run.output says, before the command line is parsed; None if it says nothing."""
    return next(iter(values_of("--run.output", args)[-1:]), None)


if __name__ == "__main__":
    main(sys.argv[1:])
