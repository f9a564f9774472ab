"""What does the pipeline cost over its engine? Tokens per second of jobs.passk with one shard and with two, and of a bare vLLM loop.

    python -m jobs.devtools.bench_pipeline
    python -m jobs.devtools.bench_pipeline --passk.model random --passk.sampler esamp --passk.problems 64 --passk.max-tokens 96

Writes pipeline.json to --output.
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
    """Folder of pipeline.json."""


def main(args: list[str]) -> None:
    """Measure the pipeline against its engine, print and write."""
    with one_line_errors():
        command = tyro.cli(
            BenchPipelineCommand, prog="python -m jobs.devtools.bench_pipeline", description=__doc__, args=args
        )
        # Imported late: they bring Ray along.
        from rich.console import Console

        from pipelines.devtools.bench.pipeline import pipeline_table, run_pipeline_bench, write_timings

        console = Console()
        with TemporaryDirectory() as folder:
            timings = run_pipeline_bench(
                command.passk, Path(folder), log=lambda line: console.print(line, style="dim", highlight=False)
            )
        path = command.output / "pipeline.json"
        write_timings(path, command.passk, timings, command=" ".join(["python -m jobs.devtools.bench_pipeline", *args]))
        console.print(pipeline_table(command.passk, timings))
        console.print(f"written: {path}", highlight=False)


if __name__ == "__main__":
    main(sys.argv[1:])
