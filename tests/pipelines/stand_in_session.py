"""One session of a run on stand-in shards, in a process of its own that a test may stop.

python -m tests.pipelines.stand_in_session DATASET OUTPUT [SETTING=NUMBER ...]
"""

import sys
from pathlib import Path

from actors.config import EngineConfig
from jobs.command.exit_codes import one_line_errors
from pipelines.config.run import RunConfig
from pipelines.logs.console import run_console
from pipelines.passk import run_passk
from tests.pipelines.stand_in import StandInFleet


def session_config(dataset: Path, output: Path, **settings: float) -> RunConfig:
    """Two units at a time, each saved by itself."""
    return RunConfig(
        sampler="esamp",
        dataset=str(dataset),
        output=output,
        verifier="exact",
        samples=4,
        work_units_per_file=1,
        engine=EngineConfig(max_num_seqs=4),
        **settings,  # type: ignore[arg-type]
    )


if __name__ == "__main__":
    with one_line_errors():
        _, dataset, output, *numbers = sys.argv
        settings = {name: float(value) for name, _, value in (number.partition("=") for number in numbers)}
        config = session_config(Path(dataset), Path(output), **settings)
        run_passk(config, console=run_console(), start_fleet=StandInFleet)
