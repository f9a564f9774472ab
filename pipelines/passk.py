"""A Pass@k run: plan -> samples -> verdicts -> Parquet, over Ray Data, then its summary.

    plan/ -> units not finished yet: todo/ -> GenerateSamples -> samples/*.parquet -> summary.json
                                                  |  ^   +-----> live/*.parquet: each sample, seconds after it is finished
                                              LLM shards (actors.Fleet), verifiers

Promises: bad input is refused before anything is written. A sample is on disk soon after it is finished, so a run that is stopped,
however, goes on from there with the same command. A work unit that fails leaves rows that say why, and is tried again next time.
"""

from collections.abc import Sequence
from contextlib import nullcontext

from rich.console import Console

from actors.shards.fleet import Fleet
from pipelines.config.run import RunConfig
from pipelines.loggers.registry import start_loggers
from pipelines.loggers.results import log_results, logged_run
from pipelines.logs.lines import PROCESS_LOG
from pipelines.prepare.run import PreparedRun, prepare_run
from pipelines.runs.summary import RunSummary, summarise
from pipelines.session import generate_work_units
from pipelines.session_errors import failures_in_one_line
from pipelines.stages.ray_session import ray_session
from pipelines.stages.shard_fleet import StartFleet


def run_passk(
    config: RunConfig,
    *,
    extend: int | None = None,
    console: Console,
    start_fleet: StartFleet = Fleet,
    log_to: Sequence[str] = (),
) -> RunSummary:
    """Make the run, or go on with it, and summarise it; `extend`: give the run that is there so many samples per problem; `log_to`: names
    of pipelines.loggers.registry.LOGGERS that get its curves and results.

    Raises InputError (nothing was written), RunError (what was finished stays), and KeyboardInterrupt with a message that says what was
    finished.
    """
    [summary] = complete_runs(
        [prepare_run(config, extend=extend)], console=console, start_fleet=start_fleet, log_to=log_to
    )
    return summary


def run_side_by_side(
    configs: list[RunConfig], *, console: Console, start_fleet: StartFleet = Fleet, log_to: Sequence[str] = ()
) -> list[RunSummary]:
    """Make several runs, one after the other; as `run_passk`. All are checked before the first begins."""
    runs = [prepare_run(config) for config in configs]
    return complete_runs(runs, console=console, start_fleet=start_fleet, log_to=log_to)


def complete_runs(
    runs: list[PreparedRun], *, console: Console, start_fleet: StartFleet, log_to: Sequence[str] = ()
) -> list[RunSummary]:
    """Complete runs, one after the other, on one Ray; none is started if there is nothing to do."""
    is_finished = all(not run.count_work_units().unfinished for run in runs)
    if not is_finished:
        console.print("connecting to Ray ...", highlight=False)
    run_ids = [run.run_id for run in runs]
    with nullcontext() if is_finished else ray_session([run.config for run in runs], run_ids=run_ids):
        return [complete_run(run, console=console, start_fleet=start_fleet, log_to=log_to) for run in runs]


def complete_run(
    run: PreparedRun, *, console: Console, start_fleet: StartFleet, log_to: Sequence[str] = ()
) -> RunSummary:
    """Generate what is not finished, then summarise; needs Ray."""
    PROCESS_LOG.run = run.run_id
    run.folder.move_corrupt_files()
    # Its end closes them, with what ended the run.
    with start_loggers(log_to, logged_run(run.folder, run.run_id, run.config)) as loggers:
        if run.count_work_units().unfinished:
            with failures_in_one_line(run):
                generate_work_units(run, console=console, start_fleet=start_fleet, log_progress=loggers)
        summary = summarise(run.folder, pass_at=run.config.pass_at)
        log_results(loggers, summary, run.folder)
    return summary
