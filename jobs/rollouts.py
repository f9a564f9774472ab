"""Samples as rollouts for reinforcement learning and fine-tuning, in the files that trainers load: from a finished Pass@k run, or generated
first.

    python -m jobs.rollouts runs/countdown-esamp-0 --output rollouts.parquet
    python -m jobs.rollouts runs/countdown-esamp-0 --format pairs --output pairs.parquet --filter.deduplicate
    python -m jobs.rollouts --output rollouts.parquet --run.model Qwen/Qwen2.5-7B-Instruct --run.dataset train.jsonl
    python -m jobs.rollouts --output rollouts/ --stream --groups-per-step 8 --run.model Qwen/Qwen2.5-7B-Instruct --run.task gsm8k

docs/rollouts.md says what each format holds. How a trainer is given the file OUT, by format:
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from jobs.command.early_values import values_of
from jobs.command.exit_codes import one_line_errors
from pipelines.config.renamed import check_options
from pipelines.config.run import RunConfig
from pipelines.deploy.retries import bad_input_ends_retries
from pipelines.errors import InputError
from pipelines.logs.lines import LogFormat
from pipelines.rollouts.config import ExportConfig
from pipelines.rollouts.formats.registry import trainer_commands

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.prepare.defaults import RunDefaults


@dataclass(frozen=True, kw_only=True)
class RolloutsCommand:
    """The command line of this job."""

    run_folder: tyro.conf.Positional[str | None] = None
    """Folder or URL of a Pass@k run; without it the run that --run.* describes is made first."""
    output: Path
    """File to write; a folder for slime, prime-rl and verl."""
    stream: bool = False
    """Write the groups of the run that is made as soon as they finish: the output is a folder of files of --groups-per-step groups, each
    group in it as a whole. Canonical format only."""
    log_format: LogFormat = "text"
    """json: each line of the log is an object with time, level, run, source (driver or actor) and message."""
    export: Annotated[ExportConfig, tyro.conf.arg(name="")] = field(default_factory=ExportConfig)
    """What is exported."""
    run: RunConfig = field(default_factory=RunConfig)
    """The run to make first, as in jobs.passk."""


def main(args: list[str]) -> None:
    """Parse, run where asked for, write, say what was written."""
    with one_line_errors(args), bad_input_ends_retries(run_folder_of(args), args):
        command, defaults = parse_with_defaults(args)
        # Imported late: Ray and torch take seconds that --help and a mistyped flag need not wait for.
        from pipelines.logs.console import run_console
        from pipelines.rollouts.export import export_rollouts
        from pipelines.runs.folder import RunFolder

        console = run_console()
        lines: Iterable[str] = ()
        if defaults is not None:
            lines = make_run(command, defaults, console)
        if not command.stream:
            lines = export_rollouts(
                RunFolder(command.run_folder or command.run.run_folder), command.output, command.export
            ).lines()
        for line in (f"{command.export.format}: {command.output}", *lines):
            console.print(line, highlight=False, markup=False, soft_wrap=True)


def make_run(command: RolloutsCommand, defaults: "RunDefaults", console: "Console") -> Iterable[str]:
    """Generate the samples, with all that trainers need of them stored. Returns what was streamed, in words."""
    from pipelines.passk import run_passk
    from pipelines.rollouts.stream import streaming

    console.print(defaults.line(command.run), highlight=False, markup=False, soft_wrap=True)
    run = replace(command.run, record_rollouts=True)
    if not command.stream:
        run_passk(run, console=console)
        return ()
    # A file of samples for each work unit: groups are found by their files.
    run = replace(run, work_units_per_file=run.work_units_per_file or 1)
    with streaming(run.run_folder, command.output, command.export) as streamed:
        run_passk(run, console=console)
    return streamed.lines()


def parse_with_defaults(args: list[str]) -> tuple[RolloutsCommand, "RunDefaults | None"]:
    """The command; a run that is to be made has the defaults of its task, its model and this machine underneath."""
    check_options(args)
    description = f"{__doc__}\n{trainer_commands()}"
    parse = partial(tyro.cli, RolloutsCommand, prog="python -m jobs.rollouts", description=description, args=args)
    command: RolloutsCommand = parse()
    if command.run_folder is not None:
        if command.run != RunConfig():
            raise InputError(f"give either a run folder or --run.* settings; got {command.run_folder} and settings.")
        if command.stream:
            raise InputError("--stream is for a run that is made here; leave it out, or leave out the run folder.")
        return command, None
    # Imported late: transformers takes seconds that --help and a mistyped flag need not wait for.
    from pipelines.prepare.defaults import rollout_defaults

    if command.stream and command.run.stopping_rule is not None:
        raise InputError(
            "--stream writes groups all of whose samples were generated, which is not so where problems --run.stop early; leave one of the "
            "two out."
        )
    command.run.check_sampler_settings()
    defaults = rollout_defaults(command.run)
    return parse(default=RolloutsCommand(output=command.output, run=defaults.apply(RunConfig()))), defaults


def run_folder_of(args: list[str]) -> str | None:
    """What --run.output says, before the command line is parsed; None if it says nothing."""
    return next(iter(values_of("--run.output", args)[-1:]), None)


if __name__ == "__main__":
    main(sys.argv[1:])
