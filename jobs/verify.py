"""Scores the answers of a run again, without generating: another verifier, another time limit, or the same verifier after it was changed.

    python -m jobs.verify runs/math500-quasi-0
    python -m jobs.verify runs/math500-quasi-0 --verifier my_module:my_verifier --verifier-timeout-s 5

Settings that are not given are the run's. The old verdicts stay on disk; summaries and reports use the new ones from then on.
"""

import sys
from dataclasses import dataclass, replace
from typing import Annotated, Any

import tyro
from typing_extensions import Doc

from jobs.command.exit_codes import one_line_errors
from pipelines.logs.lines import LogFormat
from pipelines.verifiers.registry import VERIFIER_HELP


@dataclass(frozen=True, kw_only=True)
class VerifyCommand:
    """The command line of this job."""

    run: tyro.conf.Positional[str]
    """Run folder, or its URL."""
    verifier: Annotated[str | None, Doc(f"{VERIFIER_HELP}; module:function: your own.")] = None
    verifier_timeout_s: float | None = None
    """Seconds one verdict may take; by default the verifier's own."""
    judge_url: str | None = None
    """Base URL of the judge's OpenAI-compatible API."""
    judge_model: str | None = None
    """Model the judge's API is asked for."""
    judge_key_variable: str | None = None
    """Environment variable that holds the judge's API key, on every node that scores."""
    verifiers: int = 1
    """Processes that score samples."""
    log_format: LogFormat = "text"
    """json: each line of the log is an object with time, level, run, source (driver or actor) and message."""
    allow_unsafe_execution: bool = False
    """Run the code that a model wrote even where it cannot be locked in. Only on a machine you can afford to lose."""

    @property
    def given(self) -> dict[str, Any]:
        """Settings that win over the run's."""
        settings = {
            "verifier": self.verifier,
            "judge_url": self.judge_url,
            "judge_model": self.judge_model,
            "judge_key_variable": self.judge_key_variable,
        }
        given: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
        if self.verifier is not None or self.verifier_timeout_s is not None:
            given["verifier_timeout_s"] = self.verifier_timeout_s
        return given | {"verifiers": self.verifiers, "allow_unsafe_execution": self.allow_unsafe_execution}


def main(args: list[str]) -> None:
    """Parse, score, say what changed."""
    with one_line_errors(args):
        command = tyro.cli(VerifyCommand, prog="python -m jobs.verify", description=__doc__, args=args)
        # Imported late: Ray and Parquet take seconds that --help and a mistyped flag need not wait for.
        from pipelines.logs.console import run_console
        from pipelines.rescore import changes_table, verify_run
        from pipelines.runs.folder import RunFolder
        from pipelines.runs.summary import summarise, summary_table

        console = run_console()
        folder = RunFolder(command.run)
        config = replace(folder.manifest().config, **command.given)
        changes = verify_run(folder, config, console=console)
        console.print(changes_table(changes))
        console.print(summary_table([summarise(folder, pass_at=config.pass_at)]))
        console.print(f"verdicts: {folder.path}/verdicts/{changes.verification}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main(sys.argv[1:])
