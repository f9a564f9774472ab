"""A submitted job on a head and two workers, each with an address of its own: one worker loses its power, and the run comes to its end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.live.progress_file import read_progress
from pipelines.runs.folder import RunFolder
from pipelines.runs.storage import storage_at
from tests.jobs.network_nodes import cluster, kill_node, reason_not_to
from tests.jobs.ray_nodes import ENVIRONMENT, ROOT
from tests.processes import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.engine, pytest.mark.slow]
ADDRESSES = ["10.77.0.1", "10.77.0.2", "10.77.0.3"]


def test_a_submitted_run_outlives_a_worker(tmp_path: Path) -> None:
    if reason := reason_not_to():
        pytest.skip(reason)
    token, run = tmp_path / "token", tmp_path / "runs" / "three-nodes"
    token.write_text("5e1f" * 16)
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "PYTHONPATH"}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    # The namespaces share this machine's name, whose address is in none of them: torch would look for itself there.
    environment["GLOO_SOCKET_IFNAME"] = "eth0"
    words = ["--limit", "60", "--samples", "16", "--shards", "2", "--sampler", "vanilla", "--output", str(run)]
    words += ["--engine.enforce-eager", "--engine.dtype", "float32", "--engine.kv-cache-gib", "0.1", "--no-report"]
    words += ["--engine.max-num-seqs", "16", "--engine.num-cpus", "1"]
    with cluster(tmp_path / "nodes", ADDRESSES, environment) as address:
        submitted = subprocess.Popen(
            [sys.executable, "-m", "jobs.submit", "passk", "--address", address, *words],
            cwd=tmp_path,
            env={**environment, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

        def both_work() -> bool:
            assert submitted.poll() is None, submitted.communicate()[0]
            progress = read_progress(storage_at(run))
            return progress is not None and len([row for row in progress.shards if row.finished > 0]) == 2

        wait_until(both_work)
        assert kill_node(ADDRESSES[2]) > 5
        output, _ = submitted.communicate(timeout=500)
        assert submitted.returncode == 0, output
    assert "pass@16" in output
    folder = RunFolder(run)
    rows = folder.read_samples(["problem_id", "sample_index"])
    assert (rows.num_rows, len(folder.files()) > 0) == (960, True)
    [session] = folder.sessions()
    assert session.counters_were_reset, "the lost node had work"
    lines = [json.loads(line) for path in (run / "logs").iterdir() for line in path.read_text().splitlines()]
    assert {line["run"] for line in lines} == {folder.manifest().run_id}
    assert any(line["source"] == "router" for line in lines), (
        "the loss can be read in the run folder once the cluster is gone"
    )
