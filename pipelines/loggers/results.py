"""What loggers are told of a run at its start and at its end."""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from pipelines.config.run import RunConfig
from pipelines.errors import InputError
from pipelines.loggers.registry import LoggedRun, start_loggers
from pipelines.loggers.run_logger import Curves, RunLoggers
from pipelines.runs.folder import SUMMARY, RunFolder
from pipelines.runs.summary import RunSummary, summary_table

logger = logging.getLogger(__name__)


def logged_run(of: RunFolder, run_id: str, config: RunConfig) -> LoggedRun:
    """A run before its first session, or a later one."""
    path = str(of.path)
    name = path.rstrip("/").rpartition("/")[2]
    # Beside the run's folder, which takes no files before the run begins. Event files grow, which an object store does not take: those of
    # a run at a URL stay with the driver.
    folder = Path(f"runs/{name}-loggers" if "://" in path else f"{path.rstrip('/')}-loggers")
    return LoggedRun(name=name, run_id=run_id, settings=config.to_dict(), folder=folder)


def log_results(loggers: RunLoggers, summary: RunSummary, folder: RunFolder) -> None:
    """Log pass@k and the rest, with the table and summary.json as files."""
    with tempfile.TemporaryDirectory() as scratch:
        table, plain = Path(scratch) / "summary.txt", Path(scratch) / SUMMARY
        with table.open("w") as file:
            Console(file=file, width=120).print(summary_table([summary]))
        plain.write_bytes(folder.storage.read(SUMMARY))
        loggers.add(results_of(summary), [table, plain])


def log_report(names: Sequence[str], runs: Sequence[RunFolder], report: Path) -> None:
    """Keep the report of runs that have ended with each of them, as a file. It is written once their loggers are closed: those are opened
    again, as for another session. One that cannot is warned of."""
    for folder in runs:
        manifest = folder.manifest()
        try:
            with start_loggers(names, logged_run(folder, manifest.run_id, manifest.config)) as loggers:
                loggers.add({}, [report])
        except InputError as error:
            logger.warning("the report of %s is not logged: %s", folder.path, error)


def results_of(summary: RunSummary) -> Curves:
    """The numbers of a summary that runs are compared by."""
    results: Curves = {f"result/pass_at_{entry.k}": entry.estimate for entry in summary.pass_at}
    results |= {
        "result/tokens": summary.tokens,
        "result/errors": summary.errors,
        "result/truncated": summary.truncated,
        "result/timeouts": summary.timeouts,
        "result/intervened_share": summary.intervened_share,
    }
    optional = {
        "result/solved": summary.solved,
        "result/tokens_per_s": summary.tokens_per_s,
        "result/distiller_loss_end": summary.distiller_loss_end,
    }
    return results | {name: float(value) for name, value in optional.items() if value is not None}
