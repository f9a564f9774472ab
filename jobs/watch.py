"""The live line of a run that is in progress, from anywhere that sees its folder. Reads the folder's progress.json; needs no Ray.

python -m jobs.watch runs/math500-quasi-0
python -m jobs.watch s3://bucket/runs/x --once
"""

import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tyro

from jobs.command.exit_codes import one_line_errors
from pipelines.errors import InputError

if TYPE_CHECKING:
    from pipelines.live.progress_file import RunProgress

SILENT_S = 60.0
"""Age of progress.json from which on its driver may have been killed: it writes every few seconds."""


@dataclass(frozen=True, kw_only=True)
class WatchCommand:
    """The command line of this job."""

    run: tyro.conf.Positional[str]
    """Run folder, or its URL."""
    once: bool = False
    """Print the state now, and end."""
    interval: float = 5.0
    """Seconds between two looks at the folder, > 0."""

    def __post_init__(self) -> None:
        if not self.interval > 0:
            raise InputError(f"interval must be > 0 seconds; got {self.interval:g}.")


def main(args: list[str]) -> None:
    """Show progress until the session ends."""
    with one_line_errors():
        command = tyro.cli(WatchCommand, prog="python -m jobs.watch", description=__doc__, args=args)
        # Imported late: what --help and a mistyped flag need not wait for.
        from rich.console import Console, Group
        from rich.live import Live

        from pipelines.live.progress_file import read_progress
        from pipelines.live.progress_line import progress_line, progress_panel
        from pipelines.runs.storage import storage_at

        storage, console = storage_at(command.run), Console(file=sys.stdout)
        progress = read_progress(storage)
        if progress is None:
            raise InputError(
                f"{command.run} has no progress.json: no session has begun to generate there. Give the folder of a run."
            )
        is_live = console.is_terminal and not command.once
        with Live(console=console, auto_refresh=False) if is_live else nullcontext() as live:
            while True:
                if live is not None:
                    live.update(Group(progress_panel(progress), silence(progress)), refresh=True)
                else:
                    console.print(f"{progress_line(progress)}{silence(progress)}", soft_wrap=True, highlight=False)
                if command.once or progress.phase == "ended":
                    return
                time.sleep(command.interval)
                progress = read_progress(storage) or progress


def silence(progress: "RunProgress") -> str:
    """What the age of the last news means, if it means something."""
    from pipelines.live.progress_line import clock

    age = time.time() - progress.at
    if progress.phase == "ended" or age < SILENT_S:
        return ""
    return f" | no news for {clock(age)}: the driver may have been killed; the same command goes on"


if __name__ == "__main__":
    main(sys.argv[1:])
