"""Verdicts given after the samples were drawn: parts in verdicts/<name>/ of a run folder, beside the samples, which stay as they are.

Legend: P problems in the plan's order, N samples of each in launch order, R rows.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from pipelines.runs.sample_index import NOWHERE, SampleIndex, find_samples
from pipelines.runs.schema import SAMPLE_SCHEMA, VERDICT_SCHEMA, read_stored
from pipelines.runs.storage import Storage
from pipelines.verifiers.verdict import VerdictStatus

VERDICTS = "verdicts"
STORED_VERDICT_SCHEMA = pa.schema(
    [SAMPLE_SCHEMA.field("problem_id"), SAMPLE_SCHEMA.field("sample_index"), *VERDICT_SCHEMA]
)
"""A row of verdicts/<name>/*.parquet."""

NOT_YET: dict[str, Any] = {
    "status": VerdictStatus.UNVERIFIED.value,
    "score": math.nan,
    "extracted": "",
    "detail": "generated after the last jobs.verify",
    "verdict_ms": 0.0,
    "extraction_rule": "",
}
"""What is said of an answer that the verification has not seen."""


class StoredVerdicts:
    """The verdicts of one verification of a run."""

    def __init__(self, storage: Storage, files: Sequence[str], problem_ids: pa.StringArray, num_samples: int) -> None:
        self._storage = storage
        self._found = find_samples(storage, files, problem_ids, num_samples)

    @property
    def given_PN(self) -> npt.NDArray[np.bool_]:
        """True for samples that have a verdict."""
        return self._found.file_PN != NOWHERE

    def columns(self, columns: list[str]) -> "VerdictColumns":
        """Some columns of all verdicts, in memory."""
        tables, place_to_row = (
            [VERDICT_SCHEMA.empty_table().select(columns)],
            np.full(self._found.file_PN.size, NOWHERE),
        )
        end = 0
        for found in self._found.rows_by_file():
            with self._storage.open(found.name) as file:
                tables.append(read_stored(file, columns).take(pa.array(found.rows)))
            place_to_row[found.places] = np.arange(end, end + len(found.rows))
            end += len(found.rows)
        return VerdictColumns(pa.concat_tables(tables), place_to_row)


class VerdictColumns:
    """Columns of verdicts, to be put in the place of those that the samples were stored with."""

    def __init__(self, verdicts: pa.Table, place_to_row: npt.NDArray[np.int64]) -> None:
        self._verdicts = verdicts
        self._place_to_row = place_to_row

    def put_into(self, samples: pa.Table, places: npt.NDArray[np.int64], is_answer: npt.NDArray[np.bool_]) -> pa.Table:
        """Samples with their verdicts of this verification. One that holds no answer keeps what was said of it; an answer that was not
        seen yet is unverified."""
        row_R = self._place_to_row[places]
        verdicts = self._verdicts.take(pa.array(row_R, mask=row_R == NOWHERE))
        for name in self._verdicts.column_names:
            field = VERDICT_SCHEMA.field(name)
            otherwise = pc.if_else(pa.array(is_answer), pa.scalar(NOT_YET[name], field.type), samples[name])
            column = pc.if_else(pa.array(row_R != NOWHERE), verdicts[name], otherwise)
            samples = samples.set_column(samples.column_names.index(name), field, column)
        return samples


def unseen_answers(index: SampleIndex, verdicts: StoredVerdicts) -> npt.NDArray[np.bool_]:
    """[P, N] True for answers without a verdict of this verification."""
    return index.answered_PN & ~verdicts.given_PN
