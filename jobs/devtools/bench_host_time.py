"""What does the host do per step? Steps/s of a shard relative to stock vLLM's engine, on a model so small that little else is left.

    OMP_NUM_THREADS=1 python -m jobs.devtools.bench_host_time
    OMP_NUM_THREADS=1 python -m jobs.devtools.bench_host_time --shape.rounds 3

Also tells how far stock vLLM's default is ahead, whose engine core runs in a process of its own. Writes host_time.json to --output.
"""

import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import tyro

from jobs.command.exit_codes import one_line_errors
from pipelines.devtools.bench.host_time_shape import HostTimeShape


@dataclass(frozen=True, kw_only=True)
class BenchHostTimeCommand:
    """The command line of this job."""

    shape: HostTimeShape = field(default_factory=HostTimeShape)
    """What is run."""
    output: Path = Path("runs/bench")
    """Folder of host_time.json and host_time.md."""


def main(args: list[str]) -> None:
    """Measure every mode, print and write."""
    with one_line_errors():
        command = tyro.cli(
            BenchHostTimeCommand, prog="python -m jobs.devtools.bench_host_time", description=__doc__, args=args
        )
        # Imported late: torch and vLLM take seconds that --help need not wait for.
        from rich.console import Console

        from pipelines.devtools.bench.host_time import host_time_table, run_host_time
        from pipelines.devtools.bench.results import caption, write_results

        console = Console()
        times = run_host_time(command.shape, log=lambda line: console.print(line, style="dim", highlight=False))
        table = host_time_table(times, command.shape, caption("jobs.devtools.bench_host_time", args))
        console.print(table)
        measured = {"shape": asdict(command.shape), "modes": [asdict(one) for one in times]}
        written = write_results(command.output, "host_time", table, measured)
        console.print(f"written: {written}", highlight=False)


if __name__ == "__main__":
    main(sys.argv[1:])
