"""What a session has saved of work units that are still under way, and what the next one makes of it: real Ray, stand-in shards."""

import io
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from pipelines.config.early_stopping import StoppingConfig
from pipelines.config.run import RunConfig
from pipelines.live.log import LIVE, LiveSamples
from pipelines.live.position import lacks_samples
from pipelines.passk import run_passk
from pipelines.prepare.run import prepare_run
from pipelines.runs.folder import RunFolder
from pipelines.runs.plan import sample_seed
from pipelines.runs.schema import STORED_SCHEMA
from tests.interruptible import hear_ctrl_c
from tests.pipelines.conftest import write_jsonl
from tests.pipelines.stand_in import StandInFleet
from tests.pipelines.stand_in_session import session_config
from tests.pipelines.stored_rows import row
from tests.processes import kill, wait_until, workers

pytestmark = pytest.mark.ray
PROBLEMS, SAMPLES = 3, 4


def dataset_of(tmp_path: Path, kind: str) -> Path:
    """Problems of a kind that the stand-in knows."""
    rows = [{"id": f"p{i}", "problem": f"{kind} {i}", "answer": str(i)} for i in range(PROBLEMS)]
    return write_jsonl(tmp_path / "data.jsonl", rows)


def finish(config: RunConfig) -> dict[tuple[str, int], dict[str, Any]]:
    """Go on with the run to its end: its rows, each of which is in the output files once."""
    run_passk(config, console=Console(file=io.StringIO()), start_fleet=StandInFleet)
    folder = RunFolder(config.run_folder)
    rows = folder.read_samples(STORED_SCHEMA.names).to_pylist()
    keys = [(row["problem_id"], row["sample_index"]) for row in rows]
    assert Counter(keys) == Counter((f"p{p}", index) for p in range(PROBLEMS) for index in range(SAMPLES))
    assert sum(folder.read_rows(name, [0]).num_rows for name in folder.files()) == PROBLEMS, "a file for each unit"
    assert folder.storage.names(LIVE) == [], "logs of samples that lie in output files are removed"
    return dict(zip(keys, rows, strict=True))


@pytest.mark.usefixtures("local_ray")
def test_a_session_goes_on_from_saved_samples_and_scores_those_without_a_verdict(tmp_path: Path) -> None:
    config = session_config(dataset_of(tmp_path, "say"), tmp_path / "run")
    run = prepare_run(config)
    run.folder.open(run.manifest, run.plan)
    logged = [
        row(0, 0, text="0", status="wrong", detail="of the former session"),
        row(0, 2, text="no idea", status=None),
        row(1, 1, text="1", status=None),
    ]
    with run.folder.storage.atomic_file(f"{LIVE}/former-a-000000.parquet") as file:
        pa.parquet.write_table(pa.Table.from_pylist(logged, schema=STORED_SCHEMA), file)

    rows = finish(config)
    kept = {key: (rows[key]["status"], rows[key]["token_ids"]) for key in (("p0", 0), ("p0", 2), ("p1", 1))}
    assert kept == {("p0", 0): ("wrong", [2, 3]), ("p0", 2): ("wrong", [2, 3]), ("p1", 1): ("correct", [2, 3])}
    assert all(one["token_ids"] == [3, 4, 5, 6] for key, one in rows.items() if key not in kept), "the stand-in's"
    resumed = {problem for (problem, _), one in rows.items() if one["group_resumed"]}
    assert resumed == {"p0", "p1"} and all(rows["p0", index]["group_resumed"] for index in range(SAMPLES))
    [session] = RunFolder(config.run_folder).sessions()
    assert session.samples == PROBLEMS * SAMPLES - 1, "the one with a verdict was finished before"


def start_no_fleet(*args: object, **settings: object) -> StandInFleet:
    raise AssertionError("an engine was started for nothing")


