"""Pass@k of a model on a task or a dataset, with vanilla or Exploratory Sampling.

    python -m jobs.passk --model Qwen/Qwen2.5-7B-Instruct --task math500 --samples 64 --sampler esamp
    python -m jobs.passk --model Qwen/Qwen2.5-7B-Instruct --dataset problems.jsonl --samples 64
    python -m jobs.passk --config run.yaml --dry-run

A run that was stopped goes on with the same command. A run gets more samples with --extend, which takes its other settings from there:

    python -m jobs.passk --output runs/math500-quasi-0 --extend 128
"""

import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from jobs.command.early_values import values_of
from jobs.command.exit_codes import one_line_errors
from pipelines.config.renamed import check_options
from pipelines.config.run import RunConfig
from pipelines.config.yaml_flags import flags_from_yaml
from pipelines.deploy.retries import bad_input_ends_retries
from pipelines.logs.lines import LogFormat, use_log_format

if TYPE_CHECKING:
    from pipelines.prepare.defaults import RunDefaults


@dataclass(frozen=True, kw_only=True)
class PasskCommand:
    """The command line of this job."""

    config: Path | None = None
    """YAML file with settings, named as the flags are (engine: {num_gpus: 1}); flags win over it."""
    dry_run: bool = False
    """Print the resolved config, the first prompt and an estimate of tokens and time; start nothing, write nothing."""
    report: bool = True
    """Write report/report.html into the run folder at the end."""
    extend: int | None = None
    """Give the run that is in --output so many samples per problem. Those it has stay; the new ones are a group of their own, and settings
    that are not given are the run's."""
    log_to: tuple[Literal["wandb", "mlflow", "tensorboard"], ...] = ()
    """Send curves and results to these too, beside the run folder; each needs the extra of its name. One that fails is left out."""
    log_format: LogFormat = "text"
    """json: each line of the log is an object with time, level, run, source (driver or actor) and message."""
    run: Annotated[RunConfig, tyro.conf.arg(name="")]
    """The run."""


def main(args: list[str]) -> None:
    """Parse, run, report."""
    with one_line_errors(args), bad_input_ends_retries(run_folder_of(args), args):
        command, defaults = parse_with_defaults(args)
        use_log_format(command.log_format)  # --config may say it too
        # Imported late: Ray and torch take seconds that --help and a mistyped flag need not wait for.
        from pipelines.capacity.exchange import exchange_warning
        from pipelines.loggers.results import log_report
        from pipelines.logs.console import run_console
        from pipelines.passk import run_passk
        from pipelines.prepare.dry_run import dry_run
        from pipelines.runs.folder import RunFolder
        from pipelines.runs.summary import summary_table

        console = run_console()
        if defaults is not None:
            console.print(defaults.line(command.run), highlight=False, markup=False, soft_wrap=True)
        if (warning := exchange_warning(command.run)) is not None:
            console.print(f"warning: {warning}", style="yellow", highlight=False, soft_wrap=True)
        if command.dry_run:
            dry_run(command.run, console, extend=command.extend)
            return
        summary = run_passk(command.run, extend=command.extend, console=console, log_to=command.log_to)
        console.print(summary_table([summary]))
        console.print(f"run folder: {summary.run_folder}", highlight=False, soft_wrap=True)
        if command.report:
            from pipelines.report.after_run import report_after_run

            page = report_after_run([summary.run_folder], f"{summary.run_folder}/report", console)
            if page is not None and command.log_to:
                log_report(command.log_to, [RunFolder(summary.run_folder)], page)


def parse(args: list[str]) -> PasskCommand:
    """The command; see `parse_with_defaults`."""
    return parse_with_defaults(args)[0]


def parse_with_defaults(args: list[str]) -> tuple[PasskCommand, "RunDefaults | None"]:
    """The command, with the settings of --config underneath, and under both those of the run that is there with --extend, else the
    defaults of the task, the model and this machine."""
    args = with_config_file(args)
    parse_command = partial(tyro.cli, PasskCommand, prog="python -m jobs.passk", description=__doc__, args=args)
    if (extend := values_of("--extend", args)) and (output := values_of("--output", args)):
        return parse_command(default=PasskCommand(run=stored_config(output[-1], samples=extend[-1]))), None
    command = parse_command()
    # Imported late: transformers takes seconds that --help and a mistyped flag need not wait for.
    from pipelines.prepare.defaults import run_defaults

    command.run.check_sampler_settings()
    defaults = run_defaults(command.run)
    return parse_command(default=PasskCommand(run=defaults.apply(RunConfig()))), defaults


def parse_given(args: list[str]) -> PasskCommand:
    """The command with the settings that are given, over RunConfig's own: another machine, which makes the run, knows the others."""
    return tyro.cli(PasskCommand, prog="python -m jobs.passk", description=__doc__, args=with_config_file(args))


def with_config_file(args: list[str]) -> list[str]:
    """The command line with the settings of --config before it. Raises InputError at an option in its old spelling."""
    check_options(args)
    return [*(flag for path in values_of("--config", args) for flag in flags_from_yaml(Path(path))), *args]


def run_folder_of(args: list[str]) -> str | None:
    """What --output says, before the command line is parsed; None if it says nothing."""
    return next(iter(values_of("--output", args)[-1:]), None)


def stored_config(folder: str, *, samples: str) -> RunConfig:
    """The config of the run in a folder, with so many samples. Raises InputError if there is no run."""
    # Imported late: Parquet takes a moment that other commands need not wait for.
    from pipelines.runs.folder import RunFolder

    config = RunFolder(folder).manifest().config
    return replace(config, samples=int(samples)) if samples.isdecimal() else config


if __name__ == "__main__":
    main(sys.argv[1:])
