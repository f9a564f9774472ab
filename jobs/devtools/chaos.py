"""Kill processes of one evaluation at random, let it finish, and compare its samples with the plan. CPU, some minutes.

python -m jobs.devtools.chaos
python -m jobs.devtools.chaos --kills 60 --seed 1 --output runs/chaos-1
"""

import sys

import tyro

from jobs.command.exit_codes import one_line_errors


def main(args: list[str]) -> None:
    """Parse, disturb, report; exit code 1 if the samples are not exactly those of the plan."""
    with one_line_errors():
        # Ray's cluster of several nodes on one machine is imported with the config.
        from pipelines.devtools.chaos import ChaosConfig, run_chaos
        from pipelines.errors import InputError, RunError
        from pipelines.logs.console import run_console

        config = tyro.cli(ChaosConfig, prog="python -m jobs.devtools.chaos", description=__doc__, args=args)
        if config.output.exists():
            raise InputError(
                f"output folder {config.output} exists; chaos needs one of its own. Give another --output."
            )
        console = run_console()
        report = run_chaos(config, console)
        for line in report.lines():
            console.print(line, highlight=False, soft_wrap=True)
        if not report.is_exact:
            raise RunError(f"the samples in {config.output} are not those of the plan")


if __name__ == "__main__":
    main(sys.argv[1:])
