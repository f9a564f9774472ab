"""Train the embedded model again, from scratch.

    python -m jobs.devtools.train_countdown

Takes about half an hour on two free CPU cores. Ctrl-C saves, and the same command goes on from there. Every checkpoint replaces the
model in pipelines/countdown_model; --output puts it elsewhere.
"""

import tyro

from jobs.command.exit_codes import one_line_errors
from pipelines.devtools.countdown_training import CountdownTrainingConfig, train
from pipelines.logs.console import run_console


def main() -> None:
    """Parse, train, say where the model is."""
    with one_line_errors():
        config = tyro.cli(CountdownTrainingConfig, prog="python -m jobs.devtools.train_countdown", description=__doc__)
        trainer = train(config, run_console())
        print(f"{config.output}: {trainer.step} steps, {trainer.seconds / 60:.0f} minutes")


if __name__ == "__main__":
    main()
