"""A job of a cluster looks as if it ran here: what is sent, what is shown, how it ends. Ray itself is in tests/jobs/test_ray_job.py."""

import asyncio
import base64
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ray.job_submission import JobStatus
from rich.console import Console

from pipelines.errors import InputError, RunError
from pipelines.live.progress_file import RunProgress, write_progress
from pipelines.runs.storage import storage_at
from pipelines.submission import follow as follow_module
from pipelines.submission import job as job_module
from pipelines.submission.cluster import one_line_cluster_errors
from pipelines.submission.follow import JobDisplay, exit_code, follow, progress_in, reachable
from pipelines.submission.job import JobOrder, RunJob, find_job, run_jobs, stop, submit
from pipelines.submission.package import files_named, working_folder
from pipelines.submission.results import fetch_results, print_results, unpack
from tests.pipelines.submission.fake_cluster import FakeCluster


def order(output: str = "/shared/runs/math500-esamp") -> JobOrder:
    return JobOrder(
        module="jobs.passk",
        words=["--template", "{problem} {answer}"],
        output=output,
        grace_s=20.5,
        working_dir=None,
        environment={"HF_TOKEN": "secret"},
    )


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=200)


def log_file() -> Console:
    return Console(file=io.StringIO(), width=40)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_head_that_cannot_start_jobs_is_told_with_the_place_to_look() -> None:
    """Ray's own message, as a second Ray on the head's machine brought it about, advises to try again for ever."""
    with (
        pytest.raises(RunError, match=r"No available agent.*dashboard_agent\.log.*--dashboard-agent-listen-port"),
        one_line_cluster_errors(),
    ):
        raise RuntimeError(
            "Request failed with status code 500: No available agent to submit job, please try again later.."
        )
    with pytest.raises(RunError, match=r"^Ray's job server: gone$"), one_line_cluster_errors():
        raise OSError("gone")


def test_a_job_is_named_after_its_run_and_told_its_id() -> None:
    cluster = FakeCluster()
    job = submit(cluster, order())
    assert job.submission_id == f"math500-esamp-{job.run_id}"
    [sent] = cluster.jobs.values()
    assert sent["entrypoint"] == "python -m jobs.passk --template '{problem} {answer}'"
    variables = sent["runtime_env"]["env_vars"]
    assert (variables["ESAMP_RUN_ID"], variables["HF_TOKEN"]) == (job.run_id, "secret")
    assert variables["RAY_JOB_STOP_WAIT_TIME_S"] == "81", "--grace and a minute: Ray kills after 3 s otherwise"


def test_a_run_that_goes_on_is_another_job_with_the_same_run_id() -> None:
    cluster = FakeCluster()
    first, second = submit(cluster, order()), submit(cluster, order())
    assert (second.run_id, second.submission_id) == (first.run_id, f"{first.submission_id}-2")
    assert submit(cluster, order("/shared/runs/other")).run_id != first.run_id


def test_a_folder_has_one_driver_at_a_time() -> None:
    cluster = FakeCluster(end=JobStatus.RUNNING)
    running = submit(cluster, order())
    with pytest.raises(InputError, match=f"is under way as {running.submission_id}.*--stop {running.run_id}"):
        submit(cluster, order())


def test_a_run_is_found_by_its_id_its_folder_or_its_job() -> None:
    cluster = FakeCluster()
    submit(cluster, order())
    newest = submit(cluster, order())
    for name in (newest.run_id, "/shared/runs/math500-esamp", newest.submission_id):
        assert find_job(cluster, name).submission_id == newest.submission_id
    with pytest.raises(InputError, match=rf"no job of a run abc; .*{newest.run_id} \(/shared/runs/math500-esamp\)\.$"):
        find_job(cluster, "abc")
    assert next(job.submission_id for job in run_jobs(cluster)) == newest.submission_id


