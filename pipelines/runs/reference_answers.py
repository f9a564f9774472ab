"""The reference answers of a run, each stored once: answers.parquet in its run folder.

They are kept apart from the plan and the samples because the tests of a code problem can be megabytes, and every problem has many
samples. Row groups are small, so that a verifier reads what it needs and not the whole file.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet

from pipelines.problems.problem import Problem
from pipelines.runs.storage import open_place

SCHEMA = pa.schema({"problem_id": pa.string(), "answer": pa.string()})
GROUP_BYTES = 2**20
"""Characters of answers in a row group, about; a longer answer has a group of its own."""
GROUPS_KEPT = 2
"""Row groups kept in memory: the samples of a problem come together."""


class Answers(Mapping[str, str]):
    """Answers by problem id, read from the file when they are asked for. The file is not kept open."""

    def __init__(self, place: str | Path) -> None:
        """`place`: path or URL of the file."""
        self._place = place
        with open_place(place) as source, pa.parquet.ParquetFile(source) as file:
            self._metadata = file.metadata
            self._group_of = {
                problem_id: group
                for group in range(file.num_row_groups)
                for problem_id in file.read_row_group(group, columns=["problem_id"])["problem_id"].to_pylist()
            }
        self._read_group = lru_cache(maxsize=GROUPS_KEPT)(self._group)

    def __getitem__(self, problem_id: str) -> str:
        """Raises KeyError if the run has no such problem."""
        return self._read_group(self._group_of[problem_id])[problem_id]

    def __iter__(self) -> Iterator[str]:
        """Problem ids, in the order of the dataset."""
        return iter(self._group_of)

    def __len__(self) -> int:
        return len(self._group_of)

    def _group(self, number: int) -> dict[str, str]:
        with open_place(self._place) as source, pa.parquet.ParquetFile(source, metadata=self._metadata) as file:
            rows = file.read_row_group(number)
        return dict(zip(rows["problem_id"].to_pylist(), rows["answer"].to_pylist(), strict=True))


def write_answers(file: BinaryIO, problems: Iterable[Problem]) -> None:
    """Write the answers of problems as Parquet."""
    with pa.parquet.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        for group in grouped(problems):
            columns = [[problem.problem_id for problem in group], [problem.answer for problem in group]]
            writer.write_table(pa.table(columns, schema=SCHEMA))


def grouped(problems: Iterable[Problem]) -> Iterator[list[Problem]]:
    """Problems in portions of about GROUP_BYTES of answers."""
    group: list[Problem] = []
    size = 0
    for problem in problems:
        group.append(problem)
        size += len(problem.answer)
        if size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
