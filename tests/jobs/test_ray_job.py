"""`ray job submit -- python -m jobs.passk` on a head node of this machine: runs to its end and hands back the exit code."""

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet
import pytest

from pipelines.live.log import LiveSamples
from pipelines.runs.folder import RunFolder
from tests.jobs.ray_nodes import BIN, ENVIRONMENT, ROOT, head_node
from tests.processes import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.engine, pytest.mark.slow]


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with head_node(tmp_path_factory.mktemp("head")) as address:
        yield address


def submit(dashboard: str, *args: str) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "ray"), "job", "submit", "--address", dashboard, "--", "python", "-m", "jobs.passk", *args]
    deadline = time.monotonic() + 120
    while True:
        done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=400)
        # The dashboard listens some seconds before the agent that runs jobs has reported to it.
        if "No available agent" not in done.stderr or time.monotonic() > deadline:
            return done
        time.sleep(1)


def test_a_submitted_job_runs_to_its_end(dashboard: str, tmp_path: Path) -> None:
    done = submit(
        dashboard,
        *("--limit", "3", "--samples", "4", "--output", str(tmp_path / "run"), "--engine.enforce-eager"),
        *("--engine.dtype", "float32", "--engine.kv-cache-gib", "0.1"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pass@4" in done.stdout and "succeeded" in done.stdout
    assert pyarrow.parquet.read_table(tmp_path / "run" / "samples").num_rows == 12


def test_a_job_with_bad_input_fails_with_its_line(dashboard: str, tmp_path: Path) -> None:
    done = submit(dashboard, "--dataset", str(tmp_path / "absent.jsonl"))
    assert done.returncode != 0
    assert "absent.jsonl does not exist" in done.stdout + done.stderr


def test_ray_job_stop_saves_what_is_finished_and_records_the_session(dashboard: str, tmp_path: Path) -> None:
    """Without the environment variable Ray would kill the job 3 s after it has asked it to end."""
    output = tmp_path / "run"
    job = ["--address", dashboard, "--submission-id", "to-be-stopped"]
    wait = ["--runtime-env-json", '{"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "120"}}']
    long_run = ["--limit", "100", "--samples", "64", "--output", str(output), "--save-every", "1000", "--grace", "2"]
    engine = ["--sampler", "vanilla", "--engine.enforce-eager", "--engine.dtype", "float32"]
    small = ["--engine.kv-cache-gib", "0.1", "--engine.max-num-seqs", "8"]
    command = ["python", "-m", "jobs.passk", *long_run, *engine, *small]
    ray_job = [str(BIN / "ray"), "job"]
    started = [*ray_job, "submit", "--no-wait", *job, *wait, "--", *command]
    subprocess.run(started, cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True, timeout=400)
    logs = [*ray_job, "logs", "--address", dashboard, "to-be-stopped"]

    def log() -> str:
        return subprocess.run(logs, env=ENVIRONMENT, capture_output=True, text=True, timeout=120).stdout

    # The line of the run, not the command that Ray prints at the top of the log.
    wait_until(lambda: re.search(r"\| samples [1-9]", log()) is not None)
    stop = [*ray_job, "stop", "--address", dashboard, "to-be-stopped"]
    subprocess.run(stop, env=ENVIRONMENT, check=True, capture_output=True, timeout=300)
    assert "SIGTERM: finished samples are being saved" in log()
    assert "the same command goes on from there" in log()
    folder = RunFolder(output)
    [session] = folder.sessions()
    saved = {(sample.problem_id, sample.sample_index) for sample in LiveSamples(folder.storage).finished()}
    saved |= {(sample.problem_id, sample.sample_index) for sample in folder.finished_samples()}
    assert 0 < session.samples <= len(saved) < 6400
