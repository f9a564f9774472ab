"""Sends a job to a Ray cluster and follows it as if it ran here: its log, its live line, its exit code, its summary and report.

    python -m jobs.submit passk --address http://HEAD:8265 --model Qwen/Qwen2.5-7B-Instruct --task math500 --output /shared/runs/math500
    python -m jobs.submit --address http://HEAD:8265 --follow RUN
    python -m jobs.submit --address http://HEAD:8265 --stop RUN

All other options are the job's own (python -m jobs.passk --help) and are checked before anything is sent. The same command sent again goes
on with the run.

Sent along: this project's code, and files that options name by a relative path (--config run.yaml, --dataset problems.jsonl). The cluster's
nodes need the project's dependencies, and must all see --output: an absolute path on a shared disk, or a URL. Ctrl-C leaves the job
running.

A cluster with tokens, Ray's default, takes this machine's if RAY_AUTH_MODE=token is set and the cluster's token lies in ~/.ray/auth_token.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from jobs import passk
from jobs.command.exit_codes import one_line_errors
from pipelines.config.run import RunConfig
from pipelines.errors import InputError, RunError

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.submission.follow import FollowingClient
    from pipelines.submission.job import RunJob

PROGRAM = "python -m jobs.submit"
BAD_INPUT = 2
"""Exit code of a job that has written nothing."""
JOBS = ("passk",)
"""Modules of this package."""


@dataclass(frozen=True, kw_only=True)
class SubmitCommand:
    """The command line of this job."""

    address: str | None = None
    """Dashboard of the cluster's head, such as http://HEAD:8265. By default what RAY_API_SERVER_ADDRESS or RAY_ADDRESS says, else this
    machine's."""
    upload: bool = True
    """Send this project's code along. --no-upload: the cluster's nodes have the project installed."""
    env: tuple[str, ...] = ()
    """Names of environment variables of this shell that the job gets, such as HF_TOKEN."""
    wait: bool = True
    """Follow the job to its end. --no-wait: leave once it is sent."""
    results: Path | None = None
    """Folder here for summary and report, if the run folder cannot be reached from here; by default runs/<job's id>."""
    follow: str | None = None
    """Follow a job that was sent before, and fetch its results: id of the run (run.json, and what is printed here), its folder, or the id
    of the job."""
    stop: str | None = None
    """Stop one: finished samples are saved, those under way get --grace. Named as for --follow."""

    @property
    def environment(self) -> dict[str, str]:
        """What --env names."""
        return {name: os.environ[name] for name in self.env}


def main(args: list[str]) -> None:
    """Parse, send, follow; end with the job's exit code."""
    with one_line_errors():
        # Not a positional of the command: tyro takes words of options that it does not know for one.
        job_name, options = (args[0], args[1:]) if args and not args[0].startswith("-") else (None, args)
        command, words = tyro.cli(
            SubmitCommand, prog=f"{PROGRAM} [JOB]", description=__doc__, args=options, return_unknown_args=True
        )
        run = check_words(job_name, command, words)
        # Imported late: Ray takes seconds that --help and a mistyped flag need not wait for.
        from rich.console import Console

        from pipelines.submission.cluster import connect
        from pipelines.submission.job import find_job, stop

        console, client = Console(file=sys.stdout), connect(command.address)
        if run is not None:
            job = send(client, f"jobs.{job_name}", command, words, run)
            console.print(f"run {job.run_id}: job {job.submission_id}", highlight=False, soft_wrap=True)
        else:
            job = find_job(client, command.stop or command.follow or "")
        if command.stop is not None:
            stop(client, job)
        if command.wait:
            raise SystemExit(see_through(client, job, command, console))
        print(commands_for(job, command))


