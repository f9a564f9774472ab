"""How fast are the verifiers? Samples per second and verdicts of each, on small samples that ship with the project.

    python -m jobs.devtools.bench_verifiers
    python -m jobs.devtools.bench_verifiers --humaneval humaneval.jsonl --samples 32

Writes verifiers.json to --output.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from jobs.command.exit_codes import one_line_errors


@dataclass(frozen=True, kw_only=True)
class BenchVerifiersCommand:
    """The command line of this job."""

    humaneval: Path | None = None
    """A HumanEval file, whose references are verified as well."""
    samples: int = 32
    """With --humaneval: how often each reference is verified."""
    allow_unsafe_execution: bool = False
    """Measure code without a sandbox where none works."""
    output: Path = Path("runs/bench")
    """Folder of verifiers.json."""


def main(args: list[str]) -> None:
    """Measure every verifier, print and write."""
    with one_line_errors():
        command = tyro.cli(
            BenchVerifiersCommand, prog="python -m jobs.devtools.bench_verifiers", description=__doc__, args=args
        )
        # Imported late: the verifiers bring Ray along.
        from rich.console import Console

        from pipelines.devtools.bench.verifiers import measure_humaneval, measure_verifiers, speed_table, write_speeds

        speeds = list(measure_verifiers(allow_unsafe_execution=command.allow_unsafe_execution))
        if command.humaneval is not None:
            speeds.append(
                measure_humaneval(
                    command.humaneval,
                    samples=command.samples,
                    allow_unsafe_execution=command.allow_unsafe_execution,
                )
            )
        path = command.output / "verifiers.json"
        write_speeds(path, speeds, command=" ".join(["python -m jobs.devtools.bench_verifiers", *args]))
        console = Console()
        console.print(speed_table(speeds))
        console.print(f"written: {path}", highlight=False)


if __name__ == "__main__":
    main(sys.argv[1:])