def test_a_job_that_has_ended_cannot_be_stopped() -> None:
    cluster = FakeCluster(end=JobStatus.RUNNING)
    job = submit(cluster, order())
    stop(cluster, job)
    assert cluster.stopped == [job.submission_id]
    cluster.jobs[job.submission_id]["status"] = JobStatus.SUCCEEDED
    with pytest.raises(InputError, match="has ended already"):
        stop(cluster, find_job(cluster, job.run_id))


@pytest.mark.parametrize(
    ("status", "driver", "code"),
    [
        (JobStatus.SUCCEEDED, 0, 0),
        (JobStatus.FAILED, 2, 2),
        (JobStatus.FAILED, -9, 137),
        (JobStatus.FAILED, None, 1),
        (JobStatus.STOPPED, None, 143),
    ],
)
def test_a_job_ends_with_the_exit_code_that_it_would_have_here(
    status: JobStatus, driver: int | None, code: int
) -> None:
    cluster = FakeCluster(end=status, exit_code=driver)
    assert exit_code(cluster.get_job_info(submit(cluster, order()).submission_id)) == code


LOG = [
    "first prompt\nloading model (weights, com",
    "piling) 0:01\n",
    "problems 0/2 | samples 1/8 | solved 0\n",
    "the end\nno line break",
]


def test_a_log_that_is_no_terminal_holds_every_line_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, console = FakeCluster(log=LOG), log_file()
    details = asyncio.run(follow(cluster, submit(cluster, order()), console))
    assert details.status == JobStatus.SUCCEEDED
    assert shown(console) == "".join(LOG) + "\n"


def test_a_lost_connection_is_made_again_and_no_line_comes_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow_module, "RECONNECT_S", 0.001)
    cluster, console = FakeCluster(log=[LOG[0], "", *LOG[1:3], "", LOG[3]]), log_file()
    asyncio.run(follow(cluster, submit(cluster, order()), console))
    assert (shown(console), cluster.connections) == ("".join(LOG) + "\n", 3)


def test_a_cluster_that_is_gone_is_an_error_with_the_way_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow_module, "RECONNECT_S", 0.01)
    monkeypatch.setattr(follow_module, "LONGEST_SILENCE_S", 0.05)
    cluster = FakeCluster(log=[""] * 1000)
    with pytest.raises(RunError, match="send the same command again, and the run goes on"):
        asyncio.run(follow(cluster, submit(cluster, order()), log_file()))
    assert cluster.connections == 6


def test_on_a_terminal_progress_lines_are_one_live_line() -> None:
    console = terminal()
    with JobDisplay(console) as display:
        for line in ("first prompt", "problems 0/2 | samples 1/8 | solved 0", "warning: shard-0: lost"):
            display.line(line)
        assert "samples 1/8" in shown(console)
        before = len(shown(console))
        display.line("problems 1/2 | samples 5/8 | solved 1")
        assert "first prompt" not in shown(console)[before:], "only the live line is drawn again"
    assert "warning: shard-0: lost" in shown(console)


PROGRESS = RunProgress(phase="generating", at=1.0, seconds=1.0, samples=3, samples_planned=8, problems_planned=2)


def test_progress_of_a_run_folder_that_is_seen_here_replaces_the_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_module, "FOLDER_INTERVAL_S", 0.01)
    write_progress(storage_at(tmp_path), PROGRESS)
    monkeypatch.setattr(follow_module, "known_run_id", lambda output: "abc" if output == str(tmp_path) else None)
    job = RunJob(submission_id="x-abc", run_id="abc", output=str(tmp_path), is_over=False)
    assert reachable(job) is not None
    assert reachable(RunJob(submission_id="x-abd", run_id="abd", output=str(tmp_path), is_over=False)) is None, (
        "a folder of the same name that holds another run is another machine's"
    )

    async def watched() -> str:
        console = terminal()
        with JobDisplay(console) as display:
            watch = asyncio.create_task(follow_module.watch_folder(job, display))
            await asyncio.sleep(0.2)
            assert "samples" not in shown(console), "an earlier session's numbers are not this one's"
            write_progress(storage_at(tmp_path), RunProgress.from_json(PROGRESS.to_json().replace(": 3", ": 4")))
            while "samples 4/8" not in shown(console):
                await asyncio.sleep(0.01)
            display.line("problems 0/2 | samples 1/8 | solved 0")
            watch.cancel()
        return shown(console)

    assert "samples 1/8" not in asyncio.run(asyncio.wait_for(watched(), 30))
    assert progress_in(storage_at(tmp_path / "absent")) is None


