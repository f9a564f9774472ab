"""Rows of a dataset: of a JSONL or Parquet file, or of the hub. Read one by one, so that a limit reads no more than it must."""

import json
from collections.abc import Iterator
from pathlib import Path

from pipelines.errors import InputError
from pipelines.problems.task import HubSource, Row


def file_rows(path: Path) -> Iterator[Row]:
    """Rows of a .jsonl or .parquet file. Raises InputError if it is not there or not of its kind."""
    if not path.is_file():
        raise InputError(f"dataset file {path} does not exist; give a .jsonl or .parquet file, a hub id, or countdown.")
    return jsonl_rows(path) if path.suffix == ".jsonl" else parquet_rows(path)


def jsonl_rows(path: Path) -> Iterator[Row]:
    """One JSON object per line; blank lines are skipped."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InputError(f"dataset file {path}: line {number} is not JSON: {error}") from error
            if not isinstance(row, dict):
                raise InputError(
                    f"dataset file {path}: every line must be a JSON object; line {number} is {line.strip()[:60]}"
                )
            yield row


def parquet_rows(path: Path) -> Iterator[Row]:
    """Rows of one Parquet file. Raises InputError if it is not Parquet, or damaged."""
    import pyarrow as pa
    import pyarrow.parquet

    try:
        with pa.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()
    except (pa.ArrowInvalid, OSError) as error:  # OSError: a page that cannot be read
        raise InputError(f"file {path} is not Parquet, or is damaged: {error}") from error


def hub_rows(source: HubSource) -> Iterator[Row]:
    """Rows of a split of a hub dataset, downloaded or from the local cache. Raises InputError if it cannot be loaded."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    try:
        dataset = load_dataset(
            source.path,
            source.subset,
            split=source.split,
            revision=source.revision,
            data_files=list(source.data_files) or None,
        )
    except (DatasetNotFoundError, OSError, ValueError, RuntimeError) as error:
        # RuntimeError: a repository that `datasets` would have to run code of.
        raise InputError(
            f"dataset {source} is no .jsonl or .parquet file, and cannot be loaded from the hub: {str(error).splitlines()[0]} "
            "Where the hub is out of reach give --dataset a local copy."
        ) from error
    yield from dataset
