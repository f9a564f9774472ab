"""The whole pipeline over real Ray and real Parquet, with stand-in shards: what is written, what a stop leaves, what is refused."""

import io
import math
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import ray
from ray.actor import ActorHandle
from rich.console import Console

import jobs.watch
from actors.config import EngineConfig
from pipelines.config.identity import config_hash
from pipelines.config.run import RunConfig
from pipelines.errors import InputError, RunError
from pipelines.live.position import run_position
from pipelines.live.progress_file import read_progress
from pipelines.passk import run_passk, run_side_by_side
from pipelines.prepare.run import prepare_run
from pipelines.rollouts.config import ExportConfig
from pipelines.rollouts.export import export_rollouts
from pipelines.runs.folder import RunFolder
from pipelines.runs.plan import sample_seed
from pipelines.runs.schema import STORED_SCHEMA
from pipelines.runs.storage import LocalStorage, Storage
from pipelines.verifiers.settings import VerifierSettings
from tests.interruptible import hear_ctrl_c
from tests.pipelines.conftest import write_jsonl
from tests.pipelines.failing_sandbox import VerifierOfAFailingSandbox
from tests.pipelines.stand_in import IdleFleet, StandInFleet
from tests.pipelines.stand_in_session import session_config

pytestmark = pytest.mark.ray


def config_for(dataset: Path, output: Path, **settings: Any) -> RunConfig:
    return RunConfig(
        **{
            "sampler": "esamp",
            "dataset": str(dataset),
            "output": output,
            "verifier": "exact",
            "samples": 4,
            "work_units_per_file": 1,
            **settings,
        }
    )


def quiet() -> Console:
    return Console(file=io.StringIO())


