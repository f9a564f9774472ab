"""The demo: vanilla sampling, joint draws (quasi) and Exploratory Sampling on the same problems of the embedded task, side by side.

python -m jobs.demo
python -m jobs.demo --problems 100 --samples 64 --output runs/large-demo
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from actors.config import EngineConfig, SamplingConfig
from esamp.config import ESampConfig
from jobs.command.exit_codes import one_line_errors
from pipelines.config.run import RunConfig


@dataclass(frozen=True, kw_only=True)
class DemoCommand:
    """The command line of this job."""

    problems: int = 64
    """Countdown problems."""
    samples: int = 16
    """Samples per problem and sampler."""
    output: Path = Path("runs/demo")
    """Folder of the run folders."""
    seed: int = 0
    """Seed of all runs."""
    report: bool = True
    """Write report/report.html into the output folder at the end."""
    engine: EngineConfig = field(
        default_factory=lambda: EngineConfig(dtype="float32", kv_cache_gib=0.25, enforce_eager=True)
    )
    """The engine of all runs."""
    sampling: SamplingConfig = field(default_factory=lambda: SamplingConfig(max_tokens=48))
    """How a sample is drawn, in all runs."""
    esamp: ESampConfig = field(default_factory=lambda: ESampConfig(trainer="actor", learning_rate=3e-3))
    """Exploratory Sampling, in the last run. Answers have some 20 tokens, so a Distiller takes some 20 steps: at the paper's learning
    rate of 4e-4 it would hardly begin to learn."""


def demo_runs(command: DemoCommand) -> list[RunConfig]:
    """The runs: the same but for the sampler."""
    return [
        RunConfig(
            limit=command.problems,
            samples=command.samples,
            sampler=sampler,
            output=command.output / sampler,
            seed=command.seed,
            engine=command.engine,
            sampling=command.sampling,
            esamp=command.esamp,
        )
        for sampler in ("vanilla", "quasi", "esamp")
    ]


def main(args: list[str]) -> None:
    """Parse, run all, print one table."""
    with one_line_errors():
        command = tyro.cli(DemoCommand, prog="python -m jobs.demo", description=__doc__, args=args)
        runs = demo_runs(command)
        # Imported late: Ray and torch take seconds that --help and a mistyped flag need not wait for.
        from pipelines.logs.console import run_console
        from pipelines.passk import run_side_by_side
        from pipelines.runs.summary import summary_table

        console = run_console()
        summaries = run_side_by_side(runs, console=console)
        console.print(summary_table(summaries))
        for summary in summaries:
            console.print(f"run folder: {summary.run_folder}", highlight=False, soft_wrap=True)
        if command.report:
            from pipelines.report.after_run import report_after_run

            report_after_run([summary.run_folder for summary in summaries], command.output / "report", console)


if __name__ == "__main__":
    main(sys.argv[1:])
