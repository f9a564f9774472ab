"""What every format is written through: groups in, one at a time, and a file or folder that is there in full or not at all."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet

from pipelines.errors import InputError
from pipelines.rollouts.rollout import RolloutGroup
from pipelines.runs.schema import RunLabels
from pipelines.runs.storage import atomic_file

ROW_GROUP = 1024
"""Rows of a Parquet row group: what is in memory while a file is written."""
METADATA_KEY = "esamp_rollouts"
"""Key of the Parquet metadata with what is said of an export, as JSON."""
SIDECAR = "export.json"
"""File with the same beside formats that have no place for it."""

Metadata = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportContext:
    """What a format may know besides the groups."""

    labels: RunLabels
    distiller_scope: str
    """Which samples share a Distiller (esamp/scope.py); empty where the sampler has none."""
    is_chat: bool
    """The model was prompted through its chat template."""
    group_size: int
    """Samples of a problem."""
    groups_per_step: int
    """Groups in a file of the formats that have one for each training step."""
    prompt_length: int
    """Tokens that the verl format pads prompts to."""
    data_source: str
    """What a trainer chooses its reward function by."""


class RolloutWriter(Protocol):
    """A format at work."""

    @property
    def rows(self) -> int:
        """Rows, or samples, that the output holds."""

    def write(self, group: RolloutGroup) -> None:
        """Take a group."""

    def finish(self, metadata: Metadata) -> None:
        """Write what is left, and what is to be said of the export."""


MESSAGES = pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))
"""Chat messages, as trainers read them."""

RowsOf = Callable[[RolloutGroup, ExportContext], list[dict[str, Any]]]
"""The rows that a format makes of a group."""


class ParquetRows:
    """Rows to one Parquet file."""

    def __init__(
        self, writer: pa.parquet.ParquetWriter, schema: pa.Schema, rows_of: RowsOf, context: ExportContext
    ) -> None:
        self._writer = writer
        self._schema = schema
        self._rows_of = rows_of
        self._context = context
        self._pending: list[dict[str, Any]] = []
        self._rows = 0

    @property
    def rows(self) -> int:
        return self._rows

    def write(self, group: RolloutGroup) -> None:
        rows = self._rows_of(group, self._context)
        self._rows += len(rows)
        self._pending += rows
        if len(self._pending) >= ROW_GROUP:
            self._flush()

    def finish(self, metadata: Metadata) -> None:
        self._flush()
        self._writer.add_key_value_metadata({METADATA_KEY: json.dumps(metadata)})

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._pending, schema=self._schema))
        self._pending.clear()


@contextmanager
def parquet_rows(output: Path, schema: pa.Schema, rows_of: RowsOf, context: ExportContext) -> Iterator[ParquetRows]:
    """A writer of one Parquet file, which appears when the `with` block ends well."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(output) as file, pa.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        yield ParquetRows(writer, schema, rows_of, context)


@contextmanager
def atomic_folder(output: Path) -> Iterator[Path]:
    """A folder to write to; it appears under its name when the `with` block ends well. Raises InputError if there is one already."""
    if output.exists():
        raise InputError(f"{output} exists, and this format writes a folder of files; give another --output.")
    draft = output.with_name(f".{output.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
        draft.rename(output)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


class StepFolder:
    """Writes a folder of files, one or more for each training step. Groups that do not fill a step are left over: trainers take the shape
    of a step from its settings, and normalise rewards by it."""

    def __init__(
        self, folder: Path, groups_per_step: int, save_step: Callable[[int, list[RolloutGroup]], None]
    ) -> None:
        """`save_step` writes a step: its number, from 0, and its groups."""
        self._folder = folder
        self._groups_per_step = groups_per_step
        self._save_step = save_step
        self._pending: list[RolloutGroup] = []
        self._steps = self._rows = 0

    @property
    def rows(self) -> int:
        return self._rows

    def write(self, group: RolloutGroup) -> None:
        self._pending.append(group)
        if len(self._pending) < self._groups_per_step:
            return
        self._save_step(self._steps, self._pending)
        self._rows += sum(len(group.rollouts) for group in self._pending)
        self._steps += 1
        self._pending = []

    def finish(self, metadata: Metadata) -> None:
        """Raises InputError if no step was filled."""
        if not self._steps:
            raise InputError(
                f"a step takes {self._groups_per_step} complete groups, and there are {len(self._pending)}; give a smaller "
                "--groups-per-step, the one that the trainer is set to."
            )
        write_sidecar(self._folder, {**metadata, "steps": self._steps, "groups_left_over": len(self._pending)})


def write_sidecar(folder: Path, metadata: Metadata) -> None:
    """Write what is said of an export into its folder."""
    (folder / SIDECAR).write_text(json.dumps(metadata, indent=2))