def stored(output: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = RunFolder(output).read_samples(STORED_SCHEMA.names).to_pylist()
    return sorted(rows, key=lambda row: (row["problem_id"], row["sample_index"]))


@pytest.mark.usefixtures("local_ray")
def test_every_sample_is_stored_once_with_its_verdict(
    six_problems: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        jobs.watch.main([str(tmp_path / "run")])
    assert "has no progress.json" in capsys.readouterr().err
    config = config_for(six_problems, tmp_path / "run", shards=2)
    summary = run_passk(config, console=quiet(), start_fleet=StandInFleet)
    rows = stored(tmp_path / "run")
    assert [(row["problem_id"], row["sample_index"]) for row in rows] == [
        (f"p{p}", i) for p in range(6) for i in range(4)
    ]
    assert all(row["seed"] == sample_seed(0, row["problem_id"], row["sample_index"]) for row in rows)
    assert all((row["status"] == "correct") == (row["seed"] % 2 == 0) for row in rows)
    assert summary.pass_at[0].estimate == pytest.approx(sum(row["score"] for row in rows) / 24)
    assert {row["config_hash"] for row in rows} == {config_hash(RunFolder(tmp_path / "run").manifest().config)}
    assert rows[0]["novelty_mean"] == 0.5
    assert rows[0]["intervened_tokens"] == 3

    files = RunFolder(tmp_path / "run").files()
    assert len(files) == 6, "with one work unit to a file, a kill loses no more than what is under way"
    assert pq.read_schema(tmp_path / "run" / files[0]).equals(STORED_SCHEMA)
    shards = {(row["problem_id"], row["shard"]) for row in rows}
    assert len(shards) == 6, "the samples of a problem come from one shard"
    assert {shard for _, shard in shards} == {"shard-0", "shard-1"}, "and both shards had work"

    [session] = RunFolder(tmp_path / "run").sessions()
    assert (session.units, session.samples, session.tokens) == (6, 24, 96)

    progress = read_progress(RunFolder(tmp_path / "run").storage)
    assert progress is not None, "whoever sees the folder can see how the run goes"
    assert (progress.phase, progress.problems, progress.samples, progress.solved) == ("ended", 6, 24, summary.solved)
    assert [shard.shard for shard in progress.shards] == ["shard-0", "shard-1"]
    jobs.watch.main([str(tmp_path / "run")])
    assert "problems 6/6 | samples 24/24 | solved" in capsys.readouterr().out

    assert run_passk(config, console=quiet(), start_fleet=no_fleet) == summary, "a finished run is only summarised"


@pytest.mark.usefixtures("local_ray")
def test_an_extension_draws_the_new_samples_only(
    six_problems: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a URL, and through fsspec's file system rather than Arrow's own, as on an object store."""
    monkeypatch.setattr(LocalStorage, "ray_filesystem", Storage.ray_filesystem)
    config = replace(config_for(six_problems, tmp_path / "run", limit=3), output=f"file://{tmp_path}/run")
    run_passk(config, console=quiet(), start_fleet=StandInFleet)
    before = {(row["problem_id"], row["sample_index"]): row for row in stored(tmp_path / "run")}
    extended = run_passk(config, extend=7, console=quiet(), start_fleet=StandInFleet)
    rows = {(row["problem_id"], row["sample_index"]): row for row in stored(tmp_path / "run")}
    assert list(rows) == [(f"p{p}", i) for p in range(3) for i in range(7)]
    assert {key: str(rows[key]) for key in before} == {key: str(row) for key, row in before.items()}
    assert {row["unit_id"] for key, row in rows.items() if key not in before} == {"p0#4", "p1#4", "p2#4"}
    assert all(row["seed"] == sample_seed(0, *key) for key, row in rows.items())
    assert (extended.samples_per_problem, extended.group_sizes) == (7, [4, 3])
    assert "extension rounds of 4, 3" in str(extended.warnings)
    assert run_passk(config, extend=7, console=quiet(), start_fleet=no_fleet) == extended
    with pytest.raises(InputError, match="--extend 7 goes on with it"):
        run_passk(config, console=quiet(), start_fleet=no_fleet)


def no_fleet(*args: object, **kwargs: object) -> Any:
    raise AssertionError("nothing is left to draw")


@pytest.mark.usefixtures("local_ray")
def test_a_task_without_a_verifier_leaves_samples_without_a_verdict(tmp_path: Path) -> None:
    dataset = write_jsonl(tmp_path / "openings.jsonl", [{"id": "tale", "opening": "There was once a king"}])
    console = quiet()
    config = RunConfig(
        sampler="esamp", task="creative_writing", dataset=str(dataset), samples=2, output=tmp_path / "run"
    )
    summary = run_passk(config, console=console, start_fleet=StandInFleet)
    assert [(row["status"], math.isnan(row["score"])) for row in stored(tmp_path / "run")] == [("unverified", True)] * 2
    assert stored(tmp_path / "run")[0]["prompt"] == "There was once a king"
    assert (summary.pass_at, summary.solved, summary.errors) == ([], None, 0)
    assert isinstance(console.file, io.StringIO)
    assert "There was once a king" in console.file.getvalue(), "the first prompt is shown before the run"
    with pytest.raises(InputError, match="no sample of this run has a verdict"):
        export_rollouts(RunFolder(tmp_path / "run"), tmp_path / "rollouts.parquet", ExportConfig())


@pytest.mark.usefixtures("local_ray")
def test_a_unit_that_fails_leaves_its_reason_and_is_tried_again(tmp_path: Path) -> None:
    rows = [{"problem": "say 1", "answer": "1"}, {"problem": "impossible 2", "answer": "2"}]
    config = config_for(write_jsonl(tmp_path / "data.jsonl", rows), tmp_path / "run")
    summary = run_passk(config, console=quiet(), start_fleet=StandInFleet)
    assert summary.errors == 4
    failed = [row for row in stored(tmp_path / "run") if row["problem_id"] == "1"]
    assert [row["status"] for row in failed] == ["error"] * 4
    assert all("'impossible 2' is too long" in row["error"] for row in failed)
    run = prepare_run(config)
    assert run.folder.write_todo(run.manifest, 0)["problem_id"].to_pylist() == ["1"]


@pytest.mark.usefixtures("local_ray")
def test_an_engine_that_breaks_ends_the_run_and_what_was_finished_stays(tmp_path: Path) -> None:
    rows = [{"problem": "say 1", "answer": "1"}, {"problem": "breaks 2", "answer": "2"}]
    config = config_for(write_jsonl(tmp_path / "data.jsonl", rows), tmp_path / "run")
    with pytest.raises(
        RunError, match=r"RuntimeError: the engine broke.*of 2 work units are saved.*same command goes on"
    ):
        run_passk(config, console=quiet(), start_fleet=StandInFleet)
    assert "the engine broke" in (tmp_path / "run" / "failure.txt").read_text()


@pytest.mark.usefixtures("local_ray")
def test_a_verifier_that_cannot_start_where_it_runs_ends_the_run_in_one_line(
    six_problems: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The judge's key is set for the driver only, after Ray's processes were started: the check passes, the actor fails."""
    monkeypatch.setenv("A_KEY_OF_THE_DRIVER", "secret")
    judge = {"judge_url": "http://127.0.0.1:9/v1", "judge_model": "m", "judge_key_variable": "A_KEY_OF_THE_DRIVER"}
    config = config_for(six_problems, tmp_path / "run", verifier="judge", **judge)
    with pytest.raises(RunError, match=r"A_KEY_OF_THE_DRIVER, which is not set.*0 of 6 work units are saved"):
        run_passk(config, console=quiet(), start_fleet=StandInFleet)


@pytest.mark.usefixtures("local_ray")
def test_a_sandbox_that_fails_while_the_run_goes_on_ends_it_in_one_line_and_no_sample_is_called_wrong(
    six_problems: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(settings: VerifierSettings, answers: Path, number: int) -> list[ActorHandle]:
        return [ray.remote(VerifierOfAFailingSandbox).remote(settings, answers)]

    monkeypatch.setattr("pipelines.session.start_verifiers", start)
    with pytest.raises(RunError) as ended:
        run_passk(config_for(six_problems, tmp_path / "run"), console=quiet(), start_fleet=StandInFleet)
    told = str(ended.value)
    assert (
        "the code sandbox (unsafe) fails on this machine" in told and "fork: Resource temporarily unavailable" in told
    )
    assert "of 6 work units are saved" in told and "\n" not in told and "Traceback" not in told
    logs = (tmp_path / "run" / "live").glob("*.parquet")
    statuses = {status for log in logs for status in pq.read_table(log)["status"].to_pylist()}
    assert statuses <= {"sandbox_error", None}, "None: no verdict yet"


@pytest.mark.usefixtures("local_ray")
def test_esamp_that_does_nothing_fails_loudly(six_problems: Path, tmp_path: Path) -> None:
    config = config_for(six_problems, tmp_path / "run", limit=1)
    with pytest.raises(RunError, match="none was intervened on"):
        run_passk(config, console=quiet(), start_fleet=IdleFleet)


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engine": EngineConfig(num_gpus=1)}, r"need 1 GPU\(s\), but the cluster has 0.*--engine.num-gpus 0"),
        ({"shards": 50}, r"need 50 CPU\(s\), but the cluster has 4"),
        ({"shards": 3}, r"reading and writing need 5 CPUs, but the cluster has 4"),
    ],
)
def test_what_the_cluster_cannot_hold_is_refused_before_anything_is_written(
    six_problems: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run_passk(config_for(six_problems, tmp_path / "run", **changes), console=quiet(), start_fleet=no_fleet)
    assert not (tmp_path / "run").exists()


def test_runs_side_by_side_are_all_checked_before_the_first_begins(six_problems: Path, tmp_path: Path) -> None:
    good = config_for(six_problems, tmp_path / "run")
    with pytest.raises(InputError, match="does not exist"):
        run_side_by_side([good, replace(good, model="/nowhere")], console=quiet(), start_fleet=no_fleet)
    assert not (tmp_path / "run").exists()


def stop_after(parts: int, by: signal.Signals, dataset: Path, output: Path) -> tuple[int, str]:
    """Run a session until it has saved so many more parts, then send it the signal: exit code and standard error."""
    before = len(list(output.glob("samples/*.parquet")))
    session = subprocess.Popen(
        [sys.executable, "-m", "tests.pipelines.stand_in_session", str(dataset), str(output)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,
    )
    while session.poll() is None and len(list(output.glob("samples/*.parquet"))) < before + parts:
        time.sleep(0.05)
    session.send_signal(by)
    _, errors = session.communicate(timeout=60)
    return session.returncode, errors


@pytest.mark.usefixtures("local_ray")
def test_a_run_that_was_stopped_goes_on_with_the_same_command(tmp_path: Path) -> None:
    """Ctrl-C, then kill -9, then to the end: no sample twice, none missing, and the seeds of an uninterrupted run."""
    rows = [{"problem": f"slow {i}", "answer": str(i)} for i in range(16)]
    dataset, output = write_jsonl(tmp_path / "data.jsonl", rows), tmp_path / "run"

    code, errors = stop_after(2, signal.SIGINT, dataset, output)
    assert code == 130
    assert "of 16 work units are saved" in errors
    assert "Traceback" not in errors
    after_stop = len(stored(output))
    assert after_stop >= 8

    code, _ = stop_after(2, signal.SIGKILL, dataset, output)
    assert code == -signal.SIGKILL
    after_kill = len(stored(output))
    assert after_stop + 8 <= after_kill < 64, "the kill came in the middle"

    position = run_position(RunFolder(output), RunFolder(output).manifest())
    assert (position.problems, position.samples, position.finished) == (16, 64, after_kill)
    assert position.tokens == 4 * after_kill
    assert sum(map(len, position.missing["missing"].to_pylist())) == 64 - after_kill, "the line starts where the run is"

    run_passk(session_config(dataset, output), console=quiet(), start_fleet=StandInFleet)
    rows = stored(output)
    keys = [(row["problem_id"], row["sample_index"]) for row in rows]
    assert len(keys) == len(set(keys)) == 64
    assert all(row["seed"] == sample_seed(0, row["problem_id"], row["sample_index"]) for row in rows)
    stopped, last = RunFolder(output).sessions()
    assert stopped.samples >= after_stop, "a session that a signal ended is recorded, one that was killed is not"
    assert last.samples <= 64 - after_kill, "what was in live/ with its verdict is not generated again"


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of 64 KiB; skips where none can be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.usefixtures("local_ray")
def test_a_full_disk_ends_the_run_in_one_line_and_what_was_finished_stays(small_disk: Path, tmp_path: Path) -> None:
    rows = [{"problem": f"say {i}", "answer": str(i)} for i in range(12)]
    config = config_for(write_jsonl(tmp_path / "data.jsonl", rows), small_disk / "run")
    with pytest.raises(RunError, match=r"the disk of .* is full.*of 12 work units are saved"):
        run_passk(config, console=quiet(), start_fleet=StandInFleet)
    assert stored(small_disk / "run")
