"""Samplers side by side: the same prompts, token budget and seeds, one run after the other, then one report.

    python -m jobs.compare --run.limit 100 --run.samples 16
    python -m jobs.compare --samplers vanilla esamp --seeds 0 1 2 --run.model Qwen/Qwen2.5-7B-Instruct --run.dataset HuggingFaceH4/MATH-500
    python -m jobs.compare --samplers vanilla "vanilla, temperature=0.8" "esamp, distiller=rls"

A sampler may bring settings of its own: those of its section, such as --run.esamp.distiller, and temperature, top-p, top-k and min-p.
Several seeds give every sampler replicates, and the report the error between runs. A comparison that was stopped goes on with the same
command; `python -m jobs.report` builds the report again without generating.
"""

import sys
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from jobs.command.exit_codes import one_line_errors
from pipelines.config.renamed import check_options
from pipelines.config.run import RunConfig
from pipelines.config.sampler_condition import SamplerCondition
from pipelines.errors import InputError
from pipelines.logs.lines import LogFormat
from pipelines.report.config import ReportConfig

if TYPE_CHECKING:
    from pipelines.prepare.defaults import RunDefaults


SHARED = RunConfig(sampler="vanilla")
"""Defaults of what all runs share. --samplers replaces its sampler; with vanilla every other setting is possible."""


@dataclass(frozen=True, kw_only=True)
class CompareCommand:
    """The command line of this job."""

    samplers: tuple[str, ...] = ("vanilla", "esamp")
    """Samplers to compare, each alone or with settings, such as "esamp, distiller=rls"; the first vanilla one, or else the first, is the
    baseline."""
    seeds: tuple[int, ...] = (0,)
    """Seeds; every sampler is run with each."""
    output: Path = Path("runs/compare")
    """Folder of the run folders, <sampler>-<seed> or <sampler>-<settings>-<seed>, and of report/."""
    log_to: tuple[Literal["wandb", "mlflow", "tensorboard"], ...] = ()
    """Send curves and results of each run to these too, and the report; each needs the extra of its name. One that fails is left out."""
    log_format: LogFormat = "text"
    """json: each line of the log is an object with time, level, run, source (driver or actor) and message."""
    run: RunConfig = SHARED
    """What all runs share."""
    report: Annotated[ReportConfig, tyro.conf.arg(name="")] = field(default_factory=ReportConfig)
    """What the report looks at."""


def comparison_runs(command: CompareCommand) -> list[RunConfig]:
    """The runs: the same but for sampler, its settings, seed and folder. Raises InputError for what cannot be compared."""
    for name, values in (("samplers", command.samplers), ("seeds", command.seeds)):
        if not values or len(set(values)) < len(values):
            raise InputError(f"{name} must be one or more, each once; got {list(values)}.")
    shared, default = command.run, SHARED
    if (shared.sampler, shared.seed, shared.output) != (default.sampler, default.seed, default.output):
        raise InputError(
            "--run.sampler, --run.seed and --run.output differ between the runs of a comparison; "
            "give --samplers, --seeds and --output instead."
        )
    conditions = {phrase: SamplerCondition.parse(phrase) for phrase in command.samplers}
    configs = {phrase: condition.applied_to(shared) for phrase, condition in conditions.items()}
    for first, second in combinations(command.samplers, 2):
        if configs[first] == configs[second] or conditions[first].folder_name == conditions[second].folder_name:
            raise InputError(f"samplers must differ; {first!r} and {second!r} are the same.")
    return [
        # The report's first run is its baseline: seeds in the inner loop keep the samplers' order.
        replace(configs[phrase], seed=seed, output=command.output / f"{conditions[phrase].folder_name}-{seed}")
        for phrase in command.samplers
        for seed in command.seeds
    ]


def main(args: list[str]) -> None:
    """Parse, run all, report."""
    with one_line_errors(args):
        check_options(args)
        command, defaults = parse_with_defaults(args)
        runs = comparison_runs(command)
        # Imported late: Ray and torch take seconds that --help and a mistyped flag need not wait for.
        from pipelines.loggers.results import log_report
        from pipelines.logs.console import run_console
        from pipelines.passk import run_side_by_side
        from pipelines.report.early_stopped_runs import print_adaptive
        from pipelines.report.page import write_report
        from pipelines.runs.folder import RunFolder

        console = run_console()
        console.print(defaults.line(command.run), highlight=False, markup=False, soft_wrap=True)
        run_side_by_side(runs, console=console, log_to=command.log_to)
        folders = [RunFolder(config.run_folder) for config in runs]
        if command.run.stopping_rule is not None:
            print_adaptive(folders, console)
            return
        console.print(write_report(folders, command.output / "report", command.report), highlight=False, markup=False)
        page = command.output / "report" / "report.html"
        console.print(f"report: {page}", highlight=False, soft_wrap=True)
        if command.log_to:
            log_report(command.log_to, folders, page)


def parse_with_defaults(args: list[str]) -> tuple[CompareCommand, "RunDefaults"]:
    """The command, over the defaults of its task, its model and this machine; a comparison that goes on has those of its first run."""
    parse = partial(tyro.cli, CompareCommand, prog="python -m jobs.compare", description=__doc__, args=args)
    # Imported late: transformers takes seconds that --help and a mistyped flag need not wait for.
    from pipelines.prepare.defaults import run_defaults

    command = parse()
    runs = comparison_runs(command)
    # Of a folder that holds no run where every sampler has a temperature or filters of its own, which the others must not take over.
    shared = [
        run
        for phrase, run in zip(command.samplers, runs[:: len(command.seeds)], strict=True)
        if not SamplerCondition.parse(phrase).changes_sampling
    ]
    defaults = run_defaults(shared[0] if shared else replace(runs[0], output=command.output))
    return parse(default=CompareCommand(run=defaults.apply(SHARED))), defaults


if __name__ == "__main__":
    main(sys.argv[1:])
