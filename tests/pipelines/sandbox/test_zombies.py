"""Where PID 1 buries nobody, as in most containers, samples leave no process behind; and a sandbox that fails stops the run, soon."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.errors import RunError
from pipelines.sandbox.backends import Bubblewrap, IsolationBackend, Landlock, Unsafe
from pipelines.sandbox.job import JobStatus
from pipelines.sandbox.limits import Limits
from pipelines.sandbox.sandbox import MAX_FAILURES, Sandbox
from pipelines.sandbox.self_test import HONEST
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


class Failing(Unsafe):
    """No process is to be had."""

    def command(self, limits: Limits) -> list[str]:
        return ["/bin/sh", "-c", "echo fork: Resource temporarily unavailable >&2; exit 254"]


def test_a_sandbox_that_fails_stops_the_run_within_ten_samples_and_says_why() -> None:
    sandbox = Sandbox(Failing(), Limits())
    results = [sandbox.run(HONEST).status for _ in range(MAX_FAILURES - 1)]
    assert results == [JobStatus.SANDBOX_FAILED] * (MAX_FAILURES - 1), "none of them is called wrong"
    with pytest.raises(RunError, match=r"fork: Resource temporarily unavailable.*What is saved is kept"):
        sandbox.run(HONEST)
    assert MAX_FAILURES <= 10


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
