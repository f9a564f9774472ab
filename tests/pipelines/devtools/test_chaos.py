"""The judge of a chaos run finds what is missing, doubled or wrong. The run itself is `make chaos`."""

import io
import shutil
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipelines.config.run import RunConfig
from pipelines.devtools.chaos import ChaosReport, SavedCheck, look_at
from pipelines.passk import run_passk
from pipelines.runs.folder import RunFolder
from tests.pipelines.stand_in import StandInFleet

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def finished(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three Countdown problems with two samples each, an output file to a problem."""
    folder = tmp_path_factory.mktemp("chaos") / "run"
    config = RunConfig(limit=3, samples=2, work_units_per_file=1, sampler="vanilla", output=folder)
    run_passk(config, console=Console(file=io.StringIO()), start_fleet=StandInFleet)
    return folder


def judged(folder: Path) -> ChaosReport:
    return look_at(RunFolder(folder), kills=[], driver_starts=1, seconds=1.0)


def changed(finished: Path, tmp_path: Path, **columns: Any) -> Path:
    """A copy of the run in which each row of the first file has these values."""
    folder = tmp_path / "changed"
    shutil.copytree(finished, folder)
    file = folder / RunFolder(folder).files()[0]
    table = pq.read_table(file)
    for name, value in columns.items():
        index = table.schema.get_field_index(name)
        table = table.set_column(
            index, table.schema.field(name), pa.array([value] * len(table), table.schema[index].type)
        )
    pq.write_table(table, file)
    return folder


def test_a_complete_run_is_exact(finished: Path) -> None:
    report = judged(finished)
    assert report.is_exact and (report.planned, report.stored, report.rows_in_files) == (6, 6, 6)
    assert report.lines()[-1] == "every sample is there once, with its verdict"


@pytest.mark.parametrize(
    ("columns", "count"),
    [
        ({"seed": 1}, "wrong_seed"),
        ({"status": "correct"}, "wrong_verdict"),
        ({"error": "the engine broke"}, "failed"),
        ({"problem_id": "of another run"}, "missing"),
    ],
)
def test_what_is_wrong_is_counted(finished: Path, tmp_path: Path, columns: dict[str, Any], count: str) -> None:
    report = judged(changed(finished, tmp_path, **columns))
    assert not report.is_exact and getattr(report, count) == 2
    assert report.lines()[-1] == "NOT EXACT"


def test_an_output_file_that_is_there_twice_is_read_once_and_counted(finished: Path, tmp_path: Path) -> None:
    folder = changed(finished, tmp_path)
    file = folder / RunFolder(folder).files()[0]
    shutil.copy(file, file.with_name("again.parquet"))
    report = judged(folder)
    assert report.is_exact and report.rows_in_files == 8


def test_a_sample_that_is_not_on_disk_in_time_is_found_at_the_next_kill(finished: Path, tmp_path: Path) -> None:
    stored = RunFolder(finished).read_samples(["problem_id", "sample_index"]).to_pylist()
    notes = tmp_path / "notes.txt"
    now = time.time()
    lines = [f"{now - 60} {row['sample_index']} {row['problem_id']}" for row in stored]
    lines += [f"{now - 60} 7 of another problem", f"{now - 20} 8 of another problem"]
    notes.write_text("\n".join(lines))
    check = SavedCheck(RunFolder(finished), notes)
    check.at_kill()
    assert check.unsaved == {("of another problem", 7)}, "the other one has 10 s more"
    excused = SavedCheck(RunFolder(finished), notes)
    excused._kills = [now - 50]
    excused.at_kill()
    assert excused.unsaved == set(), "the kill 10 s after its end may have lost it"
