"""Ray's job server without a Ray: what was sent to it, and logs and ends that a test gives."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.job_submission import JobDetails, JobStatus


@dataclass
class FakeCluster:
    """The methods of JobSubmissionClient that we use."""

    end: JobStatus = JobStatus.SUCCEEDED
    exit_code: int | None = 0
    log: list[str] = field(default_factory=list)
    """Pieces of the log as the server sends them; an empty one breaks the connection."""
    outputs: dict[str, str] = field(default_factory=dict)
    """Whole logs, by a part of the entrypoint."""
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)
    """Files of each job's working folder."""
    stopped: list[str] = field(default_factory=list)
    connections: int = 0

    def submit_job(
        self,
        *,
        entrypoint: str,
        runtime_env: dict[str, Any] | None,
        metadata: dict[str, str] | None,
        submission_id: str | None,
    ) -> str:
        assert submission_id is not None and submission_id not in self.jobs and runtime_env is not None
        folder = runtime_env.get("working_dir")
        found = [] if folder is None else [path for path in Path(folder).rglob("*") if path.is_file()]
        self.files[submission_id] = sorted(str(path.relative_to(folder)) for path in found)
        self.jobs[submission_id] = {
            "entrypoint": entrypoint,
            "runtime_env": runtime_env,
            "metadata": metadata,
            "status": self.end,
            "start_time": len(self.jobs),
        }
        return submission_id

    def details(self, submission_id: str) -> JobDetails:
        return JobDetails(
            type="SUBMISSION",
            submission_id=submission_id,
            driver_exit_code=self.exit_code,
            message="Job entrypoint command failed",
            **self.jobs[submission_id],
        )

    def stop_job(self, job_id: str) -> bool:
        self.stopped.append(job_id)
        return True

    def get_job_info(self, job_id: str) -> JobDetails:
        return self.details(job_id)

    def list_jobs(self) -> list[JobDetails]:
        return [self.details(submission_id) for submission_id in self.jobs]

    def get_job_logs(self, job_id: str) -> str:
        entrypoint = self.jobs[job_id]["entrypoint"]
        return next(log for part, log in self.outputs.items() if part in entrypoint)

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        """The first connection breaks at the first break, the second at the second; what was there before comes in one piece."""
        self.connections += 1
        stretches: list[list[str]] = [[]]
        for piece in self.log:
            if piece:
                stretches[-1].append(piece)
            else:
                stretches.append([])
        seen, rest = stretches[: self.connections], stretches[self.connections :]
        pieces = [piece for stretch in seen for piece in stretch]
        for piece in pieces if self.connections == 1 or not pieces else ["".join(pieces)]:
            yield piece
        if rest:
            raise RuntimeError("WebSocket connection closed unexpectedly with close code 1006")
