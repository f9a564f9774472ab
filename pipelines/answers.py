"""The reference answers of a run, each stored once: answers.parquet in its run folder.

They are kept apart from the plan and the samples because the tests of a code problem can be megabytes, and every problem has many
samples. Row groups are small, so that a verifier reads what it needs and not the whole file.
"""

import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

SCHEMA = pa.schema({"problem_id": pa.string(), "answer": pa.string()})
GROUP_BYTES = 2**20
"""Characters of answers in a row group, about; a longer answer has a group of its own."""
GROUPS_KEPT = 2
"""Row groups kept in memory: the samples of a problem come together."""


class Answers(Mapping[str, str]):
    """Answers by problem id, read from the file when they are asked for. The file is not kept open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with pa.parquet.ParquetFile(path) as file:
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
        with pa.parquet.ParquetFile(self._path, metadata=self._metadata) as file:
            rows = file.read_row_group(number)
        return dict(zip(rows["problem_id"].to_pylist(), rows["answer"].to_pylist(), strict=True))


def write_answers(path: Path, answers: Mapping[str, str]) -> None:
    """Write them so that the file is either there in full or not at all."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        with draft.open("wb") as file:
            with pa.parquet.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
                for group in grouped(answers):
                    writer.write_table(pa.table({"problem_id": list(group), "answer": list(group.values())}, SCHEMA))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def grouped(answers: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Answers in portions of about GROUP_BYTES."""
    group: dict[str, str] = {}
    size = 0
    for problem_id, answer in answers.items():
        group[problem_id] = answer
        size += len(answer)
        if size >= GROUP_BYTES:
            yield group
            group, size = {}, 0
    if group:
        yield group