def check_words(job: str | None, command: SubmitCommand, words: list[str]) -> RunConfig | None:
    """The run that the job's own options describe; None where no job is sent. Raises InputError, as the job itself would, and at what
    only this machine has."""
    if [job, command.follow, command.stop].count(None) != 2:
        raise InputError("give one of: first a job to send (passk), --follow RUN, --stop RUN.")
    for name in command.env:
        if name not in os.environ:
            raise InputError(f"--env {name}: this shell has no such variable. Export it, or leave it out.")
    if job is None:
        if words:
            raise InputError(f"{words[0]} is an option of a job: give the job, such as passk, before it.")
        return None
    if job not in JOBS:
        raise InputError(f"{job} is no job that can be sent; those are: {', '.join(JOBS)}.")
    run = passk.parse_given(words).run
    if run.output is None:
        raise InputError(
            "give --output: an absolute path that every node of the cluster sees, or a URL such as s3://bucket/runs/x."
        )
    for name, place in (("--output", str(run.output)), ("--model", run.model)):
        is_here = name == "--output" or Path(place).is_dir()
        if is_here and "://" not in place and not Path(place).is_absolute():
            raise InputError(
                f"{name} {place} is a folder of this machine. Give an absolute path that every node of the cluster sees, or a URL: a "
                "relative one would lie in the job's own folder, which ends with the job."
            )
    return run


def send(client: "FollowingClient", module: str, command: SubmitCommand, words: list[str], run: RunConfig) -> "RunJob":
    """Send the job with what it needs of this machine."""
    from pipelines.submission.job import JobOrder, submit
    from pipelines.submission.package import files_named, working_folder

    with working_folder(files_named(passk.with_config_file(words)), code=command.upload) as folder:
        return submit(
            client,
            JobOrder(
                module=module,
                words=words,
                output=str(run.output),
                grace_s=run.grace,
                working_dir=folder,
                environment=command.environment,
            ),
        )


def see_through(client: "FollowingClient", job: "RunJob", command: SubmitCommand, console: "Console") -> int:
    """Follow the job to its end and fetch what it left; its exit code, or 0 if it was to be stopped and is. KeyboardInterrupt says how to
    come back."""
    import asyncio

    from ray.job_submission import JobStatus

    from pipelines.submission.cluster import one_line_cluster_errors
    from pipelines.submission.follow import exit_code, follow

    try:
        with one_line_cluster_errors():
            details = asyncio.run(follow(client, job, console))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"the job goes on. {commands_for(job, command)}") from None
    if details.status == JobStatus.FAILED and details.driver_exit_code is None:
        raise RunError(f"the job {job.submission_id} did not start: {details.message}")
    if details.status != JobStatus.STOPPED and exit_code(details) != BAD_INPUT:
        fetch(client, job, command, console)
    is_stopped = command.stop is not None and details.status == JobStatus.STOPPED
    return 0 if is_stopped else exit_code(details)


def fetch(client: "FollowingClient", job: "RunJob", command: SubmitCommand, console: "Console") -> None:
    """Bring summary and report here if the run folder cannot be reached. What fails is said; the job's exit code stands."""
    from pipelines.submission.follow import reachable
    from pipelines.submission.package import working_folder
    from pipelines.submission.results import fetch_results

    if reachable(job) is not None:
        return
    to = command.results or Path("runs") / job.submission_id
    try:
        with working_folder([], code=command.upload) as folder:
            names = fetch_results(client, job, to, working_dir=folder, environment=command.environment)
    except RunError as error:
        console.print(f"no results here: {error}", highlight=False, markup=False, soft_wrap=True)
        return
    if names:
        console.print(
            f"from the cluster: {', '.join(f'{to}/{name}' for name in names)}", highlight=False, soft_wrap=True
        )


def commands_for(job: "RunJob", command: SubmitCommand) -> str:
    """How to come back to a job."""
    address = f" --address {command.address}" if command.address else ""
    return f"Follow it: {PROGRAM}{address} --follow {job.run_id}; stop it: {PROGRAM}{address} --stop {job.run_id}"


if __name__ == "__main__":
    main(sys.argv[1:])
