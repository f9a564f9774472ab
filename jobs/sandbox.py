"""The code sandbox on this machine: which isolation backends hold, tested by attacks.

python -m jobs.sandbox
python -m jobs.sandbox --soak 1000
"""

import sys
from dataclasses import dataclass

import tyro
from rich.console import Console

from jobs.command.exit_codes import one_line_errors
from pipelines.errors import RunError
from pipelines.sandbox.choice import choose_sandbox
from pipelines.sandbox.limits import Limits
from pipelines.sandbox.report import backend_table, soak_lines
from pipelines.sandbox.soak import soak


@dataclass(frozen=True, kw_only=True)
class SandboxCommand:
    """The command line of this job."""

    soak: int = 0
    """Then run this many attacks mixed with as many honest samples, and look for what they leave behind."""
    workers: int = 2
    """Samples at once while soaking."""
    allow_unsafe_execution: bool = False
    """Accept no sandbox at all where none works."""


def main(args: list[str]) -> None:
    """Try every backend, print the tables, and say which one code would get."""
    with one_line_errors():
        command = tyro.cli(SandboxCommand, prog="python -m jobs.sandbox", description=__doc__, args=args)
        console = Console()
        console.print(backend_table())
        sandbox = choose_sandbox(Limits(), allow_unsafe_execution=command.allow_unsafe_execution)
        console.print(f"isolation backend: {sandbox.backend.name}", highlight=False)
        if command.soak:
            result = soak(sandbox, command.soak, workers=command.workers)
            console.print(soak_lines(result), highlight=False)
            if not result.is_clean:
                raise RunError(
                    "the soak found a wrong verdict or something left behind: do not trust this sandbox on this machine."
                )


if __name__ == "__main__":
    main(sys.argv[1:])
