"""Which samples of a run are drawn, and where they lie: numpy arrays over problems x samples, nine bytes a sample, however long the
answers are.

Legend: P problems in the plan's order, N samples of each in launch order, U units of a batch of the plan, R rows of a portion of files.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from pipelines.runs.storage import Storage

PORTION_ROWS = 2**18
"""Rows of output files that are looked up at a time."""
KEYS = ["problem_id", "sample_index", "error"]
NOWHERE = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class FileRows:
    """Rows of an output file that count, ascending."""

    name: str
    """Of the file."""
    rows: npt.NDArray[np.int32]
    """[R]"""
    places: npt.NDArray[np.int64]
    """[R] place in the flattened grid, p * N + n."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleIndex:
    """Where each planned sample lies. A sample that is there twice (a worker outlived its session, a unit was tried again) counts once:
    the first row with an answer, else the first that says why there is none."""

    files: list[str]
    """Names of the files that were looked at."""
    file_PN: npt.NDArray[np.int32]
    """Index into `parts`; NOWHERE where a sample has no row."""
    row_PN: npt.NDArray[np.int32]
    """Row in that file."""
    answered_PN: npt.NDArray[np.bool_]
    """True where that row holds an answer."""

    @property
    def num_rows(self) -> int:
        """Samples that have a row, with or without an answer."""
        return int((self.file_PN != NOWHERE).sum())

    def rows_by_file(self, where_PN: npt.NDArray[np.bool_] | None = None) -> Iterator[FileRows]:
        """The output files that hold samples (of those `where_PN` is True for), with the rows that count."""
        has_row_PN = self.file_PN != NOWHERE
        place_R = np.flatnonzero(has_row_PN if where_PN is None else has_row_PN & where_PN)
        # By file at once and by row file by file: sorting by both at once takes some 15 bytes a sample more.
        file_R = self.file_PN.ravel()[place_R]
        place_R = place_R[np.argsort(file_R, kind="stable")]
        starts = np.cumsum([0, *np.bincount(file_R, minlength=len(self.files))])
        del file_R
        for name, (start, end) in zip(self.files, pairwise(starts.tolist()), strict=True):
            if start < end:
                places = place_R[start:end]
                rows = self.row_PN.ravel()[places]
                by_row = np.argsort(rows)
                yield FileRows(name=name, rows=rows[by_row], places=places[by_row])

    def is_finished(self, problem_U: npt.NDArray[np.int64], sample_indices: pa.ListArray) -> npt.NDArray[np.bool_]:
        """[U] True for units all of whose samples have an answer. `problem_U`: place of each unit's problem."""
        lengths_U = sample_indices.value_lengths().to_numpy()
        indices = sample_indices.flatten().to_numpy()
        answered = self.answered_PN[np.repeat(problem_U, lengths_U), indices]
        unit_of = np.repeat(np.arange(len(problem_U)), lengths_U)
        return np.bincount(unit_of, weights=answered, minlength=len(problem_U)) == lengths_U


def find_samples(storage: Storage, files: Sequence[str], problem_ids: pa.StringArray, num_samples: int) -> SampleIndex:
    """Look the planned samples up in the files; rows that nobody planned are passed over."""
    shape = (len(problem_ids), num_samples)
    file_PN = np.full(shape, NOWHERE, dtype=np.int32)
    row_PN = np.zeros(shape, dtype=np.int32)
    answered_PN = np.zeros(shape, dtype=np.bool_)
    for table in portions(storage, files):
        problem_R = pc.fill_null(pc.index_in(table["problem_id"], value_set=problem_ids), NOWHERE).to_numpy()
        index_R = table["sample_index"].to_numpy()
        place_R = problem_R.astype(np.int64) * num_samples + index_R
        planned_R = (problem_R != NOWHERE) & (index_R < num_samples)
        answers_R = planned_R & table["error"].is_null().to_numpy()
        for wanted_R, taken in (
            (answers_R, lambda: answered_PN.ravel()),
            (planned_R & ~answers_R, lambda: file_PN.ravel() != NOWHERE),
        ):
            rows = np.flatnonzero(wanted_R)
            rows = rows[~taken()[place_R[rows]]]
            places, first = np.unique(place_R[rows], return_index=True)
            rows = rows[first]
            file_PN.ravel()[places] = table["part"].to_numpy()[rows]
            row_PN.ravel()[places] = table["row"].to_numpy()[rows]
            answered_PN.ravel()[places] = answers_R[rows]
    return SampleIndex(files=list(files), file_PN=file_PN, row_PN=row_PN, answered_PN=answered_PN)


def portions(storage: Storage, files: Sequence[str]) -> Iterator[pa.Table]:
    """The keys of all files, about PORTION_ROWS at a time, with the file's number and the row's."""
    tables: list[pa.Table] = []
    for number, name in enumerate(files):
        with storage.open(name) as file, pa.parquet.ParquetFile(file) as stored:
            keys = stored.read([key for key in KEYS if key in stored.schema_arrow.names])
        if "error" not in keys.column_names:  # verdicts have none
            keys = keys.append_column("error", pa.nulls(keys.num_rows, pa.string()))
        numbers = pa.array(np.full(keys.num_rows, number, dtype=np.int32))
        rows = pa.array(np.arange(keys.num_rows, dtype=np.int32))
        tables.append(keys.append_column("part", numbers).append_column("row", rows))
        if sum(table.num_rows for table in tables) >= PORTION_ROWS:
            yield pa.concat_tables(tables)
            tables = []
    if tables:
        yield pa.concat_tables(tables)
