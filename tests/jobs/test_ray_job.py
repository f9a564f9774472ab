"""`ray job submit -- python -m jobs.passk` on a head node of this machine: runs to its end and hands back the exit code."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.engine, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{BIN}:{os.environ['PATH']}",
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a head node's dashboard. `--block`, so that ending its process ends the whole node and no other Ray."""
    port, log = free_port(), tmp_path_factory.mktemp("head") / "head.log"
    with log.open("w") as output:
        head = subprocess.Popen(
            [
                *(
                    str(BIN / "ray"),
                    "start",
                    "--head",
                    "--block",
                    "--port",
                    str(free_port()),
                    "--dashboard-port",
                    str(port),
                    "--dashboard-agent-listen-port",  # by default one port, which another Ray on this machine may hold
                    str(free_port()),
                ),
                *("--num-cpus", "4", "--object-store-memory", str(256 * 2**20), "--disable-usage-stats"),
            ],
            env=ENVIRONMENT,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + 120
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert head.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.5)
    yield f"http://127.0.0.1:{port}"
    os.killpg(head.pid, signal.SIGTERM)
    try:
        head.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(head.pid, signal.SIGKILL)


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
