"""Are siblings that begin alike right or wrong together? What joint draws such as quasi have to work on, for a task and a model.

    python -m jobs.devtools.shared_choices runs/humaneval-vanilla-0 runs/humaneval-vanilla-1

Pairs are those of vanilla's runs; how hard a problem is comes from the other runs, which may be of any sampler with exact marginals
(vanilla, quasi, latent) at the same settings. quasi keeps k siblings from sharing their first ln k nats of choices (2.1 at k = 8):
where the correlation is 0 up to there, it cannot raise pass@k.
"""

import sys
from dataclasses import dataclass
from typing import Annotated

import tyro

from jobs.command.exit_codes import one_line_errors


@dataclass(frozen=True, kw_only=True)
class SharedChoicesCommand:
    """The command line of this job."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Run folders."""


def main(args: list[str]) -> None:
    """Read, estimate, print."""
    with one_line_errors():
        command = tyro.cli(
            SharedChoicesCommand, prog="python -m jobs.devtools.shared_choices", description=__doc__, args=args
        )
        # Imported late: reading runs brings pyarrow along.
        from rich.console import Console

        from pipelines.devtools.shared_choices import shared_choices, shared_choices_table
        from pipelines.runs.folder import RunFolder

        Console().print(shared_choices_table(shared_choices([RunFolder(run) for run in command.runs])))


if __name__ == "__main__":
    main(sys.argv[1:])