@pytest.mark.usefixtures("local_ray")
def test_no_engine_is_started_where_only_verdicts_and_output_files_are_missing(tmp_path: Path) -> None:
    """ESamp, which must have taken part in what a session generates: here it generates nothing."""
    config = session_config(dataset_of(tmp_path, "say"), tmp_path / "run")
    run = prepare_run(config)
    run.folder.open(run.manifest, run.plan)
    logged = [
        row(problem, index, text=str(problem), status=None if index % 2 else "correct")
        for problem in range(PROBLEMS)
        for index in range(SAMPLES)
    ]
    with run.folder.storage.atomic_file(f"{LIVE}/former-a-000000.parquet") as file:
        pa.parquet.write_table(pa.Table.from_pylist(logged, schema=STORED_SCHEMA), file)
    assert not lacks_samples(run.folder, run.manifest)

    console = Console(file=io.StringIO(), width=400)
    summary = run_passk(config, console=console, start_fleet=start_no_fleet)
    assert (summary.problems, summary.solved) == (PROBLEMS, PROBLEMS)
    assert isinstance(console.file, io.StringIO) and "no engine is started" in console.file.getvalue()
    [session] = run.folder.sessions()
    assert (session.units, session.samples, session.shards) == (PROBLEMS, PROBLEMS * SAMPLES // 2, [])
    assert run.folder.storage.names(LIVE) == []


@pytest.mark.usefixtures("local_ray")
def test_a_problem_stops_when_the_verdict_is_there_and_not_when_its_unit_ends(tmp_path: Path) -> None:
    """Sample 3 of each problem ends only if it is cancelled."""
    solved = [i for i in range(100) if any(sample_seed(0, f"p{i}", index) % 2 == 0 for index in range(3))][:2]
    rows = [{"id": f"p{i}", "problem": f"endless {i}", "answer": str(i)} for i in solved]
    config = session_config(write_jsonl(tmp_path / "data.jsonl", rows), tmp_path / "run")
    config = RunConfig.from_dict(
        {**config.to_dict(), "stop": {"successes": 1, "give_up_after": None}, "samples_per_work_unit": 4}
    )
    assert config.stop == StoppingConfig(successes=1)
    summary = run_passk(config, console=Console(file=io.StringIO()), start_fleet=StandInFleet)
    assert summary.solved == 2


@pytest.mark.usefixtures("local_ray")
def test_a_shard_that_stands_still_is_restarted_and_generates_only_what_is_missing(tmp_path: Path) -> None:
    config = session_config(dataset_of(tmp_path, "stalls"), tmp_path / "run", stall_after=1 / 60)
    console = Console(file=io.StringIO(), width=400)
    run_passk(config, console=console, start_fleet=StandInFleet)
    rows = finish(config)
    assert any(one["group_resumed"] for one in rows.values())
    [session] = RunFolder(config.run_folder).sessions()
    assert "shard_stalled" in {warning["kind"] for warning in session.warnings}
    assert isinstance(console.file, io.StringIO) and "shard-0 generated no token" in console.file.getvalue()


class SessionProcess:
    """A session in a process of its own, whose problems are uneven: their sample 3 takes `seconds`."""

    def __init__(self, tmp_path: Path, *, seconds: float, **settings: float) -> None:
        self.output = tmp_path / "run"
        self._witness = tmp_path / "witness"
        self._witness.touch()
        command = [sys.executable, "-m", "tests.pipelines.stand_in_session"]
        arguments = [str(dataset_of(tmp_path, "uneven")), str(self.output)]
        numbers = [f"{name}={value}" for name, value in settings.items()]
        waits = {"STAND_IN_SAMPLE_3_S": str(seconds), "STAND_IN_WITNESS": str(self._witness)}
        self.process = subprocess.Popen(
            [*command, *arguments, *numbers],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **waits},
            start_new_session=True,
            preexec_fn=hear_ctrl_c,
        )

    def wait_for_uneven_units(self, units: int = 2) -> None:
        """Until so many units wait for their last sample only. Two are under way at a time."""
        wait_until(lambda: self.process.poll() is not None or len(self.waits()) >= units, timeout_s=400)
        assert self.process.poll() is None, self.process.communicate()

    def waits(self) -> list[str]:
        return self._witness.read_text().splitlines()

    def saved(self) -> int:
        """Samples in live/ that have their verdict."""
        return len(LiveSamples(RunFolder(self.output).storage).finished())

    def end(self) -> tuple[int, str, str]:
        out, errors = self.process.communicate(timeout=90)
        return self.process.returncode, out, errors


