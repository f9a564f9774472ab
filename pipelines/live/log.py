"""Finished samples of work units that are still under way: live/ of a run folder.

    live/<session>-<stage>-<number>.parquet    rows as in samples/, of what a generating stage has finished since its file before

A work unit takes hours where its answers are long, and reaches samples/ when the last of its samples has a verdict. Until then its samples
lie here: each is on disk `save_every_s` after its last token, and so is its verdict after the verifier gave it. Who goes on with the work
unit, a stage that was restarted or another session, generates what is missing only.

Promise: a file appears as a whole and is never changed. A sample may be in several: without its verdict and with it, or from a worker that
outlived its session; the first with a verdict counts, else the first. A file is removed once each of its samples has an answer in samples/.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet

from pipelines.runs.finished_sample import FINISHED_COLUMNS, FinishedSample, finished_sample
from pipelines.runs.schema import STORED_SCHEMA, read_stored
from pipelines.runs.storage import Storage

logger = logging.getLogger(__name__)

LIVE = "live"
STOPPING_INTERVAL_S = 0.25
"""Between two files once the session is stopping: whoever asked it to may kill it within seconds."""
MAX_FAILURES = 3
"""Failed writes in a row after which the run ends. Not the first: an object store may be away for a moment."""

Key = tuple[str, int]
"""problem_id and sample_index: what a sample is known by."""


class LiveLog:
    """Writes the samples of one generating stage, in a thread of its own."""

    def __init__(
        self,
        storage: Storage,
        *,
        session: str,
        stage: str,
        save_every_s: float,
        on_saved: Callable[[Collection[pa.Table]], None] = lambda rows: None,
    ) -> None:
        """`session` and `stage` are part of the files' names. `on_saved` is told of the rows of each file that was written."""
        self._storage = storage
        self._prefix = f"{LIVE}/{session}-{stage}"
        self._interval_s = save_every_s
        self._on_saved = on_saved
        self._rows: dict[Key, pa.Table] = {}
        self._files = self._failures = 0
        self._failure: OSError | None = None
        self._lock = threading.Lock()
        self._saving = threading.Lock()
        self._wake = threading.Event()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="live-log", daemon=True)
        self._thread.start()

    def add(self, row: pa.Table) -> None:
        """Take a sample, or one that was added before and now has its verdict. Raises OSError if samples cannot be saved."""
        if self._failure is not None:
            raise self._failure
        with self._lock:
            self._rows[row["problem_id"][0].as_py(), row["sample_index"][0].as_py()] = row

    def save(self) -> None:
        """Write what was added since the last file, now. Raises OSError; the rows are then kept for the next file."""
        # Two locks: samples are added while a file is on its way to a slow store, and two threads must not write the same number.
        with self._saving:
            with self._lock:
                rows, self._rows = self._rows, {}
            if not rows:
                return
            try:
                with self._storage.atomic_file(f"{self._prefix}-{self._files:06}.parquet") as file:
                    pa.parquet.write_table(pa.concat_tables(rows.values()), file, compression="zstd")
            except OSError:
                with self._lock:
                    self._rows = rows | self._rows  # what came meanwhile is newer
                raise
            self._files += 1
            self._on_saved(rows.values())

    def session_stops(self) -> None:
        """Save now, and from now on several times a second."""
        self._interval_s = STOPPING_INTERVAL_S
        self._wake.set()

    def close(self) -> None:
        """Save what is left and end the thread. Raises OSError if it cannot be saved."""
        self._is_closed = True
        self._wake.set()
        self._thread.join()
        self.save()

    def _run(self) -> None:
        while not self._is_closed:
            self._wake.wait(self._interval_s)
            self._wake.clear()
            try:
                self.save()
                self._failures = 0
            except OSError as error:
                # The error boundary of the thread: `add` raises it where somebody sees it.
                logger.exception("%s: finished samples could not be saved", self._prefix)
                self._failures += 1
                if self._failures == MAX_FAILURES:
                    self._failure = error


@dataclass(frozen=True, slots=True)
class SavedPlace:
    """Where a sample lies in live/."""

    name: str
    row: int
    sample: FinishedSample | None
    """None if it has no verdict yet."""


class LiveSamples:
    """The samples that lie in live/ now."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._places: dict[Key, SavedPlace] = {}
        for name, table in log_keys(storage):
            for number, row in enumerate(table.to_pylist()):
                key = row["problem_id"], row["sample_index"]
                sample = None if row["status"] is None else finished_sample(row)
                known = self._places.get(key)
                if known is None or (known.sample is None and sample is not None):
                    self._places[key] = SavedPlace(name, number, sample)

    def keys(self) -> Collection[Key]:
        """What is there, with and without a verdict."""
        return self._places.keys()

    def finished(self) -> list[FinishedSample]:
        """Samples with a verdict, in short."""
        return [place.sample for place in self._places.values() if place.sample is not None]

    def rows(self, problem_id: str, sample_indices: Collection[int]) -> dict[int, pa.Table]:
        """[1] each: the rows of those of a problem's samples that are here, by index. A file that was removed meanwhile holds nothing: its
        samples have reached samples/."""
        wanted = {
            index: self._places[problem_id, index] for index in sample_indices if (problem_id, index) in self._places
        }
        tables = {name: self._read(name) for name in {place.name for place in wanted.values()}}
        found = {}
        for index, place in wanted.items():
            table = tables[place.name]
            if table is not None:
                found[index] = table.slice(place.row, 1)
        return found

    def _read(self, name: str) -> pa.Table | None:
        try:
            with self._storage.open(name) as file:
                # A session of an earlier version may have left files without the newest columns.
                return read_stored(file, STORED_SCHEMA.names)
        except FileNotFoundError:
            return None


def log_keys(storage: Storage, *, but: Collection[str] = ()) -> Iterator[tuple[str, pa.Table]]:
    """The files of live/, in the order of their names, each with what identifies its samples, and their verdicts; without those
    that `but` names."""
    for name in storage.names(LIVE, suffix=".parquet"):
        if name in but:
            continue
        try:
            with storage.open(name) as file:
                yield name, pa.parquet.read_table(file, columns=FINISHED_COLUMNS)
        except FileNotFoundError:
            continue  # removed since it was listed: its samples lie in samples/
