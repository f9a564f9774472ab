"""How a job ends."""

import subprocess
import sys

import pytest

JOBS = ("passk", "tasks")


@pytest.mark.parametrize("job", JOBS)
def test_a_job_whose_output_nobody_reads_any_more_ends_without_a_traceback(job: str) -> None:
    """`python -m jobs.passk --help | head -1`: longer than a pipe holds, or short enough to be written at the end only."""
    command = [sys.executable, "-m", f"jobs.{job}", "--help"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), errors) == (141, "")