@pytest.fixture
def start_session(tmp_path: Path) -> Iterator[Callable[..., SessionProcess]]:
    """Starts them; none outlives its test."""
    sessions: list[SessionProcess] = []

    def start(**settings: float) -> SessionProcess:
        sessions.append(SessionProcess(tmp_path, **settings))
        return sessions[-1]

    yield start
    for session in sessions:
        session.process.kill()


def test_after_kill_9_every_sample_that_was_saved_is_there_once(
    tmp_path: Path, start_session: Callable[..., SessionProcess], local_ray: None
) -> None:
    session = start_session(seconds=1000, save_every=0.5)
    session.wait_for_uneven_units()
    wait_until(lambda: session.saved() == 6, timeout_s=30)
    session.process.kill()
    session.end()
    assert not list(session.output.glob("samples/*.parquet")), "no unit was finished"
    rows = finish(session_config(tmp_path / "data.jsonl", session.output))
    resumed = {problem for (problem, _), one in rows.items() if one["group_resumed"]}
    assert len(resumed) == 2, "two of three units were under way, in whatever order they came to the shard"
    [second] = RunFolder(session.output).sessions()
    assert second.samples == 6


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_saves_what_is_finished_at_once_and_the_session_is_recorded(
    start_session: Callable[..., SessionProcess], number: signal.Signals
) -> None:
    session = start_session(seconds=1000, save_every=1000, grace=4)
    session.wait_for_uneven_units()
    time.sleep(1)  # the last samples are on their way from the shard to the stage
    assert session.saved() == 0
    if number == signal.SIGINT:  # as a terminal sends it: to all processes of the session
        os.killpg(session.process.pid, number)
    else:
        session.process.send_signal(number)
    wait_until(lambda: session.saved() == 6, timeout_s=3)  # `ray job stop` kills after 3 s
    code, out, errors = session.end()
    assert code == 128 + number
    assert "samples under way get 4 s (--grace)" in out
    assert "0 of 3 work units are saved" in errors and "and 6 samples of others" in errors
    assert "the same command goes on from there" in errors and "Traceback" not in errors
    [recorded] = RunFolder(session.output).sessions()
    assert (recorded.samples, recorded.units) == (6, 0) and recorded.shards


@pytest.mark.slow
def test_a_sample_that_ends_in_the_grace_period_is_saved_and_no_unit_is_begun(
    start_session: Callable[..., SessionProcess],
) -> None:
    session = start_session(seconds=3, grace=30)
    session.wait_for_uneven_units()
    signalled = time.monotonic()
    session.process.send_signal(signal.SIGTERM)
    code, _, errors = session.end()
    assert code == 143 and time.monotonic() - signalled < 25, "it ends when nothing is under way"
    assert len(session.waits()) == 2
    folder = RunFolder(session.output)
    in_files = folder.sample_index().num_rows if folder.files() else 0
    assert max(in_files, session.saved()) == 8, errors


@pytest.mark.slow
def test_a_second_signal_ends_the_session_at_once(start_session: Callable[..., SessionProcess]) -> None:
    session = start_session(seconds=1000, grace=1000)
    session.wait_for_uneven_units()
    session.process.send_signal(signal.SIGTERM)
    wait_until(lambda: session.saved() == 6, timeout_s=10)
    session.process.send_signal(signal.SIGTERM)
    code, out, _ = session.end()
    assert code == 143 and "stopped at once" in out


@pytest.mark.slow
def test_a_stage_that_was_killed_generates_only_what_it_had_not_saved(
    tmp_path: Path, start_session: Callable[..., SessionProcess], local_ray: None
) -> None:
    session = start_session(seconds=20, save_every=0.5)
    session.wait_for_uneven_units()
    wait_until(lambda: session.saved() == 6, timeout_s=30)
    [stage] = workers("GenerateSamples", of=session.process.pid)
    kill(stage)
    begun = session.waits()[:2]
    # The stage that comes in its place may begin another unit before these.
    missing = {f"{unit.partition(' ')[0]} (3,)" for unit in begun}
    wait_until(lambda: missing <= set(session.waits()), timeout_s=120)
    assert not set(begun) & set(session.waits()[2:])
    code, _, errors = session.end()
    assert code == 0, errors
    rows = finish(session_config(tmp_path / "data.jsonl", session.output))
    assert rows[begun[0].partition("#")[0], 0]["group_resumed"]
