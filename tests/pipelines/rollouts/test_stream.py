"""Groups of a run that goes on: each as a whole, once, as soon as it has finished."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.config.run import RunConfig
from pipelines.errors import InputError
from pipelines.rollouts import stream as stream_module
from pipelines.rollouts.config import ExportConfig, FilterConfig
from pipelines.rollouts.stream import RolloutStream, streaming
from pipelines.runs.folder import RunFolder
from pipelines.runs.schema import STORED_SCHEMA
from tests.pipelines.stored_rows import failed, make_run, row, wrong

CONFIG = RunConfig(sampler="esamp", samples=2)


def finish(folder: RunFolder, name: str, *rows: dict[str, Any]) -> None:
    """A generating stage writes a file."""
    pq.write_table(pa.Table.from_pylist(list(rows), schema=STORED_SCHEMA), folder.storage.place(f"samples/{name}"))


def written(output: Path) -> dict[str, list[tuple[str, int]]]:
    """The samples in each file."""
    tables = {path.name: pq.read_table(path).to_pylist() for path in sorted(output.glob("*.parquet"))}
    return {name: [(r["group_id"], r["sample_index"]) for r in rows] for name, rows in tables.items()}


def test_a_group_is_written_once_all_its_samples_are_there(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", CONFIG, [[row(2, 0)]], num_problems=3)
    stream = RolloutStream(RunFolder(folder.path), tmp_path / "out", ExportConfig(groups_per_step=1))
    stream.write_finished(at_least=1)
    assert written(tmp_path / "out") == {}
    finish(folder, "a.parquet", wrong(2, 1))
    stream.write_finished(at_least=1)
    finish(folder, "b.parquet", row(0, 0), wrong(0, 1), row(1, 0))
    stream.write_finished(at_least=1)
    stream.write_finished(at_least=1)
    assert written(tmp_path / "out") == {
        "000000.parquet": [("p2", 0), ("p2", 1)],
        "000001.parquet": [("p0", 0), ("p0", 1)],
    }
    assert (stream.summary.files, stream.summary.groups, stream.summary.rows) == (2, 2, 4)


def test_nothing_is_written_before_the_run_has_begun_nor_of_a_group_with_a_failed_sample(tmp_path: Path) -> None:
    stream = RolloutStream(RunFolder(tmp_path / "run"), tmp_path / "out", ExportConfig(groups_per_step=1))
    stream.write_finished(at_least=1)
    make_run(tmp_path / "run", CONFIG, [[row(0, 0), failed(0, 1)]], num_problems=1)
    stream.write_finished(at_least=1)
    assert written(tmp_path / "out") == {}


def test_a_file_waits_for_the_groups_of_a_step_and_the_last_does_not(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", CONFIG, [[row(0, 0), wrong(0, 1)]], num_problems=3)
    stream = RolloutStream(RunFolder(folder.path), tmp_path / "out", ExportConfig(groups_per_step=2))
    stream.write_finished(at_least=2)
    assert written(tmp_path / "out") == {}
    finish(folder, "a.parquet", row(1, 0), wrong(1, 1), row(2, 0), wrong(2, 1))
    stream.write_finished(at_least=2)
    assert [len(rows) for rows in written(tmp_path / "out").values()] == [4]
    stream.write_finished(at_least=1)
    assert [len(rows) for rows in written(tmp_path / "out").values()] == [4, 2]


def test_another_session_goes_on_where_the_first_ended(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", CONFIG, [[row(0, 0), wrong(0, 1)]], num_problems=2)
    config = ExportConfig(groups_per_step=1)
    with streaming(folder.path, tmp_path / "out", config):
        pass
    finish(folder, "a.parquet", row(1, 0), wrong(1, 1))
    with streaming(folder.path, tmp_path / "out", config) as summary:
        pass
    assert [rows[0][0] for rows in written(tmp_path / "out").values()] == ["p0", "p1"] and summary.groups == 1


def test_groups_are_written_while_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "LOOK_EVERY_S", 0.01)
    folder = make_run(tmp_path / "run", CONFIG, [[row(0, 0), wrong(0, 1)]], num_problems=2)
    with streaming(folder.path, tmp_path / "out", ExportConfig(groups_per_step=1)):
        within(10, lambda: len(written(tmp_path / "out")) == 1)


def within(seconds: float, claim: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_groups_that_filters_leave_out_are_counted_and_not_looked_at_again(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", CONFIG, [[row(0, 0), row(0, 1)]], num_problems=1)
    config = ExportConfig(groups_per_step=1, filter=FilterConfig(drop_all_correct=True))
    stream = RolloutStream(RunFolder(folder.path), tmp_path / "out", config)
    stream.write_finished(at_least=1)
    stream.write_finished(at_least=1)
    assert written(tmp_path / "out") == {} and stream.summary.empty_groups == 1


def test_what_an_export_refuses_is_raised_once_the_run_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "LOOK_EVERY_S", 0.01)
    unknown = {"policy_logprobs": [float("nan")] * 2}
    folder = make_run(tmp_path / "run", CONFIG, [[row(0, 0, **unknown), wrong(0, 1)]], num_problems=1)
    with pytest.raises(InputError, match="--allow nan"), streaming(folder.path, tmp_path / "first", ExportConfig()):
        pass
    # Refused while the run goes on: the thread ends, and the run does not.
    config = ExportConfig(groups_per_step=1)
    with pytest.raises(InputError, match="--allow nan"), streaming(folder.path, tmp_path / "second", config):
        within(10, lambda: all(thread.name != "rollout-stream" for thread in threading.enumerate()))
    with pytest.raises(InputError, match="streamed in format canonical; got pairs"):
        RolloutStream(folder, tmp_path / "out", ExportConfig(format="pairs"))
