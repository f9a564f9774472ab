"""The supervisor's side: one fresh grader per sample, one verdict, and nothing left behind.

Any thread may call `Sandbox.run`, several at once: there is no state but the processes of each call.
"""

import compileall
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.sandbox.backends import PACKAGE_ROOT, IsolationBackend, package_folders, readable_paths
from pipelines.sandbox.job import CallJob, JobResult, JobStatus, ScriptJob, StdinJob, TestJob
from pipelines.sandbox.limits import Limits

INSIDE = Path(__file__).parent / "inside"
START_GRACE_S = 20.0
"""The grader keeps the sample's time limit itself; this long after it, a grader that has not spoken is killed. A loaded machine can
take seconds to start a process."""


class Sandbox:
    """Runs test jobs in one backend."""

    def __init__(self, backend: IsolationBackend, limits: Limits) -> None:
        """Raises FileNotFoundError if the backend's program is not installed."""
        self.backend = backend
        self.limits = limits
        self._command = backend.command(limits)
        # A grader may not write its byte code; without, a fifth of its start goes into compiling.
        compileall.compile_dir(INSIDE, quiet=2)

    def run(self, job: TestJob) -> JobResult:
        """The verdict on one program. Never raises for what the program does."""
        clocks = num_clocks(job)
        frames = frame(self._job(job, clocks)) + test_frames(job)
        with started(self._command) as process:
            try:
                output, errors = process.communicate(frames, timeout=clocks * self.limits.timeout_s + START_GRACE_S)
            except subprocess.TimeoutExpired:
                return JobResult(JobStatus.TIMEOUT, "the tests could not be interrupted and were killed")
        return read_verdict(output, errors, process.returncode)

    def _job(self, job: TestJob, clocks: int) -> dict[str, Any]:
        """What the grader and the program's process need, and nothing of the tests."""
        return {
            "kind": KINDS[type(job)],
            "source": job.program,
            "timeout_s": self.limits.timeout_s,
            "cpu_s": self.limits.cpu_s(clocks),
            "memory_bytes": self.limits.memory_mib * 2**20,
            "file_bytes": self.limits.file_mib * 2**20,
            "open_files": self.limits.open_files,
            "confinement": self.backend.confinement,
            "readable": [str(path) for path in (*readable_paths(), *LIBRARIES)],
            "package_root": str(PACKAGE_ROOT),
        }


KINDS: dict[type[TestJob], str] = {ScriptJob: "script", StdinJob: "runs", CallJob: "calls"}


def num_clocks(job: TestJob) -> int:
    """How often the wall clock starts: once for a script, for cases once each, and once for what comes before the first."""
    return 1 if isinstance(job, ScriptJob) else len(job.cases) + 1


def test_frames(job: TestJob) -> bytes:
    """The tests: a frame, and one more for each case."""
    match job:
        case ScriptJob():
            packages = {name: str(package_folders(name)[0]) for name in job.packages}
            return frame({"setup": job.setup, "test": job.test, "names": job.names, "packages": packages})
        case StdinJob():
            head: dict[str, Any] = {"cases": len(job.cases)}
        case CallJob():
            head = {"cases": len(job.cases), "holder": job.holder, "function": job.function}
    return b"".join((frame(head), *(frame({"input": case.input, "output": case.output}) for case in job.cases)))


LIBRARIES = ("/lib", "/lib64")
"""Links into /usr, or folders of their own."""


@contextlib.contextmanager
def started(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process group of its own with an empty environment, killed whole on the way out."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={},
        cwd="/",
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def frame(message: object) -> bytes:
    """A message as inside/wire.py reads it."""
    body = json.dumps(message).encode("ascii")
    return len(body).to_bytes(4, "big") + body


def read_verdict(output: bytes, errors: bytes, exit_status: int) -> JobResult:
    """What the grader said; a grader without a verdict is the sandbox's failure, never a pass."""
    length = int.from_bytes(output[:4], "big")
    if len(output) < 4 or len(output) != 4 + length:
        last_words = errors.decode(errors="replace").strip().splitlines()[-1:] or ["nothing on standard error"]
        return JobResult(JobStatus.SANDBOX_FAILED, f"no verdict, exit status {exit_status}: {last_words[0][:300]}")
    verdict: dict[str, Any] = json.loads(output[4:])
    return JobResult(JobStatus(verdict["status"]), verdict["detail"])
