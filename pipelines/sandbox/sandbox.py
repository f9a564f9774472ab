"""The supervisor's side: one grader per sample, one verdict, and nothing left behind.

Any thread may call `Sandbox.run`, several at once. Graders are forked by a zygote (inside/zygote.py), which is replaced after some hundred
samples, and where it fails.
"""

import compileall
import json
import logging
import threading
from collections import deque
from pathlib import Path
from typing import Any

from pipelines.errors import RunError
from pipelines.sandbox.backends import PACKAGE_ROOT, IsolationBackend, package_folders, readable_paths
from pipelines.sandbox.job import HONEST, CallJob, JobResult, JobStatus, ScriptJob, StdinJob, TestJob
from pipelines.sandbox.limits import Limits
from pipelines.sandbox.turns import alone, together
from pipelines.sandbox.zygote import GraderEndedError, GraderTimeoutError, Zygote

logger = logging.getLogger(__name__)

INSIDE = Path(__file__).parent / "inside"
START_GRACE_S = 20.0
"""The grader keeps the sample's time limit itself; this long after it, a grader that has not spoken is killed. A loaded machine can
take seconds to start a process."""
SAMPLES_PER_ZYGOTE = 256
"""Samples that share a seed of str hashes and a layout of memory. A new zygote costs about as much as three samples."""
BUSY_SHARE = 0.8
"""Of its time a sample must have computed for a time-out to count at once. Others may have been starved by a busy machine."""
RECENT_SAMPLES = 10
MAX_FAILURES = 3
"""Of the last RECENT_SAMPLES, how many end without a verdict, each tried twice, before the sandbox itself is tested."""
NUM_CHECKS = 5
"""Runs of HONEST that must have a verdict: a machine at its limit of processes fails now and then, not always."""


class Sandbox:
    """Runs test jobs in one backend."""

    def __init__(self, backend: IsolationBackend, limits: Limits) -> None:
        """Raises FileNotFoundError if the backend's program is not installed."""
        self.backend = backend
        self.limits = limits
        self._command = backend.command(limits)
        self._lock = threading.Lock()
        self._zygote: Zygote | None = None
        self._has_verdict: deque[bool] = deque(maxlen=RECENT_SAMPLES)
        """Of the last samples."""
        # A zygote may not write its byte code; without, most of its start goes into compiling.
        compileall.compile_dir(INSIDE, quiet=2)

    def run(self, job: TestJob) -> JobResult:
        """The verdict on one program. Never raises for what the program does.

        A time-out counts if the program had the processor for most of its time, or has another one alone on this machine.
        """
        with together():
            result = self._run(job)
        if result.status is JobStatus.TIMEOUT and result.busy_share < BUSY_SHARE:
            with alone():
                return self._run(job)
        return result

    def _run(self, job: TestJob) -> JobResult:
        """The result, which counts among the recent ones. Raises RunError if it is the sandbox that fails."""
        result = self._tried_twice(job)
        has_verdict = result.status is not JobStatus.SANDBOX_FAILED
        self._has_verdict.append(has_verdict)
        if not has_verdict:
            logger.warning(
                "the code sandbox (%s) gave no verdict on a sample, twice: %s", self.backend.name, result.detail
            )
            if self._has_verdict.count(False) >= MAX_FAILURES:
                self._check()
        return result

    def _tried_twice(self, job: TestJob) -> JobResult:
        """The result. A sample without a verdict is tried once more, by another zygote."""
        clocks = num_clocks(job)
        frames = frame(self._job(job, clocks)) + test_frames(job)
        reason = ""
        for _ in range(2):
            zygote = self._current()
            try:
                verdict = zygote.grade(frames, timeout_s=clocks * self.limits.timeout_s + START_GRACE_S)
            except GraderTimeoutError:
                return JobResult(JobStatus.TIMEOUT, "the tests could not be interrupted and were killed")
            except GraderEndedError as error:
                reason = str(error)
                self._replace(zygote)
                continue
            result = read_verdict(verdict)
            if result.status is not JobStatus.SANDBOX_FAILED:
                return result
            reason = result.detail
            self._replace(zygote)
        return JobResult(JobStatus.SANDBOX_FAILED, reason)

    def close(self) -> None:
        """End the zygote."""
        with self._lock:
            zygote, self._zygote = self._zygote, None
        if zygote is not None:
            zygote.retire()

    def _current(self) -> Zygote:
        """The zygote to ask, a new one where the last has had its samples."""
        with self._lock:
            old = self._zygote
            if old is not None and old.started < SAMPLES_PER_ZYGOTE:
                return old
            new = self._zygote = Zygote(self._command)
        if old is not None:
            old.retire()
        return new

    def _replace(self, failed: Zygote) -> None:
        """Have the next sample start a new zygote, unless another thread has done so."""
        with self._lock:
            is_current = self._zygote is failed
            if is_current:
                self._zygote = None
        if is_current:
            failed.retire()

    def _check(self) -> None:
        """Run what is known to pass. If it has a verdict, the samples are at fault, and the run goes on. Raises RunError if it has none."""
        for _ in range(NUM_CHECKS):
            result = self._tried_twice(HONEST)
            if result.status is JobStatus.SANDBOX_FAILED:
                raise RunError(
                    f"the code sandbox ({self.backend.name}) fails on this machine: {MAX_FAILURES} of the last {RECENT_SAMPLES} samples "
                    "ended without a verdict, each in two tries, and so did a program that is known to be right: "
                    f"{result.detail}. What is saved is kept; look for limits on processes (pids) and memory, then "
                    "start the same command again."
                )
        self._has_verdict.clear()

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


def frame(message: object) -> bytes:
    """A message as inside/wire.py reads it."""
    body = json.dumps(message).encode("ascii")
    return len(body).to_bytes(4, "big") + body


def read_verdict(body: bytes) -> JobResult:
    """What the grader said."""
    verdict: dict[str, Any] = json.loads(body)
    return JobResult(JobStatus(verdict["status"]), verdict["detail"], verdict["busy_share"])
