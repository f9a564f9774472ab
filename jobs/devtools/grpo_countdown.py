"""Train the embedded model by GRPO with TRL, from samples of each sampler, and compare what it then solves. CPU, minutes.

    pip install --no-deps trl==1.16.0 accelerate==1.15.0
    python -m jobs.devtools.grpo_countdown --seeds 0 1 2

Trainings whose result stands in --output are not repeated. Results are printed, and drawn in curves.svg.
"""

import sys

import tyro

from jobs.command.exit_codes import one_line_errors
from pipelines.devtools.grpo.config import GrpoConfig


def main(args: list[str]) -> None:
    """Parse, train, compare."""
    with one_line_errors():
        config = tyro.cli(GrpoConfig, prog="python -m jobs.devtools.grpo_countdown", description=__doc__, args=args)
        # Imported late: vLLM and matplotlib take seconds that --help and a mistyped flag need not wait for.
        from pipelines.devtools.grpo.curves import curves_of, figure, table
        from pipelines.devtools.grpo.training import trainings

        curves = curves_of(trainings(config))
        print("\n".join(table(curves)))
        figure(curves).savefig(config.output / "curves.svg", metadata={"Date": None})


if __name__ == "__main__":
    main(sys.argv[1:])
