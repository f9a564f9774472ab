"""What jobs.submit refuses before anything is sent, and what it sends. Ray itself is in test_ray_job.py."""

import os
from pathlib import Path
from typing import Any

import pytest
from ray.job_submission import JobStatus

import jobs.submit
from pipelines.submission.cluster import connect
from pipelines.submission.results import print_results
from tests.pipelines.submission.fake_cluster import FakeCluster

OUTPUT = ["--output", "/shared-disk/runs/x"]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeCluster:
    fake = FakeCluster(log=["hello\n"])
    monkeypatch.setattr("pipelines.submission.cluster.JobSubmissionClient", lambda address: fake)
    monkeypatch.chdir(tmp_path)
    return fake


def submit(*args: str) -> Any:
    with pytest.raises(SystemExit) as end:
        jobs.submit.main(list(args))
    return end.value.code


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["passk", *OUTPUT, "--samples", "0"], "samples"),
        (["passk", *OUTPUT, "--part", "0/2"], "partition"),
        (["passk", *OUTPUT, "--config", "absent.yaml"], "config file absent.yaml cannot be read"),
        (["passk"], "give --output: an absolute path"),
        (["passk", "--output", "runs/x"], "--output runs/x is a folder of this machine"),
        (["passk", *OUTPUT, "--env", "NOT_SET_HERE"], "--env NOT_SET_HERE: this shell has no such variable"),
        (["passk", *OUTPUT, "--stop", "abc"], "give one of"),
        ([], "give one of"),
        (["pask", *OUTPUT], "pask is no job that can be sent; those are: passk."),
        (["--stop", "abc", "--samples=4"], "--samples=4 is an option of a job"),
        (["--follow", "abc"], "the cluster has no job of a run abc"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_sent(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str], args: list[str], line: str
) -> None:
    assert submit(*args) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and line in error and error.count("\n") == 1
    assert cluster.jobs == {}


def test_an_option_that_the_job_does_not_have_is_refused_by_its_parser(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit("passk", *OUTPUT, "--sampels", "4") == 2
    assert "--sampels" in capsys.readouterr().err
    assert cluster.jobs == {}


def test_a_model_that_is_a_folder_here_is_refused(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "my-model").mkdir()
    assert submit("passk", *OUTPUT, "--model", "my-model") == 2
    assert "--model my-model is a folder of this machine" in capsys.readouterr().err


def test_a_job_is_sent_with_its_own_words_and_ends_with_its_code(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run.yaml").write_text("dataset: problems.jsonl\n")
    (tmp_path / "problems.jsonl").write_text("{}")
    monkeypatch.setenv("HF_TOKEN", "planted-secret")
    cluster.end, cluster.exit_code = JobStatus.FAILED, 3
    (tmp_path / "of-the-cluster").mkdir()
    (tmp_path / "of-the-cluster" / "failure.txt").write_text("why")
    print_results(str(tmp_path / "of-the-cluster"))
    cluster.outputs = {"print_results": capsys.readouterr().out}
    code = submit(
        "passk", "--address", "http://h:8265", "--config", "run.yaml", *OUTPUT, "--env", "HF_TOKEN", "--samples=4"
    )
    assert code == 3
    name, job = next(iter(cluster.jobs.items()))
    assert job["entrypoint"] == "python -m jobs.passk --config run.yaml --output /shared-disk/runs/x --samples=4"
    assert {"run.yaml", "problems.jsonl", "jobs/passk.py"} <= set(cluster.files[name])
    shown = capsys.readouterr()
    assert f"from the cluster: runs/{name}/failure.txt" in shown.out
    assert (tmp_path / "runs" / name / "failure.txt").read_text() == "why"
    assert "hello" in shown.out and "planted-secret" not in shown.out + shown.err


def test_ctrl_c_leaves_the_job_running_and_says_how_to_come_back(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.submission.follow.follow", interrupted)
    assert submit("passk", "--address", "http://h:8265", *OUTPUT) == 130
    error = capsys.readouterr().err
    assert error.startswith("the job goes on. Follow it: python -m jobs.submit --address http://h:8265 --follow ")
    assert cluster.stopped == []


def test_a_stop_is_followed_to_the_end_and_ends_well(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.end = JobStatus.RUNNING
    jobs.submit.main(["passk", *OUTPUT, "--no-wait"])
    assert "stop it: python -m jobs.submit --stop" in capsys.readouterr().out
    [name] = cluster.jobs

    def stopped(job_id: str) -> bool:
        cluster.jobs[job_id]["status"] = JobStatus.STOPPED
        cluster.stopped.append(job_id)
        return True

    cluster.stop_job = stopped  # type: ignore[method-assign]
    assert submit("--stop", "/shared-disk/runs/x") == 0
    assert cluster.stopped == [name]
    assert submit("--follow", name) == 143
    assert submit("--stop", name) == 2


def test_a_job_that_could_not_start_says_why(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.end, cluster.exit_code = JobStatus.FAILED, None
    assert submit("passk", *OUTPUT) == 1
    assert "did not start: Job entrypoint command failed" in capsys.readouterr().err


def test_a_typed_address_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("pipelines.submission.cluster.JobSubmissionClient", asked.append)
    monkeypatch.setenv("RAY_ADDRESS", "http://other:8265")
    connect(None)
    connect("http://typed:8265")
    assert asked == ["http://other:8265", "http://typed:8265"]
    assert "RAY_ADDRESS" not in os.environ, "Ray would prefer it"


def test_nobody_at_the_address_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert submit("passk", *OUTPUT, "--address", "http://127.0.0.1:9") == 2
    assert "no Ray cluster takes jobs at http://127.0.0.1:9" in capsys.readouterr().err
