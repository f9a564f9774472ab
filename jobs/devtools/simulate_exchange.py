"""The real exchange between simulated engines on this machine, measured and compared with the capacity model. Some minutes.

    python -m jobs.devtools.simulate_exchange                                          # 64 shards
    python -m jobs.devtools.simulate_exchange --points quiet busy saturated            # points of docs/scaling.md
    python -m jobs.devtools.simulate_exchange --simulation.shards 16 --simulation.scope shard --simulation.hidden-size 128

Prints a table and writes simulation.json to --output.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from actors.devtools.simulation.config import SIMULATED_POINTS, SimulationConfig
from jobs.command.exit_codes import one_line_errors


@dataclass(frozen=True, kw_only=True)
class SimulateCommand:
    """The command line of this job."""

    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    """What is simulated."""
    points: tuple[Literal["quiet", "light", "cluster", "busy", "saturated"], ...] = ()
    """Simulate these, instead of --simulation."""
    output: Path = Path("runs/simulation")
    """Folder of simulation.json."""
    markdown: bool = False
    """Print the table as in docs/scaling.md."""


def main(args: list[str]) -> None:
    """Parse, simulate, compare, print, write."""
    with one_line_errors():
        command = tyro.cli(
            SimulateCommand, prog="python -m jobs.devtools.simulate_exchange", description=__doc__, args=args
        )
        # Imported late: Ray and torch take seconds that --help need not wait for.
        from rich.console import Console

        from pipelines.capacity.report import markdown_table
        from pipelines.devtools.simulation_report import points_table, run_points, write_points

        # Progress goes to standard error: the table may be kept.
        progress = Console(stderr=True, soft_wrap=True)
        configs: dict[str, SimulationConfig] = {name: SIMULATED_POINTS[name] for name in command.points}
        configs = configs or {"simulated": command.simulation}
        points = run_points(configs, log=lambda line: progress.print(line, style="dim", highlight=False, markup=False))
        path = command.output / "simulation.json"
        write_points(path, points, command=" ".join(["python -m jobs.devtools.simulate_exchange", *args]))
        table = points_table(points)
        if command.markdown:
            print(markdown_table(table))
        else:
            Console().print(table)
        progress.print(f"written: {path}", style="dim", highlight=False)


if __name__ == "__main__":
    main(sys.argv[1:])
