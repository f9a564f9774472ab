"""Pass@k of a model on a task or a dataset, with vanilla or Exploratory Sampling.

    python -m jobs.passk --model Qwen/Qwen2.5-7B-Instruct --task math500 --samples 64 --sampler esamp
    python -m jobs.passk --model Qwen/Qwen2.5-7B-Instruct --dataset problems.jsonl --samples 64
    python -m jobs.passk --config run.yaml --dry-run

A run that was stopped goes on with the same command.
"""

import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import tyro

from jobs.exit_codes import one_line_errors
from pipelines.config import RunConfig
from pipelines.config_file import flags_from_yaml


@dataclass(frozen=True, kw_only=True)
class PasskCommand:
    """The command line of this job."""

    config: Path | None = None
    """YAML file with settings, named as the flags are (engine: {num_gpus: 1}); flags win over it."""
    dry_run: bool = False
    """Print the resolved config, the first prompt and an estimate of tokens and time; start nothing, write nothing."""
    run: Annotated[RunConfig, tyro.conf.arg(name="")]
    """The run."""


def main(args: list[str]) -> None:
    """Parse, run, report."""
    with one_line_errors():
        command = parse(args)
        # Imported late: Ray and torch take seconds that --help and a mistyped flag need not wait for.
        from pipelines.dry_run import dry_run
        from pipelines.passk import run_passk
        from pipelines.progress import run_console
        from pipelines.summary import summary_table

        console = run_console()
        if command.dry_run:
            dry_run(command.run, console)
            return
        summary = run_passk(command.run, console=console)
        console.print(summary_table([summary]))
        console.print(f"run folder: {summary.run_folder}", highlight=False, soft_wrap=True)


def parse(args: list[str]) -> PasskCommand:
    """The command, with the settings of --config underneath."""
    files = [Path(value) for flag, value in pairwise(args) if flag == "--config"]
    files += [Path(arg.partition("=")[2]) for arg in args if arg.startswith("--config=")]
    flags = [flag for path in files for flag in flags_from_yaml(path)]
    return tyro.cli(PasskCommand, prog="python -m jobs.passk", description=__doc__, args=[*flags, *args])


if __name__ == "__main__":
    main(sys.argv[1:])
