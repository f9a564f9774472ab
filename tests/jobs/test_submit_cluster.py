"""jobs.submit with a real head that wants tokens: the code goes along, the job's end comes back, a run is left, stopped, gone on with."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet
import pytest

from pipelines.runs.folder import RunFolder
from tests.interruptible import hear_ctrl_c
from tests.jobs.ray_nodes import ENVIRONMENT, ROOT, head_node
from tests.processes import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.engine, pytest.mark.slow]
SMALL = ["--engine.enforce-eager", "--engine.dtype", "float32", "--engine.kv-cache-gib", "0.1", "--sampler", "vanilla"]

FETCH = """
import json, sys
from pathlib import Path
from pipelines.submission.cluster import connect
from pipelines.submission.job import find_job
from pipelines.submission.package import working_folder
from pipelines.submission.results import fetch_results
client = connect(sys.argv[1])
with working_folder([], code=True) as folder:
    job = find_job(client, sys.argv[2])
    print(json.dumps(fetch_results(client, job, Path(sys.argv[3]), working_dir=folder, environment={})))
"""


@dataclass(frozen=True)
class Cluster:
    """A head with a token, and who has it."""

    address: str
    token: Path
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, *args: str, token: Path | None = None) -> subprocess.Popen[str]:
        """jobs.submit in a folder of the user's."""
        return subprocess.Popen(
            [sys.executable, "-m", "jobs.submit", *args, "--address", self.address],
            cwd=self.folder,
            env={**self.environment, "PYTHONPATH": str(ROOT), "RAY_AUTH_TOKEN_PATH": str(token or self.token)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=hear_ctrl_c,
        )

    def run(self, *args: str, token: Path | None = None) -> subprocess.CompletedProcess[str]:
        process = self.start(*args, token=token)
        out, err = process.communicate(timeout=500)
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    def fetch(self, run: str, to: Path) -> list[str]:
        """What a machine that does not see the run folder does at the end. In a process of its own: Ray reads once if it has a token."""
        done = subprocess.run(
            [sys.executable, "-c", FETCH, self.address, run, str(to)],
            env={**self.environment, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        names: list[str] = json.loads(done.stdout)
        return names


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("user")
    token = folder / "token"
    token.write_text("5e1f" * 16)
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "PYTHONPATH"}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    with head_node(folder, environment=environment) as address:
        yield Cluster(address, token, folder, environment)


def test_a_submitted_run_ends_as_here(cluster: Cluster, tmp_path: Path) -> None:
    rows = [{"id": f"p{i}", "problem": "3 5 7 -> 15", "answer": "15"} for i in range(3)]
    (cluster.folder / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = tmp_path / "run"
    words = ["--dataset", "problems.jsonl", "--verifier", "exact", "--samples", "4", "--sampling.max-tokens", "16"]
    done = cluster.run("passk", *words, *SMALL, "--output", str(run))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pass@4" in done.stdout and "report.html" in done.stdout
    assert pyarrow.parquet.read_table(run / "samples").num_rows == 12
    manifest = RunFolder(run).manifest()
    assert f"run {manifest.run_id}: job run-{manifest.run_id}" in done.stdout, "the run has the id that was printed"
    assert "working_dir_files" in manifest.argv[0], "the code is the one that was sent"
    assert "from the cluster" not in done.stdout, "the run folder is seen from here"

    names = cluster.fetch(manifest.run_id, tmp_path / "here")
    assert {"summary.json", "report/report.html"} <= set(names)
    for name in names:
        assert (tmp_path / "here" / name).read_bytes() == (run / name).read_bytes()


def test_a_failure_on_the_cluster_is_its_line_and_its_exit_code(cluster: Cluster, tmp_path: Path) -> None:
    done = cluster.run("passk", "--dataset", "/nowhere/absent.jsonl", "--output", str(tmp_path / "run"))
    assert done.returncode == 2
    assert "/nowhere/absent.jsonl does not exist" in done.stdout


def test_another_token_is_refused_in_one_line(cluster: Cluster, tmp_path: Path) -> None:
    other = tmp_path / "token"
    other.write_text("0bad" * 16)
    done = cluster.run("--follow", "x", token=other)
    assert done.returncode == 2
    assert (
        "did not accept this machine's token. Set RAY_AUTH_MODE=token" in done.stderr and done.stderr.count("\n") == 1
    )


def test_a_run_is_left_followed_stopped_and_gone_on_with(cluster: Cluster, tmp_path: Path) -> None:
    run = tmp_path / "long"
    words = ["passk", "--limit", "100", "--samples", "64", "--engine.max-num-seqs", "8", "--grace", "2", *SMALL]
    words += ["--output", str(run), "--log-format", "json"]
    sent = cluster.run(*words, "--no-wait")
    assert sent.returncode == 0, sent.stdout + sent.stderr
    found = re.search(r"--stop (\w+)", sent.stdout)
    assert found is not None
    run_id = found[1]

    follower = cluster.start("--follow", run_id)
    assert follower.stdout is not None
    lines: list[dict[str, object]] = []
    for line in follower.stdout:
        if line.startswith("{"):
            lines.append(json.loads(line))
            if "progress" in lines[-1] and lines[-1]["progress"]["samples"] > 0:  # type: ignore[index]
                break
    runs = [line["run"] for line in lines]
    assert set(runs[runs.index(run_id) :]) == {run_id}, "from its begin on each line of a run has its id"
    assert runs.index(run_id) < 3
    follower.send_signal(signal.SIGINT)
    _, errors = follower.communicate(timeout=60)
    assert follower.returncode == 130, errors
    assert errors.startswith("the job goes on. Follow it: python -m jobs.submit")

    again = cluster.run(*words)
    assert again.returncode == 2 and f"is under way as long-{run_id}" in again.stderr

    stopped = cluster.run("--stop", run_id)
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert "SIGTERM: finished samples are being saved" in stopped.stdout
    [session] = RunFolder(run).sessions()
    assert 0 < session.samples < 6400

    assert cluster.run(*words, "--no-wait").returncode == 0
    wait_until(lambda: "samples of others are saved" in cluster_log(cluster, run_id), timeout_s=200)
    assert cluster.run("--stop", str(run)).returncode == 0
    assert RunFolder(run).manifest().run_id == run_id


def cluster_log(cluster: Cluster, run_id: str) -> str:
    """Of the second job of a run."""
    words = [str(Path(sys.executable).parent / "ray"), "job", "logs", "--address", cluster.address, f"long-{run_id}-2"]
    done = subprocess.run(words, env=cluster.environment, capture_output=True, text=True, timeout=120)
    return done.stdout
