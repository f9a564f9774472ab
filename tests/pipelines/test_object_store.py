"""A run whose folder is on S3, as a user makes it: it is killed, stopped, and goes on; its samples are those of a local run."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.live.log import LIVE, LiveSamples
from pipelines.runs.folder import RunFolder
from pipelines.runs.storage import storage_at
from pipelines.runs.summary import read_summary
from tests.pipelines.s3_server import BUCKET, s3_server
from tests.processes import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.engine]
PROBLEMS, SAMPLES = 24, 16
SAME = [
    "problem_id",
    "sample_index",
    "seed",
    "prompt",
    "text",
    "token_ids",
    "finish_reason",
    "status",
    "score",
    "error",
]
"""Columns that a sampler without memory fills from the seed alone."""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of a bucket, which this process and those that it starts can reach."""
    with s3_server(tmp_path) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield f"s3://{BUCKET}"


def start(output: str | Path, log: Path) -> subprocess.Popen[bytes]:
    """float32, since the last bit of a bfloat16 depends on who else is in the batch, and a kill changes who is."""
    command = [sys.executable, "-m", "jobs.passk", "--sampler", "vanilla", "--limit", str(PROBLEMS)]
    command += ["--samples", str(SAMPLES), "--output", str(output), "--save-every", "0.5", "--grace", "0.5"]
    command += ["--work-units-per-file", "2", "--sampling.max-tokens", "48", "--engine.max-num-seqs", "16"]
    command += ["--engine.enforce-eager", "--engine.dtype", "float32", "--engine.kv-cache-gib", "0.1", "--no-report"]
    with log.open("a") as out:
        return subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, "OMP_NUM_THREADS": "1"})


def disturb(url: str, number: signal.Signals, log: Path) -> int:
    """Go on with the run until it has saved a few files more, then send a signal: its exit code."""
    printed = len(log.read_text()) if log.exists() else 0
    session = start(url, log)
    # Counted once it works: until then the workers of a session that was killed may save their last files.
    wait_until(lambda: session.poll() is not None or "problems " in log.read_text()[printed:], timeout_s=200)
    before = saved(url)
    wait_until(lambda: session.poll() is not None or saved(url) >= before + 3, timeout_s=200)
    assert session.poll() is None, log.read_text()
    session.send_signal(number)
    code = session.wait(60)
    count = RunFolder(url).count_work_units(RunFolder(url).manifest())
    assert count.unfinished > 0, "the run was over before it was disturbed"
    return code


def saved(url: str) -> int:
    """Files in live/ and samples/."""
    storage = storage_at(url)
    return len(storage.names(LIVE)) + len(storage.names("samples"))


def rows(place: str | Path) -> list[dict[str, Any]]:
    stored = RunFolder(place).read_samples(SAME).to_pylist()
    return sorted(stored, key=lambda row: (row["problem_id"], row["sample_index"]))


def estimates(folder: RunFolder) -> list[float]:
    """pass@k for each k. Not the intervals, whose resampling depends on the order in which the samples lie."""
    return [point.estimate for point in read_summary(folder).pass_at]


def test_a_run_on_s3_that_is_killed_and_stopped_has_the_samples_of_a_local_run(store: str, tmp_path: Path) -> None:
    url, log = f"{store}/countdown", tmp_path / "s3.log"
    assert disturb(url, signal.SIGKILL, log) == -signal.SIGKILL
    assert disturb(url, signal.SIGTERM, log) == 128 + signal.SIGTERM, log.read_text()
    assert start(url, log).wait(250) == 0, log.read_text()
    assert start(tmp_path / "local", log).wait(250) == 0, log.read_text()

    assert rows(url) == rows(tmp_path / "local")
    keys = Counter((row["problem_id"], row["sample_index"]) for row in rows(url))
    assert len(keys) == PROBLEMS * SAMPLES and set(keys.values()) == {1}
    folder = RunFolder(url)
    # A stage may have written its last file after the session's last look: the next session removes it.
    assert LiveSamples(folder.storage).keys() <= keys.keys() and folder.storage.names("todo") == []
    # Not to the last bit: the problems are added up in another order.
    assert estimates(folder) == pytest.approx(estimates(RunFolder(tmp_path / "local")), rel=1e-12)
    assert len(folder.sessions()) == 2, "the one that was killed left no record; the one that was stopped did"


def test_a_bucket_that_is_not_there_ends_a_run_in_a_line_before_an_engine_starts(store: str, tmp_path: Path) -> None:
    session = start("s3://rnus/countdown", tmp_path / "log")
    assert session.wait(120) == 2
    last = (tmp_path / "log").read_text().splitlines()[-1]
    assert last == "error: s3://rnus/countdown: there is no bucket rnus; create it, or correct the URL."
