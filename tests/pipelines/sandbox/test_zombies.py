"""Where PID 1 buries nobody, as in most containers, samples leave no process behind; and a sandbox that fails stops the run, soon."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.errors import RunError
from pipelines.sandbox.backends import Bubblewrap, IsolationBackend, Landlock, Unsafe
from pipelines.sandbox.job import HONEST, JobResult, JobStatus, ScriptJob, TestJob
from pipelines.sandbox.limits import Limits
from pipelines.sandbox.sandbox import MAX_FAILURES, RECENT_SAMPLES, Sandbox
from tests.pipelines.failing_sandbox import Failing
from tests.pipelines.sandbox.test_backends import skip_where_it_cannot_run

ROOT = Path(__file__).resolve().parents[3]
CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc")
"""A PID 1 of its own, which is no init."""
SAMPLES = 300
IN_A_CONTAINER = """
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from pipelines.sandbox.backends import {backend} as Backend
from pipelines.sandbox.job import ScriptJob
from pipelines.sandbox.limits import Limits
from pipelines.sandbox.sandbox import Sandbox
from pipelines.sandbox.soak import is_judged_rightly

endless = ScriptJob(program="while True: pass", test="")
with closing(Sandbox(Backend(), Limits(timeout_s=20))) as sandbox, closing(Sandbox(Backend(), Limits(timeout_s=0.2))) as hasty:
    with ThreadPoolExecutor(2) as pool:
        right = sum(pool.map(lambda number: is_judged_rightly(sandbox, number), range({samples})))
    timeouts = [hasty.run(endless).status for _ in range(3)]
print(right, *timeouts, len(list(Path("/proc").glob("[0-9]*"))))
"""
PID_1 = "import os, subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', sys.argv[1]]).returncode)"
"""Waits for its own child and for no other."""


@pytest.mark.parametrize("backend", [Bubblewrap, Landlock], ids=lambda backend: backend.name)
def test_samples_leave_no_zombie_where_pid_1_buries_nobody(backend: type[IsolationBackend]) -> None:
    skip_where_it_cannot_run(backend)
    if subprocess.run([*CONTAINER, "true"], capture_output=True).returncode:
        pytest.skip("no PID namespace can be made here")
    script = IN_A_CONTAINER.format(backend=backend.__name__, samples=SAMPLES)
    done = subprocess.run(
        [*CONTAINER, sys.executable, "-c", PID_1, script], cwd=ROOT, capture_output=True, text=True, timeout=280
    )
    assert done.stdout.split() == [str(SAMPLES), "timeout", "timeout", "timeout", "2"], done.stderr


def test_a_sandbox_that_fails_stops_the_run_within_ten_samples_and_says_why() -> None:
    sandbox = Sandbox(Failing(), Limits())
    results = [sandbox.run(HONEST).status for _ in range(MAX_FAILURES - 1)]
    assert results == [JobStatus.SANDBOX_FAILED] * (MAX_FAILURES - 1), "none of them is called wrong"
    with pytest.raises(RunError, match=r"fork: Resource temporarily unavailable.*What is saved is kept"):
        sandbox.run(HONEST)
    assert MAX_FAILURES <= 10


class FailsNowAndThen(Sandbox):
    """Every third process is not to be had, as at a limit of processes."""

    tries = 0

    def _tried_twice(self, job: TestJob) -> JobResult:
        self.tries += 1
        return JobResult(JobStatus.PASSED if self.tries % 3 else JobStatus.SANDBOX_FAILED)


def test_a_sandbox_that_fails_now_and_then_stops_the_run_too() -> None:
    sandbox = FailsNowAndThen(Unsafe(), Limits())
    with pytest.raises(RunError, match=f"{MAX_FAILURES} of the last {RECENT_SAMPLES} samples ended without a verdict"):
        for _ in range(RECENT_SAMPLES):
            sandbox.run(HONEST)


def test_samples_that_end_their_own_grader_do_not_stop_the_run() -> None:
    """The sandbox works: what is known to pass passes. Such samples have no verdict, and the others keep theirs."""
    sandbox = Sandbox(Unsafe(), Limits(timeout_s=10))
    ends_its_grader = ScriptJob(program="", test="import os; os._exit(1)", names=())
    statuses = [sandbox.run(ends_its_grader).status for _ in range(MAX_FAILURES + 1)]
    assert statuses == [JobStatus.SANDBOX_FAILED] * (MAX_FAILURES + 1)
    assert sandbox.run(HONEST).status is JobStatus.PASSED
    sandbox.close()


def test_a_zygote_that_was_killed_is_replaced_and_no_verdict_is_lost() -> None:
    sandbox = Sandbox(Unsafe(), Limits(timeout_s=10))
    assert sandbox.run(HONEST).status is JobStatus.PASSED
    zygote = sandbox._zygote
    assert zygote is not None
    zygote._process.kill()
    zygote._process.wait()
    assert sandbox.run(HONEST).status is JobStatus.PASSED
    assert sandbox._zygote is not zygote
    sandbox.close()
