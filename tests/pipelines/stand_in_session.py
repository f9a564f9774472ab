"""One session of a run on stand-in shards, in a process of its own that a test may stop.

python -m tests.pipelines.stand_in_session DATASET OUTPUT
"""

import sys
from pathlib import Path

from actors.config import EngineConfig
from jobs.exit_codes import one_line_errors
from pipelines.config.run import RunConfig
from pipelines.passk import run_passk
from pipelines.stages.progress import run_console
from tests.pipelines.stand_in import StandInFleet


def session_config(dataset: Path, output: Path) -> RunConfig:
    """Two units at a time, each saved by itself."""
    return RunConfig(
        dataset=str(dataset),
        output=output,
        verifier="exact",
        samples=4,
        work_units_per_file=1,
        engine=EngineConfig(max_num_seqs=4),
    )


if __name__ == "__main__":
    with one_line_errors():
        config = session_config(Path(sys.argv[1]), Path(sys.argv[2]))
        run_passk(config, console=run_console(), start_fleet=StandInFleet)
