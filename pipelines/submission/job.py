"""Jobs of ours on a Ray cluster: sent, found again by run, stopped.

A run may be several jobs of a cluster: each time its command is sent again, it goes on as another job. They share the run's id:

    math500-esamp-3f2a9c81d0aa      first job of the run 3f2a9c81d0aa, whose folder is .../math500-esamp
    math500-esamp-3f2a9c81d0aa-2    the second
"""

import math
import re
import shlex
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ray.job_submission import JobDetails

from pipelines.errors import InputError
from pipelines.runs.folder import RunFolder
from pipelines.runs.manifest import RUN_ID
from pipelines.runs.provenance import GIT_COMMIT, git_commit
from pipelines.submission.cluster import one_line_cluster_errors

RUN_ID_KEY, OUTPUT_KEY = "esamp_run_id", "esamp_output"
"""Metadata of a job."""
STOP_MARGIN_S = 60
"""Beside --grace, before Ray kills a job that was asked to stop: the session is recorded, and engines end. Ray's own limit is 3 s."""
HEAD_START_S, AGENT_POLL_S = 60.0, 1.0
NO_AGENT = "No available agent"
"""What the head's job server says for some seconds: it listens before the process that runs jobs has reported to it."""
NOT_IN_AN_ID = re.compile(r"[^\w.-]+")


class JobClient(Protocol):
    """What we use of Ray's JobSubmissionClient."""

    def submit_job(
        self,
        *,
        entrypoint: str,
        runtime_env: dict[str, Any] | None,
        metadata: dict[str, str] | None,
        submission_id: str | None,
    ) -> str: ...

    def stop_job(self, job_id: str) -> bool: ...

    def get_job_info(self, job_id: str) -> JobDetails: ...

    def list_jobs(self) -> list[JobDetails]: ...

    def get_job_logs(self, job_id: str) -> str: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class RunJob:
    """One job of a run, on the cluster."""

    submission_id: str
    run_id: str
    output: str
    """Run folder, as the cluster's nodes call it."""
    is_over: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class JobOrder:
    """A job that is to be sent."""

    module: str
    """Such as "jobs.passk"."""
    words: Sequence[str]
    """Its options."""
    output: str
    grace_s: float
    working_dir: Path | None
    """A folder to send; None: the cluster has all that the job needs."""
    environment: Mapping[str, str]
    """Variables of the job and of its actors."""


def submit(client: JobClient, order: JobOrder) -> RunJob:
    """Send the job. Raises InputError if the run is under way on the cluster, and RunError if the cluster refuses the job."""
    earlier = [job for job in run_jobs(client) if job.output == order.output]
    running = next((job for job in earlier if not job.is_over), None)
    if running is not None:
        raise InputError(
            f"{order.output} is under way as {running.submission_id}: two drivers must not write to one folder. Follow it: --follow "
            f"{running.run_id}; end it: --stop {running.run_id}."
        )
    run_id = known_run_id(order.output) or next((job.run_id for job in earlier), uuid.uuid4().hex[:12])
    attempts = sum(job.run_id == run_id for job in earlier)
    name = NOT_IN_AN_ID.sub("-", order.output.rstrip("/").rpartition("/")[2]) or "run"
    submission_id = f"{name}-{run_id}" + (f"-{attempts + 1}" if attempts else "")
    variables = {
        RUN_ID: run_id,
        "RAY_JOB_STOP_WAIT_TIME_S": str(math.ceil(order.grace_s) + STOP_MARGIN_S),
        **({GIT_COMMIT: commit} if (commit := git_commit()) else {}),
        **order.environment,
    }
    send(
        client,
        entrypoint=["python", "-m", order.module, *order.words],
        runtime_env=runtime_env(order.working_dir, variables),
        metadata={RUN_ID_KEY: run_id, OUTPUT_KEY: order.output},
        submission_id=submission_id,
    )
    return RunJob(submission_id=submission_id, run_id=run_id, output=order.output, is_over=False)


def send(
    client: JobClient,
    *,
    entrypoint: Sequence[str],
    runtime_env: dict[str, Any],
    metadata: dict[str, str] | None,
    submission_id: str,
) -> None:
    """Send a job; waits for a head that has just started. Raises RunError."""
    deadline = time.monotonic() + HEAD_START_S
    with one_line_cluster_errors():
        while True:
            try:
                client.submit_job(
                    entrypoint=shlex.join(entrypoint),
                    runtime_env=runtime_env,
                    metadata=metadata,
                    submission_id=submission_id,
                )
                return
            except RuntimeError as error:
                if NO_AGENT not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(AGENT_POLL_S)


def runtime_env(working_dir: Path | None, variables: Mapping[str, str]) -> dict[str, Any]:
    """Ray's words for the environment of a job."""
    folder = {} if working_dir is None else {"working_dir": str(working_dir)}
    return {**folder, "env_vars": dict(variables)}


def known_run_id(output: str) -> str | None:
    """The id of the run in a folder; None if there is none, or the folder cannot be reached from here."""
    try:
        folder = RunFolder(output)
        return folder.manifest().run_id if folder.has_run else None
    except Exception:
        # The error boundary: an object store that this machine may not see, by whatever its package raises.
        return None


def run_jobs(client: JobClient) -> list[RunJob]:
    """Jobs of ours that the cluster knows, the newest first."""
    with one_line_cluster_errors():
        jobs = client.list_jobs()
    return [
        RunJob(
            submission_id=job.submission_id,
            run_id=job.metadata[RUN_ID_KEY],
            output=job.metadata[OUTPUT_KEY],
            is_over=job.status.is_terminal(),
        )
        for job in sorted(jobs, key=lambda job: job.start_time or 0, reverse=True)
        if job.submission_id and job.metadata and RUN_ID_KEY in job.metadata
    ]


def find_job(client: JobClient, run: str) -> RunJob:
    """The newest job of a run, which `run` names by its id, its folder or the id of one of its jobs. Raises InputError if the cluster has
    none."""
    jobs = run_jobs(client)
    for job in jobs:
        if run in (job.run_id, job.output, job.submission_id):
            return job
    known = ", ".join(dict.fromkeys(f"{job.run_id} ({job.output})" for job in jobs)) or "none"
    raise InputError(f"the cluster has no job of a run {run}; those that it has: {known}.")


def stop(client: JobClient, job: RunJob) -> None:
    """Ask a job to end; it takes --grace to do so. Raises InputError if it has ended."""
    if job.is_over:
        raise InputError(f"the job {job.submission_id} has ended already; the same command goes on with the run.")
    with one_line_cluster_errors():
        client.stop_job(job.submission_id)