def test_results_come_through_a_second_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, here = tmp_path / "run", tmp_path / "here"
    (run / "report").mkdir(parents=True)
    (run / "summary.json").write_text('{"solved": 3}')
    (run / "report" / "report.html").write_bytes(bytes(range(256)) * 40)
    (run / "samples").mkdir()
    (run / "samples" / "large.parquet").write_text("stays")
    print_results(str(run))
    cluster = FakeCluster(outputs={"print_results": f"Running entrypoint ...\n{capsys.readouterr().out}\n"})
    job = RunJob(submission_id="run-abc", run_id="abc", output=str(run), is_over=True)
    names = fetch_results(cluster, job, here, working_dir=None, environment={})
    assert names == ["summary.json", "report/report.html"]
    assert (here / "report" / "report.html").read_bytes() == bytes(range(256)) * 40
    assert (here / "summary.json").read_text() == '{"solved": 3}'
    [second] = cluster.jobs.values()
    assert repr(str(run)) in second["entrypoint"].replace("'\"'\"'", "'"), "quoted for the shell"


def test_results_that_did_not_come_are_an_error(tmp_path: Path) -> None:
    cluster = FakeCluster(outputs={"print_results": "Traceback"}, end=JobStatus.FAILED)
    job = RunJob(submission_id="run-abc", run_id="abc", output="/shared/x", is_over=True)
    with pytest.raises(RunError, match=r"results of /shared/x did not come: .* run-abc-results-\d+"):
        fetch_results(cluster, job, tmp_path / "here", working_dir=None, environment={})


def test_results_cannot_leave_their_folder(tmp_path: Path) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../outside"), io.BytesIO())
    with pytest.raises(tarfile.OutsideDestinationError):
        unpack(base64.encodebytes(archive.getvalue()).decode(), tmp_path / "here")


def test_code_and_named_files_are_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for name in ("data/problems.jsonl", "my_task.py", "other.py", "run.yaml"):
        (tmp_path / name).write_text("x")
    words = [
        "--dataset",
        "data/problems.jsonl",
        "--task",
        "my_task:TASK",
        "--config=run.yaml",
        "--template",
        "a\n" * 400,
    ]
    files = files_named([*words, "--model", str(tmp_path / "other.py"), "--samples", "4"])
    assert [str(file) for file in files] == ["data/problems.jsonl", "my_task.py", "run.yaml"]
    with working_folder(files, code=True) as folder:
        assert folder is not None
        sent = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"data/problems.jsonl", "my_task.py", "run.yaml", "jobs/passk.py", "pipelines/report/page.css"} <= sent
    assert not [name for name in sent if name.startswith("tests/") or "__pycache__" in name or name.endswith(".so")]
    with working_folder([], code=False) as nothing:
        assert nothing is None
    (tmp_path / "data" / "below").mkdir()
    monkeypatch.chdir(tmp_path / "data" / "below")
    with pytest.raises(InputError, match="lies outside the current folder"):
        files_named(["../problems.jsonl"])


def test_a_head_that_has_just_started_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_module, "AGENT_POLL_S", 0.001)
    cluster, answers = FakeCluster(), ["No available agent to submit job, please try again later."] * 3
    submit_at_last = cluster.submit_job

    def busy(**job: Any) -> str:
        if answers:
            raise RuntimeError(answers.pop())
        return submit_at_last(**job)

    monkeypatch.setattr(cluster, "submit_job", busy)
    submit(cluster, order())
    answers.append("the disk is full")
    with pytest.raises(RunError, match="Ray's job server: the disk is full"):
        submit(cluster, order())
