"""The log of finished samples: what is on disk when, what a reader finds, and which files are removed."""

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pytest

from pipelines.config.run import RunConfig
from pipelines.live.log import LIVE, LiveLog, LiveSamples
from pipelines.live.saved_logs import SavedLogs
from pipelines.runs.folder import RunFolder
from pipelines.runs.schema import STORED_SCHEMA, has_verdict
from pipelines.runs.storage import Storage, storage_at
from tests.pipelines.stored_rows import make_run, row


def sample(problem: int, index: int, *, text: str = "0", status: str | None = None) -> pa.Table:
    """A row, without a verdict unless `status` gives one."""
    return pa.Table.from_pylist([row(problem, index, text=text, status=status)], schema=STORED_SCHEMA)


@pytest.fixture(params=["disk", "object store"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    folder = tmp_path if request.param == "disk" else f"memory://{tmp_path}"
    storage = storage_at(folder)
    storage.make_folder(LIVE)
    return storage


@contextmanager
def log_at(
    storage: Storage,
    *,
    stage: str = "a",
    save_every_s: float = 1000.0,
    on_saved: Callable[[Collection[pa.Table]], None] = lambda rows: None,
) -> Iterator[LiveLog]:
    log = LiveLog(storage, session="s", stage=stage, save_every_s=save_every_s, on_saved=on_saved)
    try:
        yield log
    finally:
        log.close()


def within(seconds: float, claim: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_a_sample_is_on_disk_after_the_interval_and_its_verdict_after_the_next(storage: Storage) -> None:
    with log_at(storage, save_every_s=0.05) as log:
        log.add(sample(0, 0))
        within(10, lambda: len(LiveSamples(storage).keys()) == 1)
        assert LiveSamples(storage).finished() == []
        log.add(sample(0, 0, status="correct"))
        within(10, lambda: len(LiveSamples(storage).finished()) == 1)
    assert storage.names(LIVE) == [f"{LIVE}/s-a-000000.parquet", f"{LIVE}/s-a-000001.parquet"]


def test_a_verdict_that_comes_before_the_save_makes_one_row(storage: Storage) -> None:
    with log_at(storage) as log:
        log.add(sample(0, 0))
        log.add(sample(0, 0, status="wrong"))
        log.save()
    [name] = storage.names(LIVE)
    with storage.open(name) as file:
        assert pa.parquet.read_table(file)["status"].to_pylist() == ["wrong"]


def test_rows_are_told_of_once_they_are_on_disk_and_not_before(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, list[str | None]]] = []

    def on_saved(rows: Collection[pa.Table]) -> None:
        told.append((len(storage.names(LIVE)), [row["status"][0].as_py() for row in rows]))

    with log_at(storage, on_saved=on_saved) as log:
        log.add(sample(0, 0))
        with monkeypatch.context() as broken, pytest.raises(OSError, match="away"):
            broken.setattr(storage, "atomic_file", store_that_is_away)
            log.save()
        assert told == []
        log.add(sample(0, 1, status="wrong"))
        log.save()
    assert told == [(1, [None, "wrong"])]


@contextmanager
def store_that_is_away(name: str) -> Iterator[BinaryIO]:
    raise OSError("the store is away")
    yield


def test_the_log_is_written_at_once_when_the_session_stops(storage: Storage) -> None:
    with log_at(storage) as log:
        log.add(sample(0, 0))
        time.sleep(0.1)
        assert storage.names(LIVE) == []
        log.session_stops()
        within(10, lambda: len(storage.names(LIVE)) == 1)
        log.add(sample(0, 1))
        within(10, lambda: len(storage.names(LIVE)) == 2)


def test_a_closed_log_has_saved_what_was_added_and_its_thread_has_ended(storage: Storage) -> None:
    before = threading.active_count()
    with log_at(storage) as log:
        assert threading.active_count() == before + 1
        log.add(sample(0, 0))
    assert threading.active_count() == before
    assert LiveSamples(storage).keys() == {("p0", 0)}


def test_the_row_with_a_verdict_counts_else_the_first(storage: Storage) -> None:
    for stage, text, status in (("a", "first", None), ("b", "second", "correct"), ("c", "third", "wrong")):
        with log_at(storage, stage=stage) as log:
            log.add(sample(0, 0, text=text, status=status))
            log.add(sample(0, 1, text=text))
    found = LiveSamples(storage).rows("p0", (0, 1, 2))
    assert {index: table["text"].to_pylist() for index, table in found.items()} == {0: ["second"], 1: ["first"]}
    assert has_verdict(found[0]) and not has_verdict(found[1])


class FullDisk(Storage):
    """Cannot be written to until told otherwise."""

    is_full = True

    @contextmanager
    def atomic_file(self, name: str) -> Iterator[BinaryIO]:
        if self.is_full:
            raise OSError(28, "No space left on device")
        with super().atomic_file(name) as file:
            yield file


def test_rows_that_could_not_be_written_are_kept_and_a_lasting_failure_is_raised(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = FullDisk(storage.fs, storage.root)

    def is_refused(log: LiveLog) -> bool:
        try:
            log.add(sample(0, 1))
        except OSError as error:
            return "No space left" in str(error)
        return False

    with log_at(full, save_every_s=0.01) as log:
        log.add(sample(0, 0))
        within(10, lambda: is_refused(log))
        full.is_full = False
        within(10, lambda: len(LiveSamples(storage).keys()) == 2)


def test_a_log_is_removed_once_all_its_samples_lie_in_output_files_and_not_before(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", RunConfig(sampler="esamp", samples=2), [[row(0, 0), row(0, 1)]])
    for stage, keys in (("done", [(0, 0), (0, 1)]), ("mixed", [(0, 1), (1, 0)])):
        with log_at(folder.storage, stage=stage) as log:
            for key in keys:
                log.add(sample(*key, status="correct"))
    saved = SavedLogs(folder)
    saved.remove()
    assert folder.storage.names(LIVE) == [f"{LIVE}/s-mixed-000000.parquet"]
    unsaved = saved.unsaved(LiveSamples(folder.storage))
    assert [(one.problem_id, one.sample_index) for one in unsaved] == [("p1", 0)]
    add_output_file(folder, [row(1, 0), row(1, 1)])
    saved.remove()
    assert folder.storage.names(LIVE) == []


def add_output_file(folder: RunFolder, rows: list[dict[str, object]]) -> None:
    with folder.storage.atomic_file("samples/more.parquet") as file:
        pa.parquet.write_table(pa.Table.from_pylist(rows, schema=STORED_SCHEMA), file)
