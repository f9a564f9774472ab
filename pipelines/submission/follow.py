"""A job on a cluster as if it ran here: its log, its live line, its exit code.

Ray's job server --lines of the job's log--> printed; on a terminal the job's own progress lines are the live line
run folder, if it can be reached from here --progress.json--> the live panel in place of them
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from typing import Protocol

from aiohttp import ClientError
from ray.job_submission import JobDetails, JobStatus
from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from pipelines.errors import RunError
from pipelines.live.progress_file import RunProgress, read_progress
from pipelines.live.progress_line import is_progress_line, progress_panel
from pipelines.runs.storage import Storage, storage_at
from pipelines.submission.job import JobClient, RunJob, known_run_id

FOLDER_INTERVAL_S = 2.0
"""Between two looks at the run folder."""
RECONNECT_S = 2.0
LONGEST_SILENCE_S = 120.0
"""Time for which the job server may not answer: a head's dashboard restarts in less."""
STOPPED_EXIT_CODE = 128 + signal.SIGTERM
"""As of a job on this machine that is stopped by SIGTERM, which is what Ray sends."""


class FollowingClient(JobClient, Protocol):
    """Beside that of JobClient."""

    def tail_job_logs(self, job_id: str) -> AsyncIterator[str]: ...


async def follow(client: FollowingClient, job: RunJob, console: Console) -> JobDetails:
    """Show the job until it has ended; returns what Ray says of its end. Raises RunError if the cluster does not answer any more."""
    display = JobDisplay(console)
    with display:
        watch = asyncio.create_task(watch_folder(job, display)) if console.is_terminal else None
        try:
            async for line in job_lines(client, job.submission_id):
                display.line(line)
            return await asyncio.to_thread(client.get_job_info, job.submission_id)
        finally:
            if watch is not None:
                watch.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await watch


def exit_code(details: JobDetails) -> int:
    """Of the command if it had run here."""
    if details.status == JobStatus.SUCCEEDED:
        return 0
    if details.status == JobStatus.STOPPED:
        return STOPPED_EXIT_CODE
    code = details.driver_exit_code or 1  # None: the command was never started
    return code if code > 0 else 128 - code


class JobDisplay:
    """Lines of a log; on a terminal with a live line below them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._has_panel = False

    def __enter__(self) -> "JobDisplay":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *ended: object) -> None:
        if self._live is not None:
            self._live.stop()

    def line(self, text: str) -> None:
        """Show a line of the log. Where progress is live, a progress line replaces the one before."""
        if self._live is not None and is_progress_line(text):
            if not self._has_panel:
                self._live.update(Text(text), refresh=True)
            return
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def panel(self, panel: RenderableType) -> None:
        """Show what the run folder says, from now on in place of progress lines."""
        assert self._live is not None
        self._has_panel = True
        self._live.update(panel, refresh=True)


async def job_lines(client: FollowingClient, submission_id: str) -> AsyncIterator[str]:
    """The job's log, line by line, until the job has ended. A lost connection is made again, and goes on where it was lost."""
    shown, rest, silent_s = 0, "", 0.0
    while True:
        position = 0
        try:
            # Each time from the log's begin: Ray knows no other way.
            async for chunk in client.tail_job_logs(submission_id):
                silent_s = 0.0
                position += len(chunk)
                if position <= shown:
                    continue
                *lines, rest = (rest + chunk[shown - position :]).split("\n")
                shown = position
                for line in lines:
                    yield line
            if (await asyncio.to_thread(client.get_job_info, submission_id)).status.is_terminal():
                break
            silent_s = 0.0
        except (RuntimeError, OSError, ClientError) as error:
            # Of Ray, requests and aiohttp, in this order.
            silent_s += RECONNECT_S
            if silent_s > LONGEST_SILENCE_S:
                raise RunError(
                    f"the cluster has not answered for {LONGEST_SILENCE_S:g} s: {' '.join(str(error).split())} If its head is lost, so is "
                    "the job: send the same command again, and the run goes on from its folder."
                ) from error
        await asyncio.sleep(RECONNECT_S)
    if rest:
        yield rest


async def watch_folder(job: RunJob, display: JobDisplay) -> None:
    """Show the progress in the run folder, if that can be reached from here."""
    storage, before = None, None
    while True:
        if storage is None:
            storage = await asyncio.to_thread(reachable, job)
            before = None if storage is None else await asyncio.to_thread(progress_in, storage)
        else:
            progress = await asyncio.to_thread(progress_in, storage)
            # What an earlier session left stands until this one begins.
            if progress is not None and progress != before:
                display.panel(progress_panel(progress))
        await asyncio.sleep(FOLDER_INTERVAL_S)


def reachable(job: RunJob) -> Storage | None:
    """The run folder, if this machine sees the very same; another machine may have a folder of the same name."""
    return storage_at(job.output) if known_run_id(job.output) == job.run_id else None


def progress_in(storage: Storage) -> RunProgress | None:
    """What the driver wrote last; None if that cannot be read now."""
    try:
        return read_progress(storage)
    except OSError:
        return None
