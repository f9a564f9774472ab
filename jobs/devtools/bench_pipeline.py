"""What does the pipeline cost over its engine? Tokens per second of jobs.passk with one shard and with two, and of a bare vLLM loop.

    python -m jobs.devtools.bench_pipeline
    python -m jobs.devtools.bench_pipeline --passk.model random --passk.sampler esamp --passk.problems 64 --passk.max-tokens 96

    python -m jobs.devtools.bench_pipeline --passk.model FOLDER --passk.problems 8 --passk.warmup-problems 2 --passk.max-tokens 64

Prints the table and writes it to pipeline.md in --output, and every round to pipeline.json.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import tyro

from jobs.command.exit_codes import one_line_errors
from pipelines.devtools.bench.shape import PipelineShape


@dataclass(frozen=True, kw_only=True)
class BenchPipelineCommand:
    """The command line of this job."""

    passk: PipelineShape = field(default_factory=PipelineShape)
    """What is run."""
    output: Path = Path("runs/bench")
    """Folder of pipeline.json and pipeline.md."""


def main(args: list[str]) -> None:
    """Measure the pipeline against its engine, print and write."""
    with one_line_errors():
        command = tyro.cli(
            BenchPipelineCommand, prog="python -m jobs.devtools.bench_pipeline", description=__doc__, args=args
        )
        # Imported late: they bring Ray along.
        from rich.console import Console

        from pipelines.devtools.bench.pipeline import measured, pipeline_table, run_pipeline_bench
        from pipelines.devtools.bench.results import caption, write_results

        console = Console()
        with TemporaryDirectory() as folder:
            timings = run_pipeline_bench(
                command.passk, Path(folder), log=lambda line: console.print(line, style="dim", highlight=False)
            )
        table = pipeline_table(command.passk, timings, caption("jobs.devtools.bench_pipeline", args))
        console.print(table)
        written = write_results(command.output, "pipeline", table, measured(command.passk, timings))
        console.print(f"written: {written}", highlight=False)


if __name__ == "__main__":
    main(sys.argv[1:])
