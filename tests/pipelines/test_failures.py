"""Processes of a run are killed while they work, with stand-in shards: every sample is there once, with the verdict of a quiet run."""

import io
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import ray
from rich.console import Console

from actors.config import EngineConfig
from pipelines.config.run import RunConfig
from pipelines.passk import run_passk
from pipelines.runs.folder import RunFolder, Session
from pipelines.runs.schema import STORED_SCHEMA
from tests.pipelines.conftest import write_jsonl
from tests.pipelines.stand_in import StandInFleet
from tests.processes import kill, wait_until, workers

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]
PROBLEMS, SAMPLES = 12, 4


def config_for(tmp_path: Path, rows: list[dict[str, Any]], **settings: Any) -> RunConfig:
    return RunConfig(
        **{
            "dataset": str(write_jsonl(tmp_path / "data.jsonl", rows)),
            "output": tmp_path / "run",
            "verifier": "exact",
            "sampler": "vanilla",
            "samples": SAMPLES,
            "work_units_per_file": 1,
            "shards": 2,
            "engine": EngineConfig(max_num_seqs=4),
            **settings,
        }
    )


def slow_problems(number: int = PROBLEMS) -> list[dict[str, Any]]:
    return [{"id": f"p{i}", "problem": f"slow {i}", "answer": str(i)} for i in range(number)]


def disturbed(config: RunConfig, disturb: Callable[[StandInFleet], None]) -> Session:
    """Make the run, and meanwhile what `disturb` does."""
    disturber = threading.Thread()

    class DisturbedFleet(StandInFleet):
        def __enter__(self) -> "DisturbedFleet":
            nonlocal disturber
            disturber = threading.Thread(target=disturb, args=(self,))
            disturber.start()
            return self

    run_passk(config, console=Console(file=io.StringIO()), start_fleet=DisturbedFleet)
    disturber.join(timeout=10)
    assert not disturber.is_alive(), "the run ended undisturbed"
    return RunFolder(config.run_folder).sessions()[-1]


def assert_as_in_a_quiet_run(config: RunConfig) -> None:
    """Every sample once, in what is read and in the files as they are, with the verdict that its seed gives."""
    folder = RunFolder(config.run_folder)
    rows = folder.read_samples(STORED_SCHEMA.names).to_pylist()
    once = Counter((f"p{problem}", index) for problem in range(PROBLEMS) for index in range(SAMPLES))
    assert Counter((row["problem_id"], row["sample_index"]) for row in rows) == once
    assert all((row["status"], row["error"]) == ("correct" if row["seed"] % 2 == 0 else "wrong", None) for row in rows)
    tables = [
        pq.read_table(Path(config.run_folder) / name, columns=["problem_id", "sample_index"]).to_pylist()
        for name in folder.files()
    ]
    assert Counter((row["problem_id"], row["sample_index"]) for table in tables for row in table) == once


def test_units_of_a_shard_that_was_killed_are_drawn_elsewhere(tmp_path: Path) -> None:
    config = config_for(tmp_path, slow_problems())

    def kill_a_busy_shard(fleet: StandInFleet) -> None:
        wait_until(lambda: ray.get(fleet.shards[0].work.remote())[1] > 0)
        kill(ray.get(fleet.shards[0].work.remote())[0])

    session = disturbed(config, kill_a_busy_shard)
    assert_as_in_a_quiet_run(config)
    assert session.units_run_again >= 1


def test_a_single_shard_that_was_killed_comes_back_and_goes_on(tmp_path: Path) -> None:
    config = config_for(tmp_path, slow_problems(), shards=1)

    def kill_twice(fleet: StandInFleet) -> None:
        for _ in range(2):
            wait_until(lambda: busy(fleet.shards[0]))
            kill(ray.get(fleet.shards[0].work.remote())[0])

    session = disturbed(config, kill_twice)
    assert_as_in_a_quiet_run(config)
    assert session.shard_restarts == 2 and session.units_run_again >= 2


def busy(shard: Any) -> bool:
    try:
        return ray.get(shard.work.remote())[1] > 0
    except ray.exceptions.RayActorError:
        return False  # it is being started again


@pytest.mark.slow
def test_a_unit_that_ends_its_engine_is_given_up_and_no_other_is_blamed(tmp_path: Path) -> None:
    rows = [*slow_problems(5), {"id": "poison", "problem": "kills 9", "answer": "9"}]
    config = config_for(tmp_path, rows, engine=EngineConfig(max_num_seqs=12))
    run_passk(config, console=Console(file=io.StringIO()), start_fleet=StandInFleet)
    rows = RunFolder(config.run_folder).read_samples(STORED_SCHEMA.names).to_pylist()
    assert {row["problem_id"] for row in rows if row["error"] is not None} == {"poison"}
    assert len(rows) == 6 * SAMPLES
    poison = [row for row in rows if row["problem_id"] == "poison"]
    assert all("3 engine(s) died while they ran this work unit" in row["error"] for row in poison)
    [session] = RunFolder(config.run_folder).sessions()
    assert session.shard_restarts >= 1


@pytest.mark.parametrize("stage", ["VerifierActor", pytest.param("GenerateSamples", marks=pytest.mark.slow)])
def test_what_a_killed_stage_had_under_way_is_done_again(tmp_path: Path, stage: str) -> None:
    config = config_for(tmp_path, slow_problems(), verifier="tests.pipelines.verifiers.slow_verifier:verify")

    def kill_one(fleet: StandInFleet) -> None:
        wait_until(lambda: len(list(Path(config.run_folder).glob("samples/*.parquet"))) >= 2)
        kill(workers(stage)[0])

    disturbed(config, kill_one)
    assert_as_in_a_quiet_run(config)


def on_nodes(event: str, config: RunConfig) -> dict[str, int]:
    """A run on a Ray of several nodes: see nodes_session.py."""
    command = [
        sys.executable,
        "-m",
        "tests.pipelines.stages.nodes_session",
        event,
        str(config.dataset),
        str(config.run_folder),
    ]
    session = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert session.returncode == 0, session.stderr
    # Ray may print what it thinks of the node's end after it.
    found: dict[str, int] = json.loads([line for line in session.stdout.splitlines() if line.startswith("{")][-1])
    return found


@pytest.mark.slow
def test_what_a_lost_node_had_under_way_is_done_again(tmp_path: Path) -> None:
    config = config_for(tmp_path, slow_problems())
    lost = on_nodes("lose", config)
    assert lost["shards"] == 1 and lost["stages"] >= 1, "the node had no work to lose"
    assert_as_in_a_quiet_run(config)
    [session] = RunFolder(config.run_folder).sessions()
    assert session.units_run_again >= 1


@pytest.mark.slow
def test_a_fleet_grows_with_the_cluster(tmp_path: Path) -> None:
    config = config_for(tmp_path, slow_problems())
    on_nodes("grow", config)
    assert_as_in_a_quiet_run(config)
    drawn = RunFolder(config.run_folder).read_samples(["problem_id", "shard"]).to_pylist()
    assert {row["shard"] for row in drawn} == {"shard-0", "shard-1"}
